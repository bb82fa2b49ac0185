"""What an LLM reads and sees of the retrieved nodes."""
