"""Small sound and film files, made without any encoder."""

import math
import struct
import wave


def wav(path, seconds=2.0, rate=8000, channels=1):
    with wave.open(str(path), "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        tone = [int(8000 * math.sin(index / 9)) for index in range(int(seconds * rate))]
        file.writeframes(b"".join(struct.pack("<h", value) * channels for value in tone))
    return path


def box(kind, body):
    return struct.pack(">I4s", 8 + len(body), kind) + body


def mp4(path, seconds=90, width=1280, height=720):
    """The boxes of a film of one H.264 track (ISO/IEC 14496-12), without its pictures."""
    mvhd = box(b"mvhd", b"\0" * 12 + struct.pack(">II", 1000, seconds * 1000) + b"\0" * 80)
    tkhd = box(b"tkhd", b"\0" * 76 + struct.pack(">II", width << 16, height << 16))
    stsd = box(b"stsd", b"\0" * 8 + struct.pack(">I", 16) + b"avc1" + b"\0" * 8)
    trak = box(b"trak", tkhd + box(b"mdia", box(b"minf", box(b"stbl", stsd))))
    path.write_bytes(box(b"ftyp", b"isom\0\0\2\0isomavc1") + box(b"moov", mvhd + trak) + box(b"mdat", b"\0" * 64))
    return path
