"""Chat with DashScope's models, over its OpenAI-compatible protocol."""
