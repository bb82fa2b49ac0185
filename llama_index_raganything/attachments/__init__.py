r"""What a question may carry: images, tables and formulas.

>>> from llama_index_raganything import AttachedQuery, TableAttachment
>>> rows = [["Region", "Sales"], ["Asia", "20"]]
>>> query = AttachedQuery.of("Is this the same table?", [TableAttachment(rows)])
>>> query.query_str
'Is this the same table?\nRegion Sales Asia 20'

Nothing here is fetched from the network, and no text of a question is taken for a path.
"""
