"""What a question asks for, found without an LLM."""
