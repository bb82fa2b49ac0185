"""What an index can be told, in groups, and what cannot work together; refused before anything is opened."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

from llama_index.core.embeddings import MultiModalEmbedding
from llama_index.core.llms import LLM
from llama_index.core.node_parser import NodeParser
from llama_index.core.schema import TransformComponent
from llama_index.core.vector_stores import MetadataFilters

from llama_index_raganything._arguments import ELSEWHERE, argument_names, check_types, strict_arguments
from llama_index_raganything.enrich import registry
from llama_index_raganything.enrich.base import ElementProcessor
from llama_index_raganything.enrich.equation_words import EquationWords
from llama_index_raganything.enrich.image_ocr import ImageOCR
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.extraction.triples import TripleExtractor
from llama_index_raganything.ingestion.layers import Layer
from llama_index_raganything.models.defaults import MODEL_KINDS
from llama_index_raganything.node_parser.parser import RAGAnythingNodeParser
from llama_index_raganything.readers.reader import RAGAnythingReader
from llama_index_raganything.readers.sources.sources import FolderRules
from llama_index_raganything.settings import DEFAULT_WORKING_DIR, RAGAnythingSettings
from llama_index_raganything.stores.nodes.store import MilvusNodeStore


@strict_arguments
@dataclass(frozen=True, kw_only=True)
class EnrichmentOptions(registry.ProcessorOptions):
    """How elements are described before they are embedded.

    A description costs one call per element; answers are cached by content. Without models nothing is asked.

    Attributes:
        llm: Describes tables and equations, and images where it sees them.
        vision_llm: Describes images; the index's ``vision_llm`` by default.
        cache_folder: Where answers are cached; ``descriptions`` in the folder of the knowledge base by default.
        images: Describe images.
        tables: Describe tables.
        equations: Describe equations; without an LLM, write them in words.
        image_ocr: Recognise the text in images with OCR, about one second each.
    """

    images: bool = True
    tables: bool = True
    equations: bool = True
    image_ocr: bool = False

    def processors(self) -> list[ElementProcessor]:
        """Return what processes the elements, in the order in which it runs: first what needs no model."""
        enabled = {"image": self.images, "table": self.tables, "equation": self.equations}
        wanted = [name for name in registry.registered_content_types() if enabled.get(name, True)]
        without_model: list[ElementProcessor] = []
        if self.image_ocr and "image" in wanted:
            without_model.append(ImageOCR(cache_folder=self.cache_folder))
        if "equation" in wanted:
            without_model.append(EquationWords())
        return [*without_model, *registry.make_processors(self, wanted)]


@strict_arguments
@dataclass(frozen=True, kw_only=True)
class GraphOptions:
    """How the knowledge graph is read from nodes.

    Attributes:
        entity_linker: Reads names, facts and structural links without a model.
        triple_extractor: Reads triples with an LLM; None reads none.
    """

    entity_linker: EntityLinker | None = None
    triple_extractor: TripleExtractor | None = None

    def __post_init__(self) -> None:
        check_types(vars(self), KINDS)


Enrichment = EnrichmentOptions | Sequence[ElementProcessor] | None
"""How elements are processed: options, or the processors themselves."""

KINDS: Final = MODEL_KINDS | {
    "image_embed_model": (MultiModalEmbedding, "a model that embeds images; give a MultiModalEmbedding of LlamaIndex"),
    "store": (MilvusNodeStore, "an open MilvusNodeStore; give a path or an address as uri="),
    "settings": (RAGAnythingSettings, "RAGAnythingSettings; give RAGAnythingSettings(...)"),
    **dict.fromkeys(("chunk_size", "chunk_overlap"), (int, "a whole number of tokens; give a number such as 512")),
    "node_parser": (NodeParser, "a NodeParser of LlamaIndex; give one such as SentenceSplitter()"),
    "reader": (RAGAnythingReader, 'a RAGAnythingReader; give one such as RAGAnythingReader(parser="docling")'),
    "enrichment": ((EnrichmentOptions, [TransformComponent]), "EnrichmentOptions or processors; give [] for none"),
    "transformations": ([Callable], "a list of transformations or functions of nodes; give [KeywordExtractor(...)]"),
    "graph": (
        (GraphOptions, bool),
        "GraphOptions or a bool; give GraphOptions(triple_extractor=...) or False",
    ),
    "entity_linker": (EntityLinker, "an EntityLinker; give EntityLinker(...)"),
    "triple_extractor": (TripleExtractor, "a TripleExtractor; wrap LlamaIndex's in TripleExtractor(extractor=...)"),
    **dict.fromkeys(("overwrite", "tables"), (bool, "True or False; give one of them")),
    "layers": ([Layer], "a list of layers; give objects with the methods of ingestion.layers.Layer"),
    "filters": (MetadataFilters, "MetadataFilters; give MetadataFilters(filters=[MetadataFilter(key=..., value=...)])"),
}
"""Types of the arguments of an index and of its retrievers."""

_GROUPS: Final = {"graph": GraphOptions, "enrichment": EnrichmentOptions, "reader": RAGAnythingReader}

ELSEWHERE["RAGAnythingIndex"] = {
    name: f"{group}={kind.__name__}({name}=...)" for group, kind in _GROUPS.items() for name in argument_names(kind)
} | dict.fromkeys(("exclude", "strict", "show_progress", "workers"), "from_paths(), add() and sync()")


def processors_for(enrichment: Enrichment, vision_llm: LLM | None, cache_folder: Path) -> list[ElementProcessor]:
    """Return what processes the elements of an index.

    Args:
        vision_llm: Describes images where the options name no model for them.
        cache_folder: Where answers are cached if the options do not say.
    """
    if enrichment is not None and not isinstance(enrichment, EnrichmentOptions):
        return list(enrichment)
    options = enrichment or EnrichmentOptions()
    return replace(
        options,
        vision_llm=vision_llm if options.vision_llm is None else options.vision_llm,
        cache_folder=options.cache_folder or cache_folder,
    ).processors()


def node_parser_for(node_parser: NodeParser | None, chunk_size: int | None, chunk_overlap: int | None) -> NodeParser:
    """Return the node parser of an index: the given one, or the default one with this size of chunks.

    Raises:
        ConfigurationError: A node parser and a size were both given, or the sizes cannot be.
    """
    sizes = {"chunk_size": chunk_size, "chunk_overlap": chunk_overlap}
    if node_parser is not None:
        refuse_beside("node_parser", sizes, "set the size on the node parser")
        return node_parser
    if chunk_size is not None and chunk_size < 1:
        message = f"chunk_size must be 1 or more, not {chunk_size}."
        raise ConfigurationError(message)
    given = {name: value for name, value in sizes.items() if value is not None}
    if chunk_size is not None and chunk_overlap is None:
        given["chunk_overlap"] = min(RAGAnythingNodeParser.model_fields["chunk_overlap"].default, chunk_size // 8)
    return RAGAnythingNodeParser(**given)


def refuse_beside(name: str, others: Mapping[str, object], reason: str) -> None:
    """Refuse arguments that would have no effect beside another one.

    Args:
        name: The argument that makes the others useless.
        others: The others by name; None and False count as not given.
        reason: Why they would have no effect.

    Raises:
        ConfigurationError: One of them was given.
    """
    given = [other for other, value in others.items() if value is not None and value is not False]
    if given:
        message = f"{name} and {', '.join(given)} were both given; {reason}."
        raise ConfigurationError(message)


def refuse_node_parsers(transformations: Iterable[TransformComponent]) -> None:
    """Refuse a node parser among the transformations, which run on nodes.

    Raises:
        ConfigurationError: One of them is a node parser: it would split nodes again.
    """
    for each in transformations:
        if isinstance(each, NodeParser):
            message = f"{type(each).__name__} in transformations would split nodes again; pass it as node_parser=."
            raise ConfigurationError(message)


def refuse_equal_names(layers: Iterable[Layer]) -> None:
    """Refuse layers that the report and the fingerprint could not tell apart.

    Raises:
        ConfigurationError: A name is taken.
    """
    taken = {"graph", "tables", "visual"}
    for layer in layers:
        if layer.name in taken:
            message = f"A layer named {layer.name!r} exists already; give {type(layer).__name__} another name."
            raise ConfigurationError(message)
        taken.add(layer.name)


def processors_of_config(
    config: Any, llm: LLM | None, vision_llm: LLM | None, cache_folder: Path
) -> list[ElementProcessor]:
    """Return what processes elements as a configuration of RAG-Anything says.

    Args:
        llm: Describes tables and equations.
        vision_llm: Describes images.
        cache_folder: Where answers are cached.
    """
    words = [EquationWords()] if getattr(config, "enable_equation_processing", True) else []
    return [*words, *registry.processors_from_config(config, llm, vision_llm, cache_folder)]


def descriptions_of_config(working_dir: str | Path | None) -> Path:
    """Return the folder of cached descriptions, which all knowledge bases of a configuration share."""
    return Path(working_dir or DEFAULT_WORKING_DIR) / "descriptions"


def folder_rules_of_config(config: Any) -> FolderRules:
    """Return which files of folders a configuration of RAG-Anything lets be read."""
    suffixes = getattr(config, "supported_file_extensions", None)
    return FolderRules(
        recursive=bool(getattr(config, "recursive_folder_processing", True)),
        suffixes=frozenset(suffix.lower() for suffix in suffixes) if suffixes else None,
    )
