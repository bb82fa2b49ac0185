"""Jupyter notebooks to elements: Markdown cells, code cells and their text outputs (nbformat 3 and 4)."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from llama_index_raganything.elements import Element
from llama_index_raganything.errors import CorruptFileError
from llama_index_raganything.readers.text.markdown import parse_markdown
from llama_index_raganything.readers.text.prose import parse_source
from llama_index_raganything.readers.web.html import ImageResolver, first_heading


def parse_notebook(text: str, source: str, resolve_image: ImageResolver | None) -> tuple[list[Element], str | None]:
    """Turn a notebook into elements.

    Args:
        text: The notebook's JSON.
        source: Path, for messages to people.
        resolve_image: Stores the image behind a reference in a Markdown cell or an image output.

    Returns:
        The elements and the title that the first heading gives.

    Raises:
        CorruptFileError: The file is no notebook.
    """
    try:
        content = json.loads(text)
        language = str(content.get("metadata", {}).get("kernelspec", {}).get("language") or "python")
        cells = content.get("cells") or [cell for sheet in content["worksheets"] for cell in sheet["cells"]]
        elements = [element for cell in cells for element in _cell(cell, language, resolve_image)]
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError) as error:
        message = f"{source!r} is no Jupyter notebook ({type(error).__name__}: {error}); save it again."
        raise CorruptFileError(message, source) from error
    return elements, first_heading(elements)


def _cell(cell: dict[str, Any], language: str, resolve_image: ImageResolver | None) -> Iterator[Element]:
    text = _joined(cell.get("source") or cell.get("input"))
    if cell.get("cell_type") == "code":
        yield from parse_source(text, language)
        for output in cell.get("outputs") or []:
            yield from _output(output, resolve_image)
    else:
        yield from parse_markdown(text, resolve_image)[0]


def _output(output: dict[str, Any], resolve_image: ImageResolver | None) -> Iterator[Element]:
    data = output.get("data") or {}
    text = _joined(output.get("text") or data.get("text/plain"))
    for media_type in ("image/png", "image/jpeg"):
        image = _joined(data.get(media_type)).replace("\n", "")
        asset = resolve_image(f"data:{media_type};base64,{image}") if image and resolve_image else None
        if asset:
            yield Element(type="image", text=text, asset=asset)
            return
    yield from parse_source(text, "output")


def _joined(value: Any) -> str:
    return "".join(map(str, value)) if isinstance(value, list) else str(value or "")
