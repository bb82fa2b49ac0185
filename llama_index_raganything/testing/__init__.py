"""Fakes to test with, and without a network: LLMs that answer from a script, embeddings of words and of colours.

>>> from llama_index_raganything.testing import HashEmbedding, ScriptedChatLLM
>>> llm = ScriptedChatLLM(replies=["It grew by 12 %. [1]"])
>>> str(llm.complete("How much did it grow?"))
'It grew by 12 %. [1]'
"""

from llama_index_raganything.testing.embeddings import ColorEmbedding, HashEmbedding
from llama_index_raganything.testing.llms import Reply, ScriptedChatLLM, ScriptedTextLLM

__all__ = ["ColorEmbedding", "HashEmbedding", "Reply", "ScriptedChatLLM", "ScriptedTextLLM"]
