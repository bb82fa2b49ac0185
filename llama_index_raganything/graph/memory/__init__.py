"""The graph of one knowledge base in memory, in flat arrays."""
