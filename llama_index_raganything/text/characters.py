"""Characters of scripts that are written without blanks, as ranges for the brackets of a regular expression."""

from __future__ import annotations

from typing import Final

CJK: Final = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Chinese, Japanese and Korean."""

HAN: Final = r"\u3400-\u9fff"
"""Chinese characters, which tell that a question or text is Chinese."""
