"""The graph in Milvus, and its mirror in memory kept beside it."""
