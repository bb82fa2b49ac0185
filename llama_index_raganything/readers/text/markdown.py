"""Markdown to elements: markdown-it-py renders it, the HTML walk turns the result into elements.

This way raw HTML inside Markdown (tables, lists, images) is read like the rest.
"""

from __future__ import annotations

import html as html_module
import re
from typing import Any, Final

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.text.prose import parse_prose
from llama_index_raganything.readers.web.html import ImageResolver, first_heading, html_elements

_MAX_NESTING: Final = 60
_MAX_CHARACTERS: Final = 4_000_000
_MAX_BRACKETS: Final = 2000
"""Longer files, and lines with more brackets, are read as plain text: markdown-it-py would take minutes."""

_TITLE = re.compile(r"^title:\s*(.+?)\s*$", re.MULTILINE | re.IGNORECASE)
_FIELD = re.compile(
    r"^(?:title|subtitle|author|authors|date|description|summary|abstract|tags|keywords|categories)\s*:"
)


def parse_markdown(text: str, resolve_image: ImageResolver | None = None) -> tuple[list[Element], str | None]:
    """Turn Markdown into elements.

    Args:
        text: CommonMark with tables, footnotes, front matter and ``$``-delimited mathematics.
        resolve_image: Stores the image behind a reference; see
            :class:`~llama_index_raganything.readers.web.html.LocalImages`.

    Returns:
        The elements in document order, and the title that the front matter or the first heading gives, or None.
    """
    if len(text) > _MAX_CHARACTERS or any(line.count("[") > _MAX_BRACKETS for line in text.split("\n")):
        elements = parse_prose(text)
        return elements, first_heading(elements)
    parser = _markdown_parser()
    tokens = parser.parse(text)
    front = next((token.content for token in tokens if token.type == "front_matter"), "")
    elements = html_elements(parser.renderer.render(tokens, parser.options, {}), resolve_image)
    if not elements and not front:
        # Nested deeper than the parser follows: the words alone are better than nothing.
        elements = parse_prose(text)
    stated = _TITLE.search(front)
    title = stated[1].strip("\"'") if stated else first_heading(elements)
    return _front_matter(front) + elements, title or None


def _markdown_parser() -> Any:
    from markdown_it import MarkdownIt
    from mdit_py_plugins.deflist import deflist_plugin
    from mdit_py_plugins.dollarmath import dollarmath_plugin
    from mdit_py_plugins.footnote import footnote_plugin
    from mdit_py_plugins.front_matter import front_matter_plugin

    parser = MarkdownIt("commonmark", {"maxNesting": _MAX_NESTING}).enable(["table", "strikethrough"])
    for plugin in (front_matter_plugin, deflist_plugin, footnote_plugin):
        parser.use(plugin)
    parser.use(dollarmath_plugin, allow_space=False, allow_digits=False)
    # The renderer's own mathematics and footnote marks would become loose words.
    parser.add_render_rule("math_inline", lambda _self, tokens, index, *_: _math(tokens[index].content, "inline"))
    for rule in ("math_block", "math_block_label"):
        parser.add_render_rule(rule, lambda _self, tokens, index, *_: _math(tokens[index].content, "block"))
    for rule in ("footnote_ref", "footnote_anchor"):
        parser.add_render_rule(rule, lambda *_: "")
    return parser


def _math(latex: str, display: str) -> str:
    tag = "div" if display == "block" else "span"
    return f'<{tag} class="math {display}">{html_module.escape(latex.strip())}</{tag}>'


def _front_matter(front: str) -> list[Element]:
    """Keep the fields of the front matter that people would search for."""
    lines = [line for line in front.splitlines() if _FIELD.match(line.lower())]
    return [Element(type="text", text="\n".join(lines), subtype="front_matter")] if lines else []
