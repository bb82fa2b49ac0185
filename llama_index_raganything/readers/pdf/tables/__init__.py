"""Tables of PDF pages and their boxes.

Tables without ruling lines are found here, by the columns that their numbers are in; ruled ones come from docvortex
(:mod:`~llama_index_raganything.readers.engines.docvortex`) and are merged with them in ``finder.merge_tables``.
"""
