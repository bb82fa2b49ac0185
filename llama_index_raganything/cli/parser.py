"""A parser of command lines that says which option a misspelt one was meant to be."""

from __future__ import annotations

import argparse
import difflib
from collections.abc import Sequence
from typing import Any


class HintingParser(argparse.ArgumentParser):
    """Refuses unknown options, as argparse does, with the nearest known one of the same command."""

    def parse_known_args(  # type: ignore[override]  # argparse's stub has overloads for other namespaces.
        self, args: Sequence[str] | None = None, namespace: Any = None
    ) -> tuple[argparse.Namespace, list[str]]:
        """Parse arguments; commands ask this of their own parser, so that the hint is one of theirs.

        Args:
            args: The arguments.
            namespace: Takes the result.
        """
        parsed, unknown = super().parse_known_args(args, namespace)
        options = [option for action in self._actions for option in action.option_strings]
        flags = [each.partition("=")[0] for each in unknown if each.startswith("-")]
        nearest = {flag: near[0] for flag in flags if (near := difflib.get_close_matches(flag, options))}
        if nearest:
            hints = "; ".join(f"{flag}: did you mean {option}?" for flag, option in nearest.items())
            self.error(f"unrecognized arguments: {hints}")
        return parsed, unknown
