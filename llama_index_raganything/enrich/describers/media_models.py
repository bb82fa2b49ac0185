"""RAG-Anything's processors of sound and film, without LightRAG. They need the extra ``[media]`` and weights."""

from __future__ import annotations

import base64
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from threading import Lock
from types import SimpleNamespace
from typing import Any

from llama_index.core.llms import LLM, ChatMessage, ImageBlock, TextBlock

from llama_index_raganything._imports import guarded_import
from llama_index_raganything.enrich.describers.upstream import load
from llama_index_raganything.errors import EnrichmentError, MissingDependencyError

_listening = Lock()


def transcribe(path: Path, model: str | None, language: str | None) -> list[Mapping[str, Any]]:
    """Transcribe a sound or film file with RAG-Anything's ``AudioModalProcessor``.

    Args:
        path: The file; faster-whisper decodes the sound of films too.
        model: Name or folder of faster-whisper's model.
        language: Language that is spoken; recognised by itself when None.

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
    """Describe the scenes of a film and what is said in them with RAG-Anything's ``VideoModalProcessor``.

    Args:
        llm: A model that sees; asked once per scene.
        model: Name or folder of faster-whisper's model.
        language: Language that is spoken; recognised by itself when None.

    Returns:
        Dictionaries with ``start`` and ``end`` in seconds and ``text``.

    Raises:
        MissingDependencyError: The weights cannot be loaded.
        EnrichmentError: The film cannot be decoded, or has neither scenes nor speech.
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
    processor = VideoModalProcessor(_stub(), look, audio_processor=listener)
    item = {"video_path": str(path)}
    spans: list[Mapping[str, Any]] = []
    # Upstream tells the seconds of a window only where there are several, so they are kept here.
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
    return AudioModalProcessor(_stub(), None, whisper_model=model, language=language)


def _load_weights(processor: Any) -> None:
    """Load the model, which faster-whisper downloads when it is not there."""
    try:
        _ = processor.whisper
    # huggingface_hub, requests, httpx and ctranslate2 each have errors of their own for weights that are not there.
    except Exception as error:
        message = (
            f"The weights of faster-whisper's model {processor.whisper_model_name!r} cannot be loaded "
            f"({type(error).__name__}: {' '.join(str(error).split())[:200]}). Give MediaDescriber(whisper_model=...) a "
            "folder that holds them, or a transcriber of your own."
        )
        raise MissingDependencyError(message) from error


def _stub() -> SimpleNamespace:
    """Return what these processors read of LightRAG."""
    names = ("text_chunks", "chunks_vdb", "entities_vdb", "relationships_vdb", "chunk_entity_relation_graph")
    models = ("embedding_func", "llm_model_func", "llm_response_cache")
    return SimpleNamespace(
        **dict.fromkeys((*names, *models)), tokenizer=None, max_parallel_insert=2, _build_global_config=dict
    )
