"""Images made fit for a model: every kind that cameras and office files hold, within the limits or a typed error."""

from __future__ import annotations

import base64
import io
import struct

import pytest
from PIL import Image

from llama_index_raganything.errors import (
    CorruptFileError,
    FileTooLargeError,
    RAGAnythingError,
    SourceError,
    UnsupportedFormatError,
)
from llama_index_raganything.images import MAX_ASPECT, MIN_SIDE, decoded_image, fit_image, image_digest, open_upright


def encoded(image, kind="PNG", **options):
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def decoded(fitted):
    image = Image.open(io.BytesIO(fitted.data))
    image.load()
    assert image.size == (fitted.width, fitted.height)
    assert Image.MIME[image.format] == fitted.mimetype
    return image


def noise(width, height):
    return Image.effect_noise((width, height), 120)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP"])
def test_what_fits_is_passed_on_byte_for_byte(kind):
    data = encoded(Image.new("RGB", (64, 48), "red"), kind)
    fitted = fit_image(data)
    assert fitted.data == data
    assert not fitted.changed


@pytest.mark.parametrize(
    ("image", "kind"),
    [
        (Image.new("RGB", (1, 1)), "PNG"),
        (Image.new("RGB", (30_000, 2)), "PNG"),
        (Image.new("L", (30_000, 1_000)), "JPEG"),
        (Image.new("CMYK", (80, 60), (0, 255, 0, 0)), "JPEG"),
        (Image.new("CMYK", (80, 60)), "TIFF"),
        (Image.new("RGB", (80, 60)), "BMP"),
        (Image.new("1", (80, 60)), "TIFF"),
        (Image.new("P", (80, 60)), "GIF"),
        (Image.new("LA", (80, 60)), "PNG"),
        (Image.new("I;16", (80, 60), 40_000), "PNG"),
        (Image.new("F", (80, 60), 0.5), "TIFF"),
    ],
    ids=lambda value: value if isinstance(value, str) else f"{value.mode} {value.width}x{value.height}",
)
def test_any_image_becomes_one_that_models_take(image, kind):
    fitted = fit_image(encoded(image, kind), max_pixels=1_000_000)
    shown = decoded(fitted)
    assert shown.mode == "RGB"
    assert min(shown.size) >= MIN_SIDE
    assert max(shown.size) <= MAX_ASPECT * min(shown.size)
    assert shown.width * shown.height <= 1_100_000
    assert (fitted.source_width, fitted.source_height) == image.size


def test_the_first_frame_of_an_animation_counts():
    first, second = Image.new("RGB", (50, 50), "red"), Image.new("RGB", (50, 50), "blue")
    shown = decoded(fit_image(encoded(first, "GIF", save_all=True, append_images=[second])))
    assert shown.convert("RGB").getpixel((5, 5)) == (255, 0, 0)


def test_an_image_is_turned_as_its_exif_data_say():
    image = Image.new("RGB", (80, 40), "white")
    exif = Image.Exif()
    exif[0x0112] = 6
    fitted = fit_image(encoded(image, "JPEG", exif=exif))
    assert decoded(fitted).size == (40, 80)
    assert (fitted.source_width, fitted.source_height) == (40, 80)


def test_transparent_parts_become_white():
    shown = decoded(fit_image(encoded(Image.new("RGBA", (50, 50), (0, 0, 0, 0)))))
    assert shown.getpixel((5, 5)) == (255, 255, 255)


def test_cmyk_keeps_its_colour():
    red, green, blue = decoded(fit_image(encoded(Image.new("CMYK", (50, 50), (255, 0, 0, 0)), "JPEG"))).getpixel((9, 9))
    assert red < 60
    assert green > 150
    assert blue > 150


@pytest.mark.parametrize("max_bytes", [100_000, 5_000, 10])
def test_bytes_are_limited_by_quality_and_then_by_size(max_bytes):
    fitted = fit_image(encoded(noise(800, 600)), max_bytes=max_bytes)
    decoded(fitted)
    assert len(fitted.data) <= max(max_bytes, 2_000)


def test_large_images_are_scaled_down_in_proportion():
    fitted = fit_image(encoded(noise(800, 400)), max_pixels=80_000)
    assert (fitted.width, fitted.height) == (400, 200)


@pytest.mark.parametrize(
    ("data", "error"),
    [
        (b"", CorruptFileError),
        (b"hello", UnsupportedFormatError),
        (b"<?xml version='1.0'?><svg xmlns='http://www.w3.org/2000/svg'></svg>", UnsupportedFormatError),
        (b"\xef\xbb\xbf <svg></svg>", UnsupportedFormatError),
        (struct.pack("<II", 1, 108) + b"\x00" * 32 + b" EMF" + b"\x00" * 80, UnsupportedFormatError),
        (b"\xd7\xcd\xc6\x9a" + b"\x00" * 40, UnsupportedFormatError),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", UnsupportedFormatError),
        (b"\x89PNG\r\n\x1a\n" + b"\x00" * 50, RAGAnythingError),
        (b"GIF89a" + b"\xff" * 30, RAGAnythingError),
        (b"\xff\xd8\xff\xe0" + b"\x00" * 30, RAGAnythingError),
        (encoded(noise(200, 200))[:3000], CorruptFileError),
        (encoded(noise(200, 200), "JPEG")[:3000], CorruptFileError),
        (encoded(Image.new("1", (30_000, 30_000))), FileTooLargeError),
        (encoded(Image.new("1", (20_000, 6_000))), FileTooLargeError),
    ],
    ids=range(14),
)
@pytest.mark.filterwarnings("ignore::PIL.Image.DecompressionBombWarning")
def test_what_cannot_be_shown_raises_a_typed_error_that_names_it(data, error):
    for use in (fit_image, open_upright):
        with pytest.raises(error, match=r"chart\.png"):
            use(data, name="chart.png")


def test_files_are_read_and_limited(tmp_path):
    path = tmp_path / "图 1.png"
    path.write_bytes(encoded(Image.new("RGB", (64, 48))))
    assert fit_image(path).data == path.read_bytes() == fit_image(str(path)).data
    with pytest.raises(FileTooLargeError, match="图 1"):
        fit_image(path, max_source_bytes=10)
    for missing in (tmp_path / "gone.png", tmp_path, "a\x00b.png", "x" * 5000):
        with pytest.raises(SourceError):
            fit_image(missing)


def test_bytes_are_not_shown_and_name_the_asset(tmp_path):
    from llama_index_raganything.readers.common.base import AssetStore

    data = encoded(Image.new("RGB", (64, 48)))
    assert "data" not in repr(fit_image(data))
    assert image_digest(data) in AssetStore(tmp_path).put(data, ".png")


@pytest.mark.parametrize("lead", ["", "data:image/png;base64,", " DATA:;base64,"])
def test_base64_is_read_in_lines_and_as_data_uri(lead):
    data = bytes(range(256))
    assert decoded_image(lead + base64.b64encode(data).decode()) == data
    assert decoded_image((lead + base64.encodebytes(data).decode()).encode()) == data


@pytest.mark.parametrize("text", ["", "no base64!", "中文", "data:image/png;base64,", b"\xff\xfe", "QQ"])
def test_what_is_no_base64_is_named(text):
    with pytest.raises(CorruptFileError, match="The figure"):
        decoded_image(text, "The figure")
