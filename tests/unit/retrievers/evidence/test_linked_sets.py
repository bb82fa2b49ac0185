"""Ranking by sets on small graphs, without a store: requests are answered by hand."""

import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.graph.walk import LinkWeights
from llama_index_raganything.ranking.evidence_ranker import EvidenceRanker
from llama_index_raganything.retrievers.evidence.candidates import NodeMemory, Session
from llama_index_raganything.retrievers.evidence.linked_sets import LinkedSetRanking
from llama_index_raganything.retrievers.steps import run

TEXTS = {
    "Tomas Brenn": "Tomas Brenn is a composer. He was born in the village of Oslet.",
    "Oslet": "Oslet is a village at the foot of Mount Verr.",
    "Pumps": "Pumps are machines that move water.",
}


class Graph:
    """What ranking uses of a knowledge graph."""

    def __init__(self, nodes):
        self.mirror = GraphMirror()
        self.mirror.add(EntityLinker().extract(nodes))
        self.mirror.settle()


@pytest.fixture
def nodes():
    return [TextNode(id_=name, text=text, metadata={"doc_id": name, "title": name}) for name, text in TEXTS.items()]


def rank(nodes, candidates, graph, question="Which mountain is near the birthplace of Tomas Brenn?"):
    ranker, memory = EvidenceRanker(), NodeMemory()
    session = Session(ranker, memory)
    session.learn([node for node in nodes if node.node_id in candidates])
    session.add_hits(node.node_id for node in nodes if node.node_id in candidates)
    ranking = LinkedSetRanking(ranker, memory, None, LinkWeights(), 0.2)
    return run(ranking.rank(session, question, 5, graph and graph.mirror), lambda _: nodes)


def test_links_lead_to_nodes_that_no_search_found(nodes):
    ranked = rank(nodes, {"Tomas Brenn"}, Graph(nodes))
    assert ranked.by_names
    assert set(ranked.node_ids[:2]) == {"Tomas Brenn", "Oslet"}
    assert {(s.source, s.target) for s in ranked.steps["Oslet"]} <= {("Tomas Brenn", "Oslet"), ("Oslet", "Tomas Brenn")}


def test_without_a_graph_and_without_candidates(nodes):
    assert rank(nodes, set(TEXTS), None).node_ids[0] == "Tomas Brenn"
    assert rank(nodes, set(), Graph(nodes)).node_ids == []
    assert rank(nodes, set(TEXTS), Graph(nodes[:0])).by_names is False


def test_nodes_that_the_graph_does_not_know_rank_among_the_others(nodes):
    ranked = rank(nodes, set(TEXTS), Graph(nodes[1:]))
    assert (ranked.by_names, ranked.node_ids[0]) == (True, "Tomas Brenn")


def test_a_graph_that_is_renumbered_again_and_again_is_not_walked(nodes, monkeypatch):
    graph = Graph(nodes)
    rows_of = GraphMirror.rows_of

    def renumbered(self, node_ids):
        found = rows_of(self, node_ids)
        self.epoch += 1
        return found

    monkeypatch.setattr(GraphMirror, "rows_of", renumbered)
    ranked = rank(nodes, set(TEXTS), graph)
    assert (ranked.by_names, ranked.node_ids[0]) == (False, "Tomas Brenn")


def test_a_graph_that_is_compacted_during_a_walk_gives_the_same(nodes):
    graph = Graph([TextNode(id_=f"x{n}", text="Gone is a thing.", metadata={"doc_id": "x"}) for n in range(5)] + nodes)
    before = rank(nodes, set(TEXTS), graph)
    graph.mirror.remove([f"x{n}" for n in range(5)])
    graph.mirror._compact()
    after = rank(nodes, set(TEXTS), graph)
    assert (before.node_ids[:2], before.by_names) == (after.node_ids[:2], after.by_names)
