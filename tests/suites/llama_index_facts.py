"""Six documents of one fact each, and how to ask an index for them: what the suites of LlamaIndex's classes share.

Every test asks for a fact and sees whether *its* node comes. ``upstream`` of a suite pins what another class does, by
names of tests: the test must fail, and the reason says why.
"""

from __future__ import annotations

from typing import ClassVar

import pytest
from llama_index.core import Document, StorageContext, VectorStoreIndex
from llama_index.core.schema import (
    NodeRelationship,
    RelatedNodeInfo,
    TextNode,
)
from llama_index.core.vector_stores.types import (
    FilterCondition,
    MetadataFilter,
    MetadataFilters,
    VectorStoreQueryMode,
)

from llama_index_raganything.testing import HashEmbedding

DIM = 512
EMBEDDING = HashEmbedding(dimension=DIM)

ANIMALS = {
    "heron": ("bird", 2019, "The heron nests in lime tree nine."),
    "otter": ("mammal", 2020, "The otter sleeps under pier four."),
    "adder": ("reptile", 2021, "The adder suns itself on wall seven."),
    "beaver": ("mammal", 2022, "The beaver fells birches behind mill two."),
    "eider": ("bird", 2023, "The eider dives off skerry eleven."),
    "lynx": ("mammal", 2024, "The lynx crosses ridge thirteen at dusk."),
}
FACTS = {animal: fact for animal, (_, _, fact) in ANIMALS.items()}

MODES = [mode.value for mode in VectorStoreQueryMode]
ANSWER = "So it is. [1]"


def document(animal: str, fact: str | None = None) -> Document:
    kind, year, known = ANIMALS.get(animal, ("fish", 2025, ""))
    return Document(id_=f"doc-{animal}", text=fact or known, metadata={"kind": kind, "year": year})


def fact_node(animal: str) -> TextNode:
    kind, year, fact = ANIMALS[animal]
    source = RelatedNodeInfo(node_id=f"doc-{animal}")
    return TextNode(
        id_=animal, text=fact, metadata={"kind": kind, "year": year}, relationships={NodeRelationship.SOURCE: source}
    )


def documents() -> list[Document]:
    return [document(animal) for animal in ANIMALS]


def nodes() -> list[TextNode]:
    return [fact_node(animal) for animal in ANIMALS]


def question(animal: str) -> str:
    """Words of the fact, which the hash embedding finds again."""
    return " ".join(FACTS[animal].split()[:4])


def texts(results) -> list[str]:
    return [result.node.get_content() for result in results]


def ids(results) -> list[str]:
    return [result.node.node_id for result in results]


def filters(*leaves, condition=FilterCondition.AND) -> MetadataFilters:
    made = [MetadataFilter(key=key, operator=operator, value=value) for key, operator, value in leaves]
    return MetadataFilters(filters=made, condition=condition)


def sent(llm) -> str:
    """Everything an LLM was sent."""
    return "\n".join(str(message.content) for messages in llm.requests for message in messages)


def index_over(store, made=None, **options) -> VectorStoreIndex:
    context = StorageContext.from_defaults(vector_store=store)
    return VectorStoreIndex(
        nodes() if made is None else made, storage_context=context, embed_model=EMBEDDING, **options
    )


def find(index, words: str, top_k: int = 1, **options) -> list[str]:
    return ids(index.as_retriever(similarity_top_k=top_k, **options).retrieve(words))


def read(index, words: str, top_k: int = 1, **options) -> list[str]:
    return texts(index.as_retriever(similarity_top_k=top_k, **options).retrieve(words))


class LlamaIndexSuite:
    """LlamaIndex's classes over one store."""

    keeps_text = True
    modes = frozenset({"default", "mmr", "sparse", "text_search", "hybrid"})
    upstream: ClassVar[dict[str, str]] = {}

    @pytest.fixture(autouse=True)
    def pin_upstream(self, request):
        name = request.node.name
        reason = self.upstream.get(name) or self.upstream.get(name.partition("[")[0])
        if reason:
            request.applymarker(pytest.mark.xfail(reason=reason, strict=True))

    @pytest.fixture(scope="class")
    def shared(self, open_store):
        """An index of all facts that no test changes."""
        return index_over(open_store())

    @pytest.fixture
    def store(self, open_store):
        return open_store()

    @pytest.fixture
    def own_store(self, store):
        """A store in a database of its own, which a test may close."""
        return store
