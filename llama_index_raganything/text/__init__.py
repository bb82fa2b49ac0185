"""Words, sentences and tokens of running text, and BM25 over them. No model is needed."""
