"""Tables as typed columns: pipe tables in text, printed cells read as numbers, dates and truth values.

Pure functions of data; only ``read``, which finds the tables in nodes, imports LlamaIndex.
"""
