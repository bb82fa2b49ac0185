"""Nodes in Milvus: the vector store, its collection, rows and searches."""
