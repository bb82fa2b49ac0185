"""Type checkers accept the Python of the README and of the pages that it leads to."""

import re
import subprocess
import sys
from itertools import chain
from pathlib import Path

import llama_index_raganything

ROOT = Path(__file__).parents[2]
PACKAGE = Path(llama_index_raganything.__file__).parent.parent
PAGES = ("README.md", *(f"docs/{name}.md" for name in ("dashscope", "formats", "guide", "llamaindex", "models")))
"""Those whose blocks stand alone; the blocks of the others run one after another."""
GIVEN = {
    "my_llm": "from llama_index.core.llms import LLM\n\n\ndef given(my_llm: LLM) -> None:\n",
    "my_embedding": (
        "from llama_index.core.base.embeddings.base import BaseEmbedding\nfrom llama_index.core.llms import LLM\n\n\n"
        "def given(my_embedding: BaseEmbedding, my_llm: LLM) -> None:\n"
        "    from llama_index_raganything import RAGAnythingIndex\n"
    ),
}
"""What a block takes for given, by the name that it uses."""


def written(block):
    head = next((text for name, text in reversed(GIVEN.items()) if name in block), "")
    return head + ("".join(f"    {line}\n" for line in block.splitlines()) if head else block)


def test_mypy_accepts_the_readme(tmp_path):
    readme, *others = (
        re.findall(r"```python\n(.*?)```", (ROOT / page).read_text(encoding="utf-8"), re.DOTALL) for page in PAGES
    )
    assert len(readme) > 4
    blocks = [*readme, *chain.from_iterable(others)]
    for place, block in enumerate(blocks, 1):
        (tmp_path / f"block{place}.py").write_text(written(block), encoding="utf-8")
    # As for a user, to whom the package is an installed one: its own files are checked elsewhere.
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, sorted(tmp_path.glob("block*.py")))]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
