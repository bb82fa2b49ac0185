"""Stores of a knowledge base: nodes, image vectors, the graph and the ledger in one Milvus, tables on disk.

Importing this package imports no Milvus client.
"""
