"""From sources to an answer that cites them, with an LLM."""
