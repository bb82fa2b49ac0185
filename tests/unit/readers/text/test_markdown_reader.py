"""Markdown to elements."""

from __future__ import annotations

import io
from pathlib import Path

from PIL import Image

from llama_index_raganything.elements import Element
from llama_index_raganything.readers.common.base import AssetStore, ParseOptions
from llama_index_raganything.readers.text.markdown import parse_markdown
from llama_index_raganything.readers.text_files import parse_plain


def of_type(elements: list[Element], kind: str) -> list[Element]:
    return [element for element in elements if element.type == kind]


DOCUMENT = """---
title: "The Title"
layout: post
---
<!-- hidden -->
# One *two*

Words with [a link](http://x.example/hidden) and $a_1$ and snake_case_name[^n].

- a
  - b
2. other

| A | B \\| C |
|---|---|
| 1 | **二** |

```python title="x"
x = 1

y
```

$$
\\frac{a}{b}

+ c
$$

<table><tr><td>raw</td><td>html</td></tr></table>

[^n]: The note.
"""


def test_everything_at_once() -> None:
    elements, title = parse_markdown(DOCUMENT)
    assert title == "The Title"
    assert [(e.text, e.level) for e in of_type(elements, "heading")] == [("One two", 1)]
    words = "\n".join(e.text for e in elements)
    assert "a link and $a_1$ and snake_case_name." in words
    assert "hidden" not in words
    assert "layout" not in words
    assert "The note." in words
    first, raw = of_type(elements, "table")
    assert first.rows == [["A", "B | C"], ["1", "二"]]
    assert first.header_rows == 1
    assert raw.rows == [["raw", "html"]]
    (code,) = of_type(elements, "code")
    assert (code.text, code.subtype) == ("x = 1\n\ny", "python")
    (equation,) = of_type(elements, "equation")
    assert equation.text == "\\frac{a}{b}\n\n+ c"
    assert of_type(elements, "list")[0].text == "- a\n  - b"


def test_first_highest_heading_is_the_title() -> None:
    assert parse_markdown("## sub\n\n# Main\n\n# Other")[1] == "Main"
    assert parse_markdown("words only")[1] is None


def test_prices_are_no_formulas() -> None:
    assert parse_markdown("It costs $5 or $ 6 and 7$ more")[0][0].text == "It costs $5 or $ 6 and 7$ more"


def test_deep_nesting_and_unclosed_things() -> None:
    assert parse_markdown("> " * 3000 + "x")[0]
    assert parse_markdown("- " * 2000 + "x")[0]
    assert parse_markdown("[" * 3000)[0]
    assert parse_markdown("```\nunclosed")[0][0].text == "unclosed"


def test_images_beside_the_file(tmp_path: Path) -> None:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "blue").save(stream, "PNG")
    (tmp_path / "fig.png").write_bytes(stream.getvalue())
    folder = tmp_path / "docs"
    folder.mkdir()
    (folder / "fig.png").write_bytes(stream.getvalue())
    note = folder / "note.md"
    note.write_text('![Alt](fig.png "Figure 1: Caption")\n\n![Up](../fig.png)\n\n![Net](http://127.0.0.1:9/x.png)')
    parsed = parse_plain(note, ParseOptions(), AssetStore(tmp_path / "assets"))
    found = [(e.text, e.caption, e.label, e.asset is not None) for e in parsed.elements]
    assert found == [
        ("Alt", "Figure 1: Caption", "Figure 1", True),
        ("Up", "Up", None, False),
        ("Net", "Net", None, False),
    ]
