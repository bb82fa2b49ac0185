"""``ElementProcessor``: the base of all processors of elements.

A processor takes nodes and returns them with something added to those of its content types: a description, words read
from an image, a vector. It works on *elements*: a long table that the node parser split into several nodes is one
element. Several elements are processed concurrently, the nodes keep their order, and an element that fails leaves its
nodes unchanged and is reported.
"""

from __future__ import annotations

import asyncio
import logging
from abc import abstractmethod
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import chain
from pathlib import Path
from typing import Annotated, Any

from llama_index.core.async_utils import run_jobs
from llama_index.core.schema import BaseNode, TransformComponent
from pydantic import BeforeValidator, Field

from llama_index_raganything._arguments import refuse_misspelt, strict_arguments
from llama_index_raganything.errors import ErrorKind, Failure
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.workers import map_in_threads

logger = logging.getLogger(__name__)


FolderName = Annotated[str | None, BeforeValidator(lambda value: str(value) if isinstance(value, Path) else value)]
"""A field for a folder, which callers may give as a path; settings are serialised as text."""


@dataclass
class Processed:
    """The outcome of processing nodes.

    Attributes:
        nodes: The nodes in their order; those of processed elements are new objects.
        changed: The new objects among them.
        failures: Ids of nodes whose element could not be processed, each with the reason; of an element of several
            nodes the first.
        unanswered: Ids of those whose model did not answer, so that a later run may succeed.
        fatal: The error that ended the run, because every further element would have failed the same way.
    """

    nodes: list[BaseNode]
    changed: list[BaseNode] = field(default_factory=list)
    failures: list[tuple[str, str]] = field(default_factory=list)
    unanswered: list[str] = field(default_factory=list)
    fatal: Exception | None = None


@dataclass(frozen=True)
class ElementNodes:
    """The nodes of one element.

    Attributes:
        parts: Its nodes in reading order; several if the node parser had to split it.
        document: All given nodes of its document, in order.
        starts: Positions in ``parts`` where the element begins; several if equal elements are processed as one.
        shared: Cache of what processors work out once for all elements of a document; one per document and run.
    """

    parts: tuple[BaseNode, ...]
    document: Sequence[BaseNode]
    starts: tuple[int, ...] = (0,)
    shared: dict[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def first(self) -> BaseNode:
        """The first node."""
        return self.parts[0]

    @property
    def content_type(self) -> str:
        """The content type."""
        return NodeView(self.first).kind


Outcome = Sequence[BaseNode] | Failure
"""The new nodes of an element, or why there are none."""


@strict_arguments
class ElementProcessor(TransformComponent):
    """Base class of processors of elements.

    A subclass implements :meth:`_process_element`, and :meth:`_aprocess_element` if it waits for a network.

    Args:
        content_types: Content types that are processed; other nodes pass unchanged.
        workers: Number of elements processed concurrently.
    """

    content_types: tuple[str, ...] = Field(default=(), description="Content types that are processed.")
    workers: int = Field(default=4, ge=1, description="Elements processed at the same time.")

    @classmethod
    def class_name(cls) -> str:
        """Return the name used for serialisation."""
        return cls.__name__

    def __eq__(self, other: object) -> bool:
        """Compare the settings, ignoring cached results."""
        if type(self) is not type(other) or not isinstance(other, ElementProcessor):
            return NotImplemented
        return self.__dict__ == other.__dict__

    __hash__ = None  # type: ignore[assignment]  # As of all models of pydantic, whose fields may change.

    @abstractmethod
    def _process_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        """Return the new nodes of an element, in order and with their old ids; called from several threads.

        Additional nodes, such as the parts of a recording, follow these with ids of their own.

        Args:
            element: The element; its nodes must not be changed (``node.model_copy(deep=True)`` makes new ones).

        Raises:
            RAGAnythingError: The element cannot be processed. Any other exception is reported too.
        """

    async def _aprocess_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        """Async twin of :meth:`_process_element`; runs it in a thread unless overridden."""
        return await asyncio.to_thread(self._process_element, element)

    def process(self, nodes: Sequence[BaseNode], show_progress: bool = False) -> Processed:
        """Process the elements among nodes.

        Args:
            nodes: Nodes of one or several documents; they are not changed.
            show_progress: Show a progress bar.
        """
        elements = self._elements(nodes)
        progress = self._progress_text() if show_progress else ""
        outcomes = map_in_threads(self._process_batch, self._batches(elements), self.workers, progress)
        return self._joined(nodes, elements, outcomes)

    async def aprocess(self, nodes: Sequence[BaseNode], show_progress: bool = False) -> Processed:
        """Async twin of :meth:`process`."""
        elements = self._elements(nodes)
        if not elements:
            return Processed(list(nodes))
        jobs = [self._aprocess_batch(batch) for batch in self._batches(elements)]
        outcomes = await run_jobs(jobs, show_progress=show_progress, workers=self.workers, desc=self._progress_text())
        return self._joined(nodes, elements, outcomes)

    def __call__(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> Sequence[BaseNode]:
        """Process the elements among nodes and log those that failed.

        Args:
            nodes: Nodes of one or several documents; they are not changed.
            show_progress: Show a progress bar.
            **kwargs: Ignored: LlamaIndex's pipelines pass theirs to every transformation.

        Returns:
            The nodes in the same order.
        """
        refuse_misspelt(f"{type(self).__name__}()", kwargs, ("show_progress",))
        return self._logged(self.process(nodes, show_progress))

    async def acall(self, nodes: Sequence[BaseNode], show_progress: bool = False, **kwargs: Any) -> Sequence[BaseNode]:
        """Async twin of :meth:`__call__`."""
        refuse_misspelt(f"{type(self).__name__}()", kwargs, ("show_progress",))
        return self._logged(await self.aprocess(nodes, show_progress))

    def _elements(self, nodes: Sequence[BaseNode]) -> list[ElementNodes]:
        """Return the elements to process; a subclass may omit or join some."""
        return elements_of(nodes, self.content_types)

    def _batches(self, elements: Sequence[ElementNodes]) -> list[Sequence[ElementNodes]]:
        """Return the elements in batches of one; a subclass may process several at once."""
        return [[element] for element in elements]

    def _process_batch(self, batch: Sequence[ElementNodes]) -> list[Outcome]:
        """Return the outcome of each element of a batch."""
        return [self._guarded(element) for element in batch]

    async def _aprocess_batch(self, batch: Sequence[ElementNodes]) -> list[Outcome]:
        return [await self._aguarded(element) for element in batch]

    def _guarded(self, element: ElementNodes) -> Outcome:
        try:
            return self._process_element(element)
        except Exception as error:  # noqa: BLE001  # clients of models and decoders raise anything; it is reported
            return Failure.of(error)

    async def _aguarded(self, element: ElementNodes) -> Outcome:
        try:
            return await self._aprocess_element(element)
        except Exception as error:  # noqa: BLE001  # clients of models and decoders raise anything; it is reported
            return Failure.of(error)

    def _joined(
        self, nodes: Sequence[BaseNode], elements: Sequence[ElementNodes], outcomes: Sequence[Sequence[Outcome]]
    ) -> Processed:
        """Return the nodes with the outcome of every batch."""
        result = Processed([])
        made: dict[int, list[BaseNode]] = {}
        for element, outcome in zip(elements, chain.from_iterable(outcomes), strict=True):
            if isinstance(outcome, Failure):
                ids = [element.parts[start].node_id for start in element.starts]
                result.failures += [(node_id, outcome.reason) for node_id in ids]
                result.unanswered += ids if outcome.kind is ErrorKind.TRANSIENT else []
            else:
                made.update(_placed(element.parts, list(outcome)))
        for node in nodes:
            result.nodes += made.get(id(node), [node])
            result.changed += made.get(id(node), [])
        return result

    def _logged(self, processed: Processed) -> list[BaseNode]:
        for node_id, reason in processed.failures:
            logger.warning("%s left node %s as it was: %s", self.class_name(), node_id, reason)
        return processed.nodes

    def _progress_text(self) -> str:
        return f"{self.class_name()}: {', '.join(self.content_types)}"


def elements_of(nodes: Sequence[BaseNode], content_types: Iterable[str]) -> list[ElementNodes]:
    """Return the elements of some content types among nodes.

    Args:
        nodes: Nodes of one or several documents.

    Returns:
        The elements in the order of their first nodes.
    """
    wanted = frozenset(content_types)
    documents: dict[str, list[BaseNode]] = defaultdict(list)
    for node in nodes:
        documents[NodeView(node).document_id].append(node)
    groups: list[ElementNodes] = []
    for members in documents.values():
        shared: dict[str, Any] = {}
        groups += [ElementNodes(tuple(parts), members, shared=shared) for parts in _parts(members, wanted)]
    places = {id(node): place for place, node in reversed(list(enumerate(nodes)))}
    return sorted(groups, key=lambda group: places[id(group.first)])


def _parts(members: Sequence[BaseNode], wanted: frozenset[str]) -> Iterator[list[BaseNode]]:
    """Yield the nodes of each element: consecutive nodes of the same element whose texts differ."""
    parts: list[BaseNode] = []
    for node in members:
        if NodeView(node).kind not in wanted:
            continue
        if parts and _is_next_part(parts, node):
            parts.append(node)
            continue
        if parts:
            yield parts
        parts = [node]
    if parts:
        yield parts


def _is_next_part(parts: Sequence[BaseNode], node: BaseNode) -> bool:
    """Return whether a node continues an element; a second element with equal content starts with the same text."""
    first = parts[0]
    element_id = node.metadata.get("element_id")
    if not element_id or element_id != first.metadata.get("element_id"):
        return False
    return NodeView(node).kind == NodeView(first).kind and NodeView(node).text != NodeView(first).text


def _placed(parts: Sequence[BaseNode], made: list[BaseNode]) -> dict[int, list[BaseNode]]:
    """Return the new nodes by the node they replace; additional ones follow the last."""
    count = len(parts)
    if len(made) < count:
        message = f"{count} nodes came back as {len(made)}"
        raise ValueError(message)
    kept = [[node] for node in made[:count]]
    kept[-1].extend(made[count:])
    return dict(zip(map(id, parts), kept, strict=True))
