"""The command line ``llama-index-raganything``."""

from llama_index_raganything.cli.commands import main

__all__ = ["main"]
