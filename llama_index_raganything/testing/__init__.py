"""Fakes for tests without a network: LLMs with scripted answers, embeddings of words and colours.

>>> from llama_index_raganything.testing import HashEmbedding, ScriptedChatLLM
>>> llm = ScriptedChatLLM(replies=["It grew by 12 %. [1]"])
>>> str(llm.complete("How much did it grow?"))
'It grew by 12 %. [1]'

:class:`DashScopeServer` is a complete DashScope on loopback, for clients of that service.
"""

from llama_index_raganything.testing.dashscope.errors import DOCUMENTED_ERRORS, DocumentedError, Fault, LoggedRequest
from llama_index_raganything.testing.dashscope.server import DashScopeServer
from llama_index_raganything.testing.embeddings import ColorEmbedding, HashEmbedding
from llama_index_raganything.testing.llms import Reply, ScriptedChatLLM, ScriptedTextLLM

__all__ = [
    "DOCUMENTED_ERRORS",
    "ColorEmbedding",
    "DashScopeServer",
    "DocumentedError",
    "Fault",
    "HashEmbedding",
    "LoggedRequest",
    "Reply",
    "ScriptedChatLLM",
    "ScriptedTextLLM",
]
