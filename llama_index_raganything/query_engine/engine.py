"""``RAGAnythingQueryEngine``: answers with citations, with or without an LLM."""

from __future__ import annotations

import asyncio
import copy
from typing import Any, Final, Literal

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.llms.types import ChatMessage
from llama_index.core.base.response.schema import RESPONSE_TYPE
from llama_index.core.callbacks import CallbackManager
from llama_index.core.llms import LLM
from llama_index.core.postprocessor.types import BaseNodePostprocessor
from llama_index.core.prompts import BasePromptTemplate
from llama_index.core.query_engine import RetrieverQueryEngine
from llama_index.core.response_synthesizers import BaseSynthesizer, ResponseMode
from llama_index.core.schema import NodeWithScore, QueryBundle, QueryType
from llama_index.core.settings import Settings
from llama_index.core.vector_stores.types import MetadataFilters
from pydantic import BaseModel

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._pickling import PickledWithoutSecrets
from llama_index_raganything.attachments import AttachedQuery
from llama_index_raganything.errors import ConfigurationError
from llama_index_raganything.models.defaults import resolve_llm
from llama_index_raganything.models.model_names import supports_images
from llama_index_raganything.query_engine import prompts
from llama_index_raganything.query_engine.context.images import DEFAULT_MAX_IMAGES, ImageFiles
from llama_index_raganything.query_engine.extractive.synthesizer import ExtractiveSynthesizer
from llama_index_raganything.query_engine.question_images import AttachmentReader, StoredImages, with_same_images_first
from llama_index_raganything.query_engine.synthesis.answering_llms import (
    AnsweringLLM,
    answering_synthesizer,
    context_for,
    seeing_llms,
)
from llama_index_raganything.query_engine.synthesis.base import SynthesizerBase
from llama_index_raganything.query_engine.synthesis.citing import CitingSynthesizer
from llama_index_raganything.retrievers.evidence.candidates import store_of
from llama_index_raganything.settings import RAGAnythingSettings

_UNKNOWN: Final = object()


@strict_arguments
class RAGAnythingQueryEngine(PickledWithoutSecrets, RetrieverQueryEngine):
    """Answer questions with citations that lead to document, page and box.

    A multimodal LLM gets each retrieved image with its caption, a text LLM gets the text, and without an
    LLM the answer quotes sentences, table cells and images. ``response.metadata["citations"]`` lists what
    each ``[n]`` leads to (see :func:`~llama_index_raganything.query_engine.citations.citation`);
    ``response.metadata["answered"]`` is False when the documents hold no answer, and
    ``response.metadata["images"]`` lists the images to show beside it.

    A question may carry images, tables and formulas. Their content words join the question for retrieval; for an
    image these are recognised, or those of an LLM's description with ``describe_attachments=True``. An LLM reads
    tables and formulas in full, a multimodal one sees the images. A stored element that an attached image *is* comes
    first, whatever else is found.

    >>> engine.query("Is this the same curve?", attachments=["curve.png"])  # doctest: +SKIP

    Args:
        response_synthesizer: Writes the answer; one of LlamaIndex's is made to cite. Extractive by default.
        attachment_reader: Reads attached images; recognises their words by default.
        stored_images: Finds the stored elements that an attached image is; None finds them among the results only.
        asset_root: Folder of the assets, for nodes whose ``image_path`` is gone.
    """

    def __init__(
        self,
        retriever: BaseRetriever,
        response_synthesizer: BaseSynthesizer | None = None,
        node_postprocessors: list[BaseNodePostprocessor] | None = None,
        callback_manager: CallbackManager | None = None,
        *,
        attachment_reader: AttachmentReader | None = None,
        stored_images: StoredImages | None = None,
        asset_root: str | None = None,
    ) -> None:
        synthesizer = response_synthesizer or ExtractiveSynthesizer(callback_manager=callback_manager)
        if not isinstance(synthesizer, SynthesizerBase):
            synthesizer = CitingSynthesizer(synthesizer)
        super().__init__(
            retriever=retriever,
            response_synthesizer=synthesizer,
            node_postprocessors=node_postprocessors,
            callback_manager=callback_manager,
        )
        self._attachment_reader = attachment_reader or AttachmentReader()
        self._stored_images = stored_images
        self._asset_root = asset_root

    @classmethod
    def from_args(  # type: ignore[override]  # RetrieverQueryEngine's ignores **kwargs; here an unknown one is refused.
        cls,
        retriever: BaseRetriever,
        llm: LLM | None = None,
        response_synthesizer: BaseSynthesizer | None = None,
        node_postprocessors: list[BaseNodePostprocessor] | None = None,
        callback_manager: CallbackManager | None = None,
        response_mode: ResponseMode | str = ResponseMode.COMPACT,
        text_qa_template: BasePromptTemplate | None = None,
        refine_template: BasePromptTemplate | None = None,
        summary_template: BasePromptTemplate | None = None,
        simple_template: BasePromptTemplate | None = None,
        chat_content_qa_template: BasePromptTemplate | None = None,
        chat_content_refine_template: BasePromptTemplate | None = None,
        output_cls: type[BaseModel] | None = None,
        use_async: bool = False,
        streaming: bool = False,
        verbose: bool = False,
        multimodal: bool | None = None,
        *,
        asset_root: str | None = None,
        max_images: int = DEFAULT_MAX_IMAGES,
        max_pixels: int = 2_000_000,
        store: Any = None,
        context_tokens: int | None = None,
        describe_attachments: bool = False,
        vision_llm: LLM | None = None,
        settings: RAGAnythingSettings | None = None,
        filters: MetadataFilters | Literal["retriever"] | None = "retriever",
    ) -> RAGAnythingQueryEngine:
        """Make an engine.

        Args:
            llm: Writes the answer. None means the LLM set on ``Settings``, else DashScope's where there is a key for
                it, else quotes; LlamaIndex's own default is never used.
            response_synthesizer: Used instead of one made from the arguments below.
            response_mode: Without an LLM all of LlamaIndex's modes quote.
            text_qa_template: Prompt for a text LLM, with ``context_str`` and ``query_str``.
            refine_template: Prompt that improves an answer, with ``existing_answer`` and ``context_msg`` too.
            summary_template: Prompt of ``tree_summarize``.
            simple_template: Prompt of ``generation``.
            chat_content_qa_template: Prompt for a multimodal LLM, with ``context_messages`` and ``query_str``.
            chat_content_refine_template: Prompt that improves an answer, for a multimodal LLM.
            output_cls: Pydantic class of a structured answer.
            use_async: Let LlamaIndex call the LLM concurrently.
            multimodal: Send images to the LLM; None decides by what the LLM is.
            asset_root: Folder of the assets, for nodes whose ``image_path`` is gone.
            max_images: Images sent for one question.
            max_pixels: Pixels of an image; larger ones are scaled down.
            store: Vector store or docstore that holds all nodes; by default that of a retriever of ours. With it
                an LLM reads elements with the text of their page; without an LLM the other elements of the page may
                be quoted too.
            context_tokens: Tokens of all sources together, as the LLM reads them: whole pages while they fit, then the
                passages that matter. By default half of what the LLM's window leaves, at most 6,000.
            describe_attachments: Let a multimodal LLM describe each attached image before retrieval, one call per
                new image; otherwise the words in it are recognised.
            vision_llm: Answers in place of an ``llm`` that sees no images where the question or a source has one, and
                describes attachments; ignored without an ``llm``.
            settings: Settings in place of those read from the environment, where ``llm`` is None.
            filters: Filters under which stored images are found by their content. ``"retriever"`` and None take the
                retriever's; where these are not known, None means that there are none, and with ``"retriever"``
                such images are found among its results only.

        Raises:
            ConfigurationError: There is no such ``response_mode``; ``multimodal=True`` with an LLM that is no chat
                model, or ``describe_attachments=True`` with one that sees no images.
        """
        response_mode = _response_mode(response_mode)
        callback_manager = callback_manager or Settings.callback_manager
        store = store_of(retriever) if store is None else store
        chosen = resolve_llm(llm, settings)
        llms = [] if chosen is None else seeing_llms(chosen, vision_llm, multimodal)
        reader = AttachmentReader()
        if describe_attachments:
            reader = _describing_reader(llms[-1][0] if llms else None, multimodal, max_pixels)
        if response_synthesizer is None and chosen is None:
            response_synthesizer = ExtractiveSynthesizer(streaming, callback_manager, store, asset_root)
        elif response_synthesizer is None:
            of_inner = {
                "text_qa_template": text_qa_template or prompts.CITATION_QA_PROMPT,
                "refine_template": refine_template or prompts.CITATION_REFINE_PROMPT,
                "summary_template": summary_template or prompts.CITATION_SUMMARY_PROMPT,
                "simple_template": simple_template,
                "chat_content_qa_template": chat_content_qa_template or prompts.CITATION_CHAT_QA_PROMPT,
                "chat_content_refine_template": chat_content_refine_template or prompts.CITATION_CHAT_REFINE_PROMPT,
                "chat_summary_template": prompts.CITATION_CHAT_QA_PROMPT,
                "response_mode": response_mode,
                "callback_manager": callback_manager,
                "output_cls": output_cls,
                "use_async": use_async,
                "streaming": streaming,
                "verbose": verbose,
            }
            shown = {"max_images": max_images, "max_pixels": max_pixels}
            of_citing: dict[str, Any] = {"store": store, "asset_root": asset_root} | shown
            of_context = of_citing | {"context_tokens": context_tokens}
            answering = [AnsweringLLM(each, sees, tuple(context_for(each, sees, **of_context))) for each, sees in llms]
            response_synthesizer = answering_synthesizer(answering, of_inner, of_citing)
        return cls(
            retriever=retriever,
            response_synthesizer=response_synthesizer,
            callback_manager=callback_manager,
            node_postprocessors=node_postprocessors,
            attachment_reader=reader,
            stored_images=_stored_images(store, retriever, filters),
            asset_root=asset_root,
        )

    def with_retriever(self, retriever: BaseRetriever) -> RAGAnythingQueryEngine:
        """Return an engine with another retriever, under whose filters stored images are found."""
        twin = copy.copy(self)
        twin._retriever = retriever
        twin._stored_images = _stored_images(self._stored_images and self._stored_images.store, retriever)
        return twin

    def query(self, str_or_query_bundle: QueryType | ChatMessage, attachments: Any = None) -> RESPONSE_TYPE:
        """Answer a question, which may carry images, tables and formulas.

        Args:
            str_or_query_bundle: The question; the images of a chat message and a bundle's ``image_path`` count as
                attachments.
            attachments: What the question carries; see :func:`~llama_index_raganything.attachments.attachments_of`.

        Returns:
            The response.

        Raises:
            RAGAnythingError: An attachment cannot be read.
        """
        return super().query(_question(str_or_query_bundle, attachments))

    async def aquery(self, str_or_query_bundle: QueryType | ChatMessage, attachments: Any = None) -> RESPONSE_TYPE:
        """Answer a question, which may carry images, tables and formulas; see :meth:`query`."""
        return await super().aquery(_question(str_or_query_bundle, attachments))

    def retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Retrieve and postprocess nodes; see ``RetrieverQueryEngine``."""
        query = self._prepared(query_bundle)
        if not isinstance(query, AttachedQuery):
            return super().retrieve(query)
        nodes = self._with_same_images_first(self._retriever.retrieve(query), query)
        return self._apply_node_postprocessors(nodes, query_bundle=query)

    async def aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        """Retrieve and postprocess nodes; see ``RetrieverQueryEngine``."""
        query = await self._aprepared(query_bundle)
        if not isinstance(query, AttachedQuery):
            return await super().aretrieve(query)
        found = await self._retriever.aretrieve(query)
        nodes = await asyncio.to_thread(self._with_same_images_first, found, query)
        return await self._async_apply_node_postprocessors(nodes, query_bundle=query)

    def _query(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return super()._query(self._prepared(query_bundle))

    async def _aquery(self, query_bundle: QueryBundle) -> RESPONSE_TYPE:
        return await super()._aquery(await self._aprepared(query_bundle))

    def _prepared(self, query_bundle: QueryBundle) -> QueryBundle:
        """Return a question with what its images say and which stored elements they are; done once."""
        query = _with_image(query_bundle)
        return self._attachment_reader.read(self._with_stored(query)) if isinstance(query, AttachedQuery) else query

    async def _aprepared(self, query_bundle: QueryBundle) -> QueryBundle:
        query = _with_image(query_bundle)
        if not isinstance(query, AttachedQuery):
            return query
        return await self._attachment_reader.aread(await asyncio.to_thread(self._with_stored, query))

    def _with_stored(self, query: AttachedQuery) -> AttachedQuery:
        """Return a question with the stored elements that its images are."""
        images = query.image_attachments
        if query.same is not None or not images:
            return query
        return query.with_same(self._stored_images.find(images) if self._stored_images is not None else ())

    def _with_same_images_first(self, nodes: list[NodeWithScore], query: AttachedQuery) -> list[NodeWithScore]:
        images = query.image_attachments
        if not images:
            return nodes
        return with_same_images_first(nodes, query.same or (), images, ImageFiles(self._asset_root))


def _response_mode(given: ResponseMode | str) -> ResponseMode:
    """Return a response mode by its name; a typo is refused without an LLM too, where the mode has no effect."""
    try:
        return ResponseMode(given)
    except ValueError:
        message = f"response_mode={given!r} is not known; say one of {', '.join(mode.value for mode in ResponseMode)}."
        raise ConfigurationError(message) from None


def _question(question: QueryType | ChatMessage, attachments: Any) -> QueryType:
    """Return a question with what it carries; one that carries nothing as it is."""
    if attachments is None and not isinstance(question, ChatMessage):
        return question if isinstance(question, str) else _with_image(question)
    return AttachedQuery.of(question, attachments)


def _with_image(query: QueryBundle) -> QueryBundle:
    return AttachedQuery.of(query) if query.image_path and not isinstance(query, AttachedQuery) else query


def _describing_reader(llm: LLM | None, multimodal: bool | None, max_pixels: int) -> AttachmentReader:
    if llm is None or not (supports_images(llm) if multimodal is None else multimodal):
        message = (
            "describe_attachments=True needs an LLM that sees images; pass a multimodal chat LLM, or leave it out to "
            "have the words in attached images recognised."
        )
        raise ConfigurationError(message)
    return AttachmentReader(llm, max_pixels=max_pixels)


def _stored_images(
    store: Any, retriever: BaseRetriever, filters: MetadataFilters | Literal["retriever"] | None = "retriever"
) -> StoredImages | None:
    """Return the look-up of stored images under the retriever's filters, or None where these are not known.

    Filters are the tenant boundary: an image must not find what the retriever would not.
    """
    if store is None:
        return None
    if isinstance(filters, MetadataFilters):
        return StoredImages(store, filters)
    known = _filters_of(retriever)
    if all(each == known[0] and each is not _UNKNOWN for each in known):
        return StoredImages(store, known[0])
    return StoredImages(store) if filters is None and all(each is _UNKNOWN for each in known) else None


def _filters_of(retriever: BaseRetriever) -> list[Any]:
    """Return the filters of a retriever, or those of the retrievers that it asks."""
    if hasattr(retriever, "filters"):
        return [retriever.filters]
    children = getattr(retriever, "retrievers", None)
    if not isinstance(children, list) or not children:
        return [_UNKNOWN]
    return [found for child in children for found in _filters_of(child)]
