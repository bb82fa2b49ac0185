"""Type checkers accept the README's Python."""

import re
import subprocess
import sys
from pathlib import Path

import llama_index_raganything

ROOT = Path(__file__).parents[2]
PACKAGE = Path(llama_index_raganything.__file__).parent.parent
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
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    assert len(blocks) > 4
    for place, block in enumerate(blocks, 1):
        (tmp_path / f"block{place}.py").write_text(written(block), encoding="utf-8")
    # As for a user, to whom the package is an installed one: its own files are checked elsewhere.
    options = ["--strict", "--follow-imports=silent", "--config-file=", f"--cache-dir={tmp_path / 'cache'}"]
    command = [sys.executable, "-m", "mypy", *options, *map(str, sorted(tmp_path.glob("block*.py")))]
    checked = subprocess.run(command, capture_output=True, text=True, cwd=PACKAGE, check=False)
    assert checked.returncode == 0, checked.stdout + checked.stderr
