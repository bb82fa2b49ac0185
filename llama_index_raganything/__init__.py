"""Multimodal RAG for LlamaIndex: RAG-Anything's parsers, Milvus, and answers that cite a box on a page.

>>> from llama_index_raganything import RAGAnythingIndex
>>> index = RAGAnythingIndex.from_paths(["reports/"], uri="./milvus.db", show_progress=True)  # doctest: +SKIP
>>> response = index.as_query_engine().query("Which region grew fastest?")  # doctest: +SKIP

The public names are listed in ``__init__.pyi``. Each is imported when it is first used, so that importing the package
costs next to nothing. Exceptions that are not listed there are in :mod:`llama_index_raganything.errors`.
"""

import lazy_loader

__version__ = "0.1.0"
__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
