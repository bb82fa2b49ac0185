"""Which LLMs can look at images; kept here for code that imports it from here."""

from llama_index_raganything.models.vision import supports_images

__all__ = ["supports_images"]
