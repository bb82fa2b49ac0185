r"""What a question may carry: images, tables and formulas.

>>> from llama_index_raganything.attachments import AttachedQuery, TableAttachment
>>> rows = [["Region", "Sales"], ["Asia", "20"]]
>>> query = AttachedQuery.of("Is this the same table?", [TableAttachment(rows)])
>>> query.query_str
'Is this the same table?\nRegion Sales Asia 20'

Nothing here is fetched from the network, and no text of a question is taken for a path.
"""

from __future__ import annotations

from llama_index_raganything.attachments.kinds import (
    Attachment,
    EquationAttachment,
    ImageAttachment,
    TableAttachment,
)
from llama_index_raganything.attachments.query import AttachedQuery
from llama_index_raganything.attachments.reading import MAX_ATTACHMENTS, attachments_of

__all__ = [
    "MAX_ATTACHMENTS",
    "AttachedQuery",
    "Attachment",
    "EquationAttachment",
    "ImageAttachment",
    "TableAttachment",
    "attachments_of",
]
