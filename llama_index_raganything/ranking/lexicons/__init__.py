"""Data files: words without content, and lexicons that add words to a question when a pattern fires."""
