"""The gate of the graph: when linked sets are used in place of pages, and when names are followed."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
import numpy.typing as npt

from llama_index_raganything.graph.mirror import GraphMirror

MOSTLY_ON_PAGES: Final = 0.5
"""Share of the hits on pages from which pages are ranked and not linked sets: inside documents with pages neither links
nor joint coverage find more pages (measured)."""

GRAPH_GATE: Final = 0.2
"""Share of the best candidates that must each be about one subject for links over names to be followed; elsewhere they
do harm (measured on financial reports), and sets are joined by the document's structure."""


def ranks_pages(share_on_pages: float) -> bool:
    """Return whether plain pages are ranked, and not linked sets of nodes.

    Args:
        share_on_pages: Share of the hits that are pages or elements of one.
    """
    return share_on_pages >= MOSTLY_ON_PAGES


def follows_names(mirror: GraphMirror, best: npt.NDArray[Any], gate: float = GRAPH_GATE) -> bool:
    """Return whether links over names are followed from the best candidates.

    Args:
        mirror: The graph; the caller holds its lock.
        best: Rows of the best candidates that the graph knows.
        gate: 0 opens it always, more than 1 never.
    """
    mirror.settle()
    return len(best) > 0 and float(np.mean(mirror.about_one_subject(best))) >= gate
