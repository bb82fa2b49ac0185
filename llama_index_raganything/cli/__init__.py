"""The command line ``llama-index-raganything``."""
