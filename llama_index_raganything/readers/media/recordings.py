"""Audio and video files: one element with the file and its technical data (duration, codecs, resolution, tags).

What is said and shown in them is described by ``MediaDescriber``.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO, Final, Literal

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.base import AssetStore, ParsedFile, ParseOptions
from llama_index_raganything.readers.sources.formats import KIND_OF_SUFFIX

_ISO_SUFFIXES: Final = frozenset({".mp4", ".m4v", ".mov", ".m4a"})
_CONTAINERS: Final = frozenset({"moov", "trak", "mdia", "minf", "stbl"})
_CODECS: Final = {
    "avc1": "H.264",
    "avc3": "H.264",
    "hvc1": "H.265",
    "hev1": "H.265",
    "av01": "AV1",
    "vp09": "VP9",
    "mp4v": "MPEG-4",
    "mp4a": "AAC",
    "alac": "ALAC",
    "Opus": "Opus",
    "ac-3": "AC-3",
}
_AUDIO_CODECS: Final = {".mp3": "MP3", ".flac": "FLAC", ".wav": "PCM", ".opus": "Opus", ".wma": "WMA", ".aac": "AAC"}
_TAGS: Final = ("title", "artist", "album", "year", "genre", "comment")
_DEMUXERS: Final = (
    "matroska,webm,mov,mp4,m4a,3gp,3g2,mj2,avi,flv,asf,mpeg,mpegts,mpegvideo,mp3,wav,flac,ogg,aac,m4v,h264,hevc"
)
_MAX_BOXES: Final = 10_000
_MAX_TAG_CHARS: Final = 300


@dataclass(frozen=True)
class MediaFacts:
    """What is known of a media file.

    Attributes:
        kind: ``"audio"`` or ``"video"``.
        format: Name of the container, such as ``"WAV"``.
        size_bytes: Bytes of the file.
        duration_s: Seconds, or None.
        codecs: Names of the codecs.
        sample_rate_hz: Samples per second, or None.
        channels: Number of channels, or None.
        bitrate_kbps: Thousands of bits per second, or None.
        width: Pixels, or None.
        height: Pixels, or None.
        frames_per_s: Frames per second, or None.
        tags: Title, artist and the like.
    """

    kind: str
    format: str
    size_bytes: int
    duration_s: float | None = None
    codecs: tuple[str, ...] = ()
    sample_rate_hz: int | None = None
    channels: int | None = None
    bitrate_kbps: float | None = None
    width: int | None = None
    height: int | None = None
    frames_per_s: float | None = None
    tags: dict[str, str] = field(default_factory=dict)

    @property
    def text(self) -> str:
        """The facts in one or two lines that can be read and found."""
        parts = [f"{self.format} {self.kind}", *self._technical(), readable_size(self.size_bytes)]
        tags = [f"{name.capitalize()}: {value}" for name, value in self.tags.items()]
        return "\n".join([", ".join(parts), *(["; ".join(tags)] if tags else [])])

    def _technical(self) -> Iterator[str]:
        if self.duration_s:
            yield f"duration {readable_time(self.duration_s)} ({self.duration_s:.1f} seconds)"
        if self.codecs:
            yield f"codec {' and '.join(self.codecs)}"
        if self.width and self.height:
            yield f"resolution {self.width} x {self.height} pixels"
        if self.frames_per_s:
            yield f"{self.frames_per_s:.4g} frames per second"
        if self.sample_rate_hz:
            yield f"sample rate {self.sample_rate_hz} Hz"
        if self.channels:
            yield {1: "mono", 2: "stereo"}.get(self.channels, f"{self.channels} channels")
        if self.bitrate_kbps:
            yield f"{self.bitrate_kbps:.0f} kbit/s"


def media_facts(path: Path, kind: str, suffix: str) -> MediaFacts:
    """Read what a media file says about itself.

    Args:
        path: An existing file.
        kind: ``"audio"`` or ``"video"``.
        suffix: Extension that fits its content.

    Returns:
        The facts; of a damaged file format and size alone.
    """
    facts = MediaFacts(kind, suffix.lstrip(".").upper() or kind, path.stat().st_size)
    facts = _with_tags(facts, path)
    if suffix in _ISO_SUFFIXES:
        facts = _with_boxes(facts, path)
    if facts.duration_s is None or (kind == "video" and facts.width is None):
        facts = _with_streams(facts, path)
    if not facts.codecs and facts.duration_s and suffix in _AUDIO_CODECS:
        facts = replace(facts, codecs=(_AUDIO_CODECS[suffix],))
    return facts


def readable_time(seconds: float) -> str:
    """Return seconds as ``"1:05"`` or ``"1:02:03"``.

    Args:
        seconds: Seconds from the start.
    """
    whole = max(0, int(seconds))
    hours, rest = divmod(whole, 3600)
    minutes, left = divmod(rest, 60)
    return f"{hours}:{minutes:02d}:{left:02d}" if hours else f"{minutes}:{left:02d}"


def readable_size(size_bytes: int) -> str:
    """Return a number of bytes as ``"12 bytes"``, ``"1.5 kB"`` or ``"2.0 MB"``."""
    for unit, scale in (("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if size_bytes >= scale:
            return f"{size_bytes / scale:.1f} {unit}"
    return f"{size_bytes} bytes"


def _with_tags(facts: MediaFacts, path: Path) -> MediaFacts:
    from tinytag import TinyTag

    try:
        tag = TinyTag.get(path)
    except Exception:  # noqa: BLE001  # its parsers let struct, index and decoding errors of damaged files through
        return facts
    tags = {name: " ".join(str(getattr(tag, name, None) or "").split())[:_MAX_TAG_CHARS] for name in _TAGS}
    return replace(
        facts,
        duration_s=_positive(tag.duration),
        sample_rate_hz=_whole(tag.samplerate),
        channels=_whole(tag.channels),
        bitrate_kbps=_positive(tag.bitrate),
        tags={name: value for name, value in tags.items() if value},
    )


def _with_boxes(facts: MediaFacts, path: Path) -> MediaFacts:
    """Read movie header, track headers and sample descriptions of MP4 and QuickTime."""
    duration, size, codecs = facts.duration_s, (facts.width, facts.height), list(facts.codecs)
    try:
        with path.open("rb") as stream:
            for kind, body in _boxes(stream, path.stat().st_size):
                if kind == "mvhd":
                    duration = _movie_seconds(body) or duration
                elif kind == "tkhd" and len(body) >= 84 and not all(size):
                    width, height = struct.unpack(">II", body[-8:])
                    size = (width >> 16 or None, height >> 16 or None)
                elif kind == "stsd" and len(body) >= 16:
                    name = body[12:16].decode("ascii", "replace")
                    codecs.append(_CODECS.get(name, name.strip()))
    except (OSError, struct.error):
        return facts
    known = tuple(dict.fromkeys(codec for codec in codecs if codec.isprintable() and codec))
    return replace(facts, duration_s=duration, width=size[0], height=size[1], codecs=known)


def _boxes(stream: BinaryIO, end: int) -> Iterator[tuple[str, bytes]]:
    """Yield type and body of the boxes that matter; sizes are checked, so a damaged file only ends the walk."""
    position = 0
    for _ in range(_MAX_BOXES):
        stream.seek(position)
        head = stream.read(16)
        if len(head) < 8:
            return
        size, kind = struct.unpack(">I4s", head[:8])
        header = 8
        if size == 1 and len(head) == 16:
            size, header = struct.unpack(">Q", head[8:])[0], 16
        name = kind.decode("ascii", "replace")
        if size == 0:
            size = end - position
        if size < header or position + size > end:
            return
        if name in {"mvhd", "tkhd", "stsd"}:
            stream.seek(position + header)
            yield name, stream.read(min(size - header, 256))
        position += header if name in _CONTAINERS else size


def _movie_seconds(body: bytes) -> float | None:
    if body[:1] == b"\x01":
        scale, units = struct.unpack(">IQ", body[20:32])
    else:
        scale, units = struct.unpack(">II", body[12:20])
    return _positive(units / scale) if scale else None


def _with_streams(facts: MediaFacts, path: Path) -> MediaFacts:
    """Read containers with PyAV, if it is installed."""
    try:
        import av
    except ImportError:
        return facts
    try:
        # FFmpeg also reads playlists, which name other files and addresses; only containers of one file are opened.
        options = {"format_whitelist": _DEMUXERS, "protocol_whitelist": "file"}
        with av.open(str(path), options=options) as container:
            seconds = container.duration / 1_000_000 if container.duration else None
            found = replace(facts, duration_s=facts.duration_s or _positive(seconds))
            for stream in container.streams:
                found = _with_stream(found, stream)
            return found
    except Exception:  # noqa: BLE001  # FFmpeg has an error class for each of its codes, and damaged files hit most
        return facts


def _with_stream(facts: MediaFacts, stream: Any) -> MediaFacts:
    context = stream.codec_context
    codecs = facts.codecs if context is None else tuple(dict.fromkeys([*facts.codecs, str(context.name)]))
    if stream.type == "video":
        rate = float(stream.average_rate) if stream.average_rate else None
        return replace(facts, codecs=codecs, width=context.width, height=context.height, frames_per_s=rate)
    if stream.type == "audio":
        rate = _whole(context.sample_rate) or facts.sample_rate_hz
        return replace(facts, codecs=codecs, sample_rate_hz=rate, channels=_whole(context.channels) or facts.channels)
    return facts


def _positive(value: Any) -> float | None:
    try:
        number = float(value)
    except (TypeError, ValueError):
        return None
    return number if 0 < number < 1e9 else None


def _whole(value: Any) -> int | None:
    number = _positive(value)
    return int(number) if number else None


MAX_COPIED_BYTES: Final = 50_000_000
"""Larger media files stay where they are, and the element has no asset."""


def parse_media(path: Path, options: ParseOptions, assets: AssetStore) -> ParsedFile:
    """Turn an audio or video file into one element; its streams are not decoded.

    Args:
        options: Unused; there is nothing to choose.
        assets: Where a copy of the file goes, up to :data:`MAX_COPIED_BYTES`.

    Returns:
        One ``audio`` or ``video`` element whose text is the file name and, as far as the file says, its duration,
        codecs, sample rate, resolution and tags; the title among these is the title of the document.
    """
    del options
    warnings = []
    asset = None
    if path.stat().st_size <= MAX_COPIED_BYTES:
        asset = assets.put(path.read_bytes(), path.suffix)
    else:
        warnings.append(f"{path.name!r} is over {MAX_COPIED_BYTES:,} bytes and was not copied to the assets.")
    suffix = path.suffix.lower()
    media_type: Literal["audio", "video"] = "video" if KIND_OF_SUFFIX.get(suffix) == "video" else "audio"
    facts = media_facts(path, media_type, suffix)
    if facts.duration_s is None:
        warnings.append(f"{path.name!r} does not say how long it is: damaged, or a container that needs [media].")
    element = Element(
        type=media_type,
        text=f"{path.name}\n{facts.text}",
        asset=asset,
        subtype=suffix.lstrip(".") or None,
    )
    return ParsedFile([element], parser="media", title=facts.tags.get("title"), warnings=warnings)
