"""Search by keyword in the graph's own word lists."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from llama_index_raganything.graph.arrays import Rows
from llama_index_raganything.graph.facts import hash_names
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.ranking.lexical import BM25_B, BM25_K1


def best_by_words(mirror: GraphMirror, terms: Iterable[str], limit: int) -> Rows:
    """Return the nodes that fit words best: BM25 over texts, with words of the title counted twice.

    Frequencies are those of the whole graph, which Milvus Lite knows per segment only. Per word it takes time in
    proportion to the texts that have it: about 1 ms a question over 10,000 nodes, where Milvus Lite, which scores in
    Python, takes some 30 (``python -m benchmarks.graph_scale``).

    Args:
        mirror: The graph.
        terms: Words as tokens.
        limit: How many nodes at most.

    Returns:
        Rows, best first; only nodes that have one of the words.
    """
    with mirror.lock:
        mirror.settle()
        size = mirror.length.size
        scores = np.zeros(size, np.float32)
        lengths = mirror.length.values
        mean = float(lengths.mean()) if size else 1.0
        for term in hash_names(dict.fromkeys(terms)).tolist():
            count = np.bincount(mirror.sentence_node.values[mirror.terms.of(term)], minlength=size)
            count[mirror.title_terms.of(term)] += 2
            nodes = np.flatnonzero(count)
            idf = np.log1p((size - len(nodes) + 0.5) / (len(nodes) + 0.5))
            norm = BM25_K1 * (1 - BM25_B + BM25_B * lengths[nodes] / (mean or 1.0))
            scores[nodes] += idf * count[nodes] / (count[nodes] + norm)
        scores[~mirror.alive.values] = 0.0
        best = np.argpartition(-scores, min(limit, size - 1))[:limit] if size else np.zeros(0, np.int64)
        best = best[scores[best] > 0]
        return best[np.argsort(-scores[best], kind="stable")].astype(np.int32)
