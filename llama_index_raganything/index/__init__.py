"""``RAGAnythingIndex``: the one place that wires all parts together with defaults."""
