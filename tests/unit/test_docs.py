"""The documentation names what is there: linked pages and headings, and the files of the package."""

import re
from pathlib import Path

import pytest

import llama_index_raganything

ROOT = Path(__file__).parents[2]
PACKAGE = Path(llama_index_raganything.__file__).parent
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page):
    headings = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.strip().lower()).replace(" ", "-") for heading in headings}


def test_links_lead_to_pages_and_headings():
    for page in PAGES:
        for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
            path, _, heading = link.partition("#")
            if path.startswith("http"):
                continue
            target = page.parent / path if path else page
            assert target.exists(), f"{page.name}: {link}"
            assert not heading or heading in anchors(target), f"{page.name}: {link}"


def test_files_of_the_architecture_are_there():
    known = {str(path.relative_to(base)) for base in (PACKAGE, ROOT) for path in base.rglob("*.py")}
    text = (ROOT / "docs/architecture.md").read_text(encoding="utf-8")
    for name in re.findall(r"`([\w/]+\.py)`", text):
        # Within a folder's line, its files are named alone.
        assert any(path == name or path.endswith(f"/{name}") for path in known), name
    for folder in re.findall(r"`([\w/]+)/`", text):
        places = (PACKAGE, ROOT, ROOT / "tests", *PACKAGE.iterdir(), PACKAGE / "readers" / "pdf")
        assert any((place / folder).is_dir() for place in places), folder


@pytest.mark.parametrize("page", ["README.md", "docs/architecture.md"])
def test_public_names_are_listed(page):
    text = (ROOT / page).read_text(encoding="utf-8")
    section = re.search(r"^## Public names\n(.*?)^## ", text, re.MULTILINE | re.DOTALL).group(1)
    listed = set(re.findall(r"`(\w+)(?:\(\))?`", section))
    assert set(llama_index_raganything.__all__) <= listed


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_bytes()) < 10_000
