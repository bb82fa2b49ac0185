"""``MediaDescriber``: what is said and shown in audio and video, as nodes with start and end times.

RAG-Anything's processors of audio and video are used without LightRAG; they need the extra ``[media]`` and weights.
"""

from __future__ import annotations

import asyncio
import base64
import copy
import importlib.util
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from threading import Lock
from typing import Any, Final

from llama_index.core.llms import LLM, ChatMessage, ImageBlock, TextBlock
from llama_index.core.schema import BaseNode, NodeRelationship, ObjectType, RelatedNodeInfo, TextNode
from pydantic import Field, PrivateAttr

from llama_index_raganything._arguments import strict_arguments
from llama_index_raganything._imports import guarded_import
from llama_index_raganything.elements import content_id
from llama_index_raganything.enrich.base import ElementNodes, ElementProcessor, FolderName
from llama_index_raganything.enrich.describers.base import model_name_of
from llama_index_raganything.enrich.describers.upstream import lightrag_stub, load
from llama_index_raganything.errors import ConfigurationError, EnrichmentError, MissingDependencyError, SourceError
from llama_index_raganything.models.model_names import refuse_blind, supports_images
from llama_index_raganything.node_parser.chunking import DEFAULT_CHUNK_SIZE, split_bytes
from llama_index_raganything.nodes import NodeView
from llama_index_raganything.readers.common.base import AssetStore
from llama_index_raganything.readers.media.recordings import readable_time
from llama_index_raganything.readers.sources.formats import KIND_OF_SUFFIX
from llama_index_raganything.text.terms import simple_tokens

_listening = Lock()


def transcribe(path: Path, model: str | None, language: str | None) -> list[Mapping[str, Any]]:
    """Transcribe an audio or video file with RAG-Anything's ``AudioModalProcessor``.

    Args:
        path: The file; faster-whisper also decodes the audio of videos.
        model: Name or folder of faster-whisper's model.
        language: Spoken language; detected if None.

    Returns:
        Dictionaries with ``start`` and ``end`` in seconds and ``text``.

    Raises:
        MissingDependencyError: The weights cannot be loaded.
        EnrichmentError: The file cannot be decoded.
    """
    processor = _audio_processor(model, language)
    with _listening:
        _load_weights(processor)
        try:
            return list(processor.transcribe(str(path)))
        except Exception as error:
            message = f"{path.name} cannot be transcribed: {type(error).__name__}: {error}"
            raise EnrichmentError(message) from error


async def scenes_of(path: Path, llm: LLM, model: str | None, language: str | None) -> list[Mapping[str, Any]]:
    """Describe the scenes and speech of a video with RAG-Anything's ``VideoModalProcessor``.

    Args:
        llm: A vision model; called once per scene.
        model: Name or folder of faster-whisper's model.
        language: Spoken language; detected if None.

    Returns:
        Dictionaries with ``start`` and ``end`` in seconds and ``text``.

    Raises:
        MissingDependencyError: The weights cannot be loaded.
        EnrichmentError: The video cannot be decoded, or has neither scenes nor speech.
    """
    load()
    with guarded_import():
        from raganything.modalprocessors_video import VideoModalProcessor

    async def look(prompt: str, image_data: str = "", system_prompt: str = "", **_kwargs: Any) -> str:
        image = ImageBlock(image=base64.b64decode(image_data), image_mimetype="image/jpeg")
        messages = [
            ChatMessage(role="system", content=system_prompt),
            ChatMessage(role="user", blocks=[TextBlock(text=prompt), image]),
        ]
        return str((await llm.achat(messages)).message.content or "")

    listener = _audio_processor(model, language)
    _load_weights(listener)
    processor = VideoModalProcessor(lightrag_stub(), look, audio_processor=listener)
    item = {"video_path": str(path)}
    spans: list[Mapping[str, Any]] = []
    # Upstream gives the seconds of a window only if there are several, so they are recorded here.
    plan = processor._plan_windows

    def planned(segments: Any) -> Any:
        windows = plan(segments)
        spans.extend({"start": window[0]["start"], "end": window[-1]["end"]} for window in windows)
        return windows

    processor._plan_windows = planned
    sections = await processor.generate_chunk_sections(item, "video")
    if len(sections) != len(spans):
        message = f"RAG-Anything's VideoModalProcessor made nothing of {path.name}; its log says why."
        raise EnrichmentError(message)
    return [{**span, "text": section["description"]} for span, section in zip(spans, sections, strict=True)]


@lru_cache(maxsize=2)
def _audio_processor(model: str | None, language: str | None) -> Any:
    load()
    with guarded_import():
        from raganything.modalprocessors_audio import AudioModalProcessor
    return AudioModalProcessor(lightrag_stub(), None, whisper_model=model, language=language)


def _load_weights(processor: Any) -> None:
    """Load the model, which faster-whisper downloads if it is missing."""
    try:
        _ = processor.whisper
    # huggingface_hub, requests, httpx and ctranslate2 each have their own errors for missing weights.
    except Exception as error:
        message = (
            f"The weights of faster-whisper's model {processor.whisper_model_name!r} cannot be loaded "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Give MediaDescriber(whisper_model=...) a "
            "folder that holds them, or a transcriber of your own."
        )
        raise MissingDependencyError(message) from error


_MEDIA: Final = ("audio", "video")


@dataclass(frozen=True)
class Segment:
    """Part of a recording.

    Attributes:
        start: Seconds from the beginning of the recording.
        end: Seconds from the beginning of the recording.
        text: What is said or shown.
    """

    start: float
    end: float
    text: str


Transcriber = Callable[[Path], Iterable[Segment | Mapping[str, Any]]]
"""Turns an audio or video file into segments, or dictionaries with ``start``, ``end`` (seconds) and ``text``."""


@strict_arguments
class MediaDescriber(ElementProcessor):
    """Add nodes with what is said in audio and video and, with a vision model, what is shown.

    The node of the file is kept, with name, duration and codecs, and is followed by nodes of the same content type that
    hold the transcript and the metadata ``start_s`` and ``end_s`` (seconds). Any speech recognition can be passed as
    ``transcriber``. By default RAG-Anything's ``AudioModalProcessor`` (faster-whisper) listens and, for videos with an
    ``llm``, its ``VideoModalProcessor`` also describes each scene. Both need the extra ``[media]`` and weights; without
    them each file is reported and keeps its single node. A second run changes nothing.

    >>> from llama_index.core.schema import TextNode
    >>> node = TextNode(text="talk.wav", metadata={"content_type": "audio", "source": __file__[:-3] + ".wav"})
    >>> def listen(path):
    ...     return [{"start": 0.0, "end": 2.5, "text": "Good morning."}]
    >>> MediaDescriber(transcriber=listen).process([node]).failures[0][1][:15]
    'The sound or fi'

    Args:
        transcriber: Turns a file into segments; not serialised.
        llm: A vision model that describes the scenes of videos; not serialised.
        asset_root: Folder of the assets that nodes refer to; without it the file at a node's ``source`` is read.
        chunk_size: Tokens of a node; segments are never split.
        whisper_model: Name or folder of faster-whisper's model; RAG-Anything's default (``WHISPER_MODEL`` or "base").
        language: Spoken language ("en", "zh"); detected if None.
        workers: Files processed concurrently; one speech model serves them all.

    Raises:
        ConfigurationError: The model does not support images.
    """

    content_types: tuple[str, ...] = Field(default=_MEDIA, description="Content types that are processed.")
    workers: int = Field(default=1, ge=1, description="Files processed at the same time.")
    asset_root: FolderName = Field(default=None, description="Folder of the assets that nodes refer to.")
    chunk_size: int = Field(default=DEFAULT_CHUNK_SIZE, gt=0, description="Tokens of a node.")
    whisper_model: str | None = Field(default=None, description="Model of faster-whisper.")
    language: str | None = Field(default=None, description="Language that is spoken.")

    _transcriber: Transcriber | None = PrivateAttr(default=None)
    _llm: LLM | None = PrivateAttr(default=None)

    def __init__(self, transcriber: Transcriber | None = None, llm: LLM | None = None, **values: Any) -> None:
        super().__init__(**values)
        if llm is not None and not supports_images(llm):
            refuse_blind(llm, "MediaDescriber", "or none")
        self._transcriber, self._llm = transcriber, llm

    def __eq__(self, other: object) -> bool:
        """Compare the settings, the transcriber and the model."""
        if not isinstance(other, MediaDescriber):
            return NotImplemented
        return super().__eq__(other) is True and (self._transcriber, self._llm) == (other._transcriber, other._llm)

    __hash__ = None  # As of all models of pydantic, whose fields may change.

    def __getstate__(self) -> dict[str, Any]:
        """Return the state with the transcriber and the model, which are not fields."""
        # LlamaIndex takes what cannot be pickled out of the object itself, so it gets another one.
        state = super(MediaDescriber, copy.copy(self)).__getstate__()
        return {"__dict__": {**state["__dict__"], "transcriber": self._transcriber, "llm": self._llm}}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Restore what :meth:`__getstate__` returned."""
        self.__init__(**state["__dict__"])  # type: ignore[misc]  # as LlamaIndex's BaseComponent does

    def to_dict(self, **kwargs: Any) -> dict[str, Any]:
        """Return the settings with the names of the transcriber and the model but not the objects.

        Args:
            **kwargs: Passed on to the base class.
        """
        data: dict[str, Any] = super().to_dict(**kwargs)
        if self._transcriber is not None:
            data["transcriber"] = getattr(self._transcriber, "__qualname__", type(self._transcriber).__qualname__)
        if self._llm is not None:
            data["model"] = model_name_of(self._llm)
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Any:
        """Return a describer with the settings of :meth:`to_dict`.

        Args:
            **kwargs: Settings that override those of ``data``; its ``transcriber`` and ``llm`` must be passed again.

        Raises:
            ConfigurationError: One of them is missing.
        """
        for key, argument in (("transcriber", "transcriber"), ("model", "llm")):
            if data.get(key) and kwargs.get(argument) is None:
                message = (
                    f"This MediaDescriber was saved with the {key} {data[key]}, which is not in the saved settings; "
                    f"pass from_dict(..., {argument}=...) too."
                )
                raise ConfigurationError(message)
        return super().from_dict({key: data[key] for key in data if key not in {"transcriber", "model"}}, **kwargs)

    def _elements(self, nodes: Sequence[BaseNode]) -> list[ElementNodes]:
        # A recording that has parts already was processed in an earlier run.
        elements = super()._elements(nodes)
        return [one for one in elements if not any("start_s" in part.metadata for part in one.parts)]

    def _process_element(self, element: ElementNodes) -> Sequence[BaseNode]:
        path = media_path(element.first, self.asset_root)
        segments = checked_segments(self._segments(path, element.content_type))
        if not segments:
            message = f"Nothing is said or shown in {path.name} that could be recognised."
            raise EnrichmentError(message)
        return [*element.parts, *part_nodes(element.first, segments, self.chunk_size)]

    def _segments(self, path: Path, kind: str) -> Iterable[Segment | Mapping[str, Any]]:
        if self._transcriber is not None:
            try:
                return list(self._transcriber(path))
            except Exception as error:
                message = f"The transcriber failed on {path.name}: {type(error).__name__}: {error}"
                raise EnrichmentError(message) from error
        require_packages(("faster_whisper", "av"), path)
        if kind == "video" and self._llm is not None:
            require_packages(("cv2", "scenedetect", "moviepy"), path)
            return asyncio.run(scenes_of(path, self._llm, self.whisper_model, self.language))
        return transcribe(path, self.whisper_model, self.language)


def require_packages(names: Sequence[str], path: Path) -> None:
    """Check that packages are installed.

    Args:
        names: Names of modules.
        path: The file that needs them.

    Raises:
        MissingDependencyError: One is missing.
    """
    missing = [name for name in names if importlib.util.find_spec(name) is None]
    if missing:
        message = (
            f"{path.name} is not transcribed: {', '.join(missing)} not installed. Install "
            "'llama-index-raganything[media]', or pass MediaDescriber a transcriber of your own."
        )
        raise MissingDependencyError(message)


def media_path(node: BaseNode, asset_root: str | None) -> Path:
    """Return the path of a recording.

    Returns:
        The asset, else the file that the document was read from.

    Raises:
        SourceError: Neither exists.
        BlockedSourceError: The asset's path leads outside the folder.
    """
    asset = str(node.metadata.get("asset") or "")
    if asset and asset_root is not None:
        path = AssetStore(asset_root).resolve(asset)
        if path.is_file():
            return path
    source = Path(str(node.metadata.get("source") or ""))
    if KIND_OF_SUFFIX.get(source.suffix.lower()) in _MEDIA and source.is_file():
        return source
    message = (
        f"The sound or film file of node {node.node_id} is not there: asset {asset!r} below {asset_root!r}, "
        f"source {str(source)!r}. Give MediaDescriber the asset_root of the reader."
    )
    raise SourceError(message)


def checked_segments(segments: Iterable[Segment | Mapping[str, Any]]) -> list[Segment]:
    """Return the segments that have words, in order of time.

    Args:
        segments: What a transcriber returned.

    Raises:
        EnrichmentError: One has no usable ``start``, ``end`` or ``text``, or ends before it starts.
    """
    found: list[Segment] = []
    for given in segments:
        try:
            if isinstance(given, Mapping):
                start, end, text = given["start"], given["end"], given["text"]
            else:
                start, end, text = given.start, given.end, given.text
            start, end = float(start), float(end)
        except (KeyError, AttributeError, TypeError, ValueError) as error:
            message = f"A segment of the transcriber needs start and end in seconds and a text, not {given!r:.200}."
            raise EnrichmentError(message) from error
        if not (math.isfinite(start) and math.isfinite(end)) or start < 0 or end < start:
            message = f"A segment of the transcriber goes from {start} to {end} seconds."
            raise EnrichmentError(message)
        words = " ".join(str(text).encode("utf-8", "replace").decode("utf-8").replace("\x00", "").split())
        if words:
            found.append(Segment(start, end, words))
    return sorted(found, key=lambda segment: (segment.start, segment.end))


def part_nodes(node: BaseNode, segments: Sequence[Segment], chunk_size: int) -> list[TextNode]:
    """Return the nodes of the parts of a recording, linked in order of time.

    Args:
        node: The node of the whole recording.
        segments: In order of time.

    Returns:
        Nodes whose ids derive from content and position.
    """
    made: list[TextNode] = []
    name = NodeView(node).text.strip().splitlines()[0] if NodeView(node).text.strip() else ""
    for group in _groups(segments, chunk_size):
        start, end = group[0].start, max(segment.end for segment in group)
        lines = [f"[{readable_time(one.start)}-{readable_time(one.end)}] {one.text}" for one in group]
        for number, text in enumerate(split_bytes("\n".join([name, "", *lines] if name else lines))):
            part = TextNode(
                id_=content_id(node.node_id, "part", start, end, number, text),
                text=text,
                metadata=dict(node.metadata) | {"start_s": float(start), "end_s": float(end)},
                excluded_embed_metadata_keys=[*node.excluded_embed_metadata_keys, "start_s", "end_s"],
                excluded_llm_metadata_keys=list(node.excluded_llm_metadata_keys),
            )
            if node.source_node is not None:
                part.relationships[NodeRelationship.SOURCE] = node.source_node
            if made:
                made[-1].relationships[NodeRelationship.NEXT] = _related(part)
                part.relationships[NodeRelationship.PREVIOUS] = _related(made[-1])
            made.append(part)
    return made


def _groups(segments: Sequence[Segment], chunk_size: int) -> list[list[Segment]]:
    groups: list[list[Segment]] = []
    size = 0
    for segment in segments:
        tokens = len(simple_tokens(segment.text))
        if not groups or size + tokens > chunk_size:
            groups.append([])
            size = 0
        groups[-1].append(segment)
        size += tokens
    return groups


def _related(node: TextNode) -> RelatedNodeInfo:
    return RelatedNodeInfo(node_id=node.node_id, node_type=ObjectType.TEXT)
