"""Stores: nodes, the graph, and the ledger of ingested documents, all in one Milvus.

Importing this package imports no Milvus client; the classes load on first use.
"""
