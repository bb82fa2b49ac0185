"""Text and multimodal embeddings of DashScope."""
