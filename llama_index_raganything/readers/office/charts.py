"""Titles and kinds of the charts in office files, which docvortex leaves out of a chart's data."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from lxml import etree

from llama_index_raganything.elements import Element, label_of
from llama_index_raganything.readers.office.ooxml import Package, paragraphs

_KINDS = {
    "barChart": "Bar chart",
    "bar3DChart": "Bar chart",
    "lineChart": "Line chart",
    "line3DChart": "Line chart",
    "pieChart": "Pie chart",
    "pie3DChart": "Pie chart",
    "ofPieChart": "Pie chart",
    "doughnutChart": "Doughnut chart",
    "areaChart": "Area chart",
    "area3DChart": "Area chart",
    "scatterChart": "Scatter chart",
    "bubbleChart": "Bubble chart",
    "radarChart": "Radar chart",
    "stockChart": "Stock chart",
    "surfaceChart": "Surface chart",
    "surface3DChart": "Surface chart",
}


def name_charts(package: Package, parts: list[str], elements: list[Element]) -> list[Element]:
    """Give chart elements their title, axis titles and kind.

    Args:
        package: The opened file.
        parts: Chart parts of one page or document, in order.
        elements: Elements of the same page or document.

    Returns:
        The elements; unchanged when the number of charts differs, because then nobody knows which is which.
    """
    charts = [index for index, element in enumerate(elements) if element.subtype == "chart"]
    described = [_describe(package.xml(part)) for part in parts]
    if len(charts) != len(described):
        return elements
    result = list(elements)
    for index, (title, kind, axes) in zip(charts, described, strict=True):
        element = result[index]
        caption = element.caption or title
        heading = "\n".join(part for part in (kind, axes) if part)
        text = f"{heading}\n{element.text}".strip() if heading else element.text
        result[index] = element.model_copy(update={"caption": caption, "label": label_of(caption), "text": text})
    return result


def chart_parts(package: Package, part: str) -> list[str]:
    """Return the charts that a slide, document or sheet shows, those in its drawings included.

    Args:
        package: The opened file.
        part: Name of the part.

    Returns:
        Names of chart parts.
    """
    found = package.targets(part, "chart", "chartEx")
    for drawing in package.targets(part, "drawing"):
        found.extend(package.targets(drawing, "chart", "chartEx"))
    return found


def _describe(root: Any) -> tuple[str, str, str]:
    if root is None:
        return "", "", ""
    titles = list(root.iter("{*}title"))
    main = [_text(title) for title in titles if etree.QName(title.getparent()).localname == "chart"]
    axes = [_text(title) for title in titles if etree.QName(title.getparent()).localname != "chart"]
    return " ".join(main), next(_kinds(root), ""), "; ".join(axis for axis in axes if axis)


def _kinds(root: Any) -> Iterator[str]:
    for area in root.iter("{*}plotArea"):
        for child in area:
            kind = _KINDS.get(etree.QName(child).localname) if isinstance(child.tag, str) else None
            if kind:
                yield kind


def _text(title: Any) -> str:
    return " ".join(text for _, text in paragraphs(title))
