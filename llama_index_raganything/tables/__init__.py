"""Tables as typed relations: printed cells read as numbers, dates and truth values. Pure functions of data.

The names load on first use, so that a process that only keeps tables imports no LlamaIndex.
"""
