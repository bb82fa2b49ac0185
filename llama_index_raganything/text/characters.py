"""Characters of scripts that are written without blanks, as ranges for the brackets of a regular expression."""

from __future__ import annotations

from typing import Final

CJK: Final = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uac00-\ud7af\uf900-\ufaff"
"""Chinese, Japanese and Korean."""

HIRAGANA: Final = r"\u3040-\u309f"
"""Japanese syllables, which mark a text as Japanese."""

CJK_AND_PUNCTUATION: Final = r"\u3000-\u30ff\u3400-\u9fff\uff00-\uffef"
"""Chinese and Japanese with their punctuation and full-width forms."""

HAN: Final = r"\u3400-\u9fff"
"""Chinese characters, which mark a question or text as Chinese."""
