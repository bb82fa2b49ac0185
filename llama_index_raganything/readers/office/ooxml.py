"""Parts, relationships and paragraphs of Office Open XML packages (ECMA-376), transitional and strict.

Elements are matched by local name, because the strict variant has other namespaces.
"""

from __future__ import annotations

import posixpath
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from lxml import etree

from llama_index_raganything.elements import Element, label_of

# Names of charts such as barChart, bar3DChart and ofPieChart (ECMA-376 part 1, section 21.2).
_CHART = re.compile(r"(?:of)?(\w+?)(?:3D)?Chart")
_BREAKS = frozenset({"tab", "br", "cr"})


class Relationship(NamedTuple):
    """A link from one part to another.

    Attributes:
        id: Its identifier inside the source part.
        kind: Last segment of its type, such as ``"slide"`` or ``"comments"``.
        target: Name of the target part inside the package.
    """

    id: str
    kind: str
    target: str


class Package:
    """An opened package; parts that are missing or damaged read as empty.

    Args:
        path: A file that :func:`~llama_index_raganything.readers.office.containers.check_container` passed.
    """

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        self._names = frozenset(self._archive.namelist())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._archive.close()

    def read(self, name: str) -> bytes:
        """Return a part's bytes, or none when it is missing or damaged."""
        if name not in self._names:
            return b""
        try:
            return self._archive.read(name)
        # zipfile lets zlib, struct and encoding errors of damaged members through as they come.
        except Exception:  # noqa: BLE001
            return b""

    def xml(self, name: str) -> Any:
        """Return a part's root element, or None when it is missing or damaged."""
        return parse_xml(self.read(name))

    def nodes(self, name: str, *tags: str) -> list[Any]:
        """Return the elements of a part with some local names; none when it is missing or damaged."""
        root = self.xml(name)
        return [] if root is None else list(root.iter(*(f"{{*}}{tag}" for tag in tags)))

    def relationships(self, part: str) -> list[Relationship]:
        """Return the internal relationships of a part, in file order."""
        folder, name = posixpath.split(part)
        found = []
        for node in self.nodes(posixpath.join(folder, "_rels", f"{name}.rels"), "Relationship"):
            target = node.get("Target") or ""
            if node.get("TargetMode") == "External" or not target:
                continue
            target = target.lstrip("/") if target.startswith("/") else posixpath.join(folder, target)
            kind = (node.get("Type") or "").rsplit("/", 1)[-1]
            found.append(Relationship(node.get("Id") or "", kind, posixpath.normpath(target)))
        return found

    def targets(self, part: str, *kinds: str) -> list[str]:
        """Return the parts that a part links to with one of some kinds of relationship."""
        return [relation.target for relation in self.relationships(part) if relation.kind in kinds]

    def main_part(self) -> str:
        """Return the name of the document, presentation or workbook part, or an empty string."""
        return next(iter(self.targets("", "officeDocument")), "")

    def ordered_parts(self, main: str, list_tag: str) -> list[tuple[str, Any]]:
        """Return the slides or sheets of the main part in their order.

        Args:
            main: Name of the main part.
            list_tag: Local name of the entries: ``sldId`` or ``sheet``.

        Returns:
            Pairs of part name (empty when the link is broken) and entry element.
        """
        links = {relation.id: relation.target for relation in self.relationships(main)}
        return [(links.get(_relation_id(entry), ""), entry) for entry in self.nodes(main, list_tag)]


def parse_xml(data: bytes) -> Any:
    """Parse XML without entities, network or external definitions.

    Args:
        data: A document, possibly damaged.

    Returns:
        The root element, or None when nothing can be read.
    """
    if not data:
        return None
    parser = etree.XMLParser(resolve_entities=False, no_network=True, load_dtd=False, recover=True)
    try:
        return etree.fromstring(data, parser)
    except (etree.XMLSyntaxError, ValueError):
        return None


def paragraphs(root: Any) -> Iterator[tuple[Any, str]]:
    """Yield the paragraphs of a part with their text.

    Text boxes are paragraphs of their own; fallback copies, formulas and deleted text are left out.

    Args:
        root: Root or any element, or None.

    Yields:
        Paragraph elements (``w:p`` or ``a:p``) and their text, in the order in which their text begins.
    """
    if root is None:
        return
    texts: dict[Any, list[str]] = {}
    for node in root.iter("{*}t", "{*}tab", "{*}br", "{*}cr"):
        if _is_math(node) or next(node.iterancestors("{*}Fallback"), None) is not None:
            continue
        paragraph = next(node.iterancestors("{*}p"), None)
        if paragraph is not None:
            is_break = etree.QName(node).localname in _BREAKS
            texts.setdefault(paragraph, []).append(" " if is_break else (node.text or ""))
    for paragraph, parts in texts.items():
        text = " ".join("".join(parts).split())
        if text:
            yield paragraph, text


def _is_math(node: Any) -> bool:
    return etree.QName(node).namespace is not None and etree.QName(node).namespace.endswith("/math")


def _relation_id(entry: Any) -> str:
    # Beside r:id there is a plain id attribute; only the former has a namespace.
    return next((value for name, value in entry.attrib.items() if name.endswith("}id")), "")


def name_charts(package: Package, parts: list[str], elements: list[Element]) -> list[Element]:
    """Give chart elements their title, axis titles and kind.

    Args:
        package: The opened file.
        parts: Chart parts of one page or document, in order.
        elements: Elements of the same page or document.

    Returns:
        The elements; unchanged when the number of charts differs, because then they cannot be matched.
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
            kind = _CHART.fullmatch(etree.QName(child).localname) if isinstance(child.tag, str) else None
            if kind:
                yield f"{kind[1].capitalize()} chart"


def _text(title: Any) -> str:
    return " ".join(text for _, text in paragraphs(title))
