"""The graph in memory: after any changes it answers as one built anew from the nodes that are left."""

import random
import sys
import threading

import numpy as np
import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.graph import mirror as mirror_module
from llama_index_raganything.graph.columns import Column, InvertedLists, SortedLists
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.facts import NodeFacts, StructuralTie, hash_names, name_hash
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.graph.names import name_key

NAMES = ["Ada Lovelace", "Charles Babbage", "London", "Analytical Engine", "Lord Byron", "Turin", "王小明", "Byron"]
VERBS = ["met", "admired", "wrote to", "was a friend of", "lived in", "是", "visited"]
TERMS = ["met", "admired", "friend", "lived", "poet", "byron", "nowhere"]


def facts_of(node_id, text, doc_id=None, title="", ties=(), *, guess=False, **metadata):
    metadata = {"doc_id": doc_id or node_id, **({"title": title} if title else {}), **metadata}
    facts = EntityLinker(pseudo_titles=guess).extract([TextNode(id_=node_id, text=text, metadata=metadata)])[0]
    facts.ties = list(ties)
    return facts


def random_facts(rng, node_id):
    doc_id = f"d{rng.randrange(6)}"
    sentences = [f"{rng.choice(NAMES)} {rng.choice(VERBS)} {rng.choice(NAMES)}." for _ in range(rng.randrange(4))]
    ties = [StructuralTie(f"n{rng.randrange(24)}", rng.choice(["cites", "neighbour"])) for _ in range(rng.randrange(3))]
    title = rng.choice(NAMES) if rng.random() < 0.4 else ""
    return facts_of(node_id, " ".join(sentences), doc_id, title, ties, guess=rng.random() < 0.5)


def answers(mirror):
    """Everything a mirror answers, by node id instead of row and place instead of number of the sentence."""
    with mirror.lock:
        mirror.settle()
        rows = np.flatnonzero(mirror.columns.alive.values)
        ids = dict(zip(rows.tolist(), mirror.node_ids(rows), strict=True))

        def sentence(number):
            row = int(mirror.columns.sentence_node.values[number])
            return ids[row], int(number - mirror.columns.node_sentence.values[row])

        keys = hash_names(name_key(name) for name in NAMES)
        sentences = mirror.columns.sentences_of(rows)
        mentioned, owners = mirror.mentions.of(sentences)
        places, found = mirror.mentions.sentences_mentioning(keys)
        holders = mirror.title_holders(keys)
        titles = mirror.columns.titles_of(rows)
        tied = mirror.tied_to(rows)
        terms = [name_hash(term) for term in TERMS]
        stats = mirror.stats()
        del stats["bytes"]
        return {
            "nodes": sorted(ids.values()),
            "rows": sorted(ids[row] for row in mirror.rows_of(sorted(ids.values())).tolist()),
            "mentions": sorted((int(k), *sentence(s)) for k, s in zip(mentioned, owners, strict=True)),
            "mentioning": sorted((int(p), *sentence(s)) for p, s in zip(places, found, strict=True)),
            "counts": mirror.mentions.counts(keys).tolist(),
            "known": mirror.mentions.is_known(keys).tolist(),
            "holders": sorted((int(o), ids[int(r)], float(w), bool(g)) for o, r, w, g in zip(*holders, strict=True)),
            "titles": sorted((ids[int(rows[o])], int(k), float(w)) for o, k, w, _ in zip(*titles, strict=True)),
            "tied": sorted((ids[int(rows[o])], ids[int(t)]) for o, t in zip(*tied, strict=True)),
            "frequencies": [
                sorted(zip(ids.values(), mirror.frequencies(term, rows).tolist(), strict=True)) for term in terms
            ],
            "has": [mirror.has_term(term) for term in terms],
            "with": [sorted(sentence(s) for s in sentences[mirror.sentences_with(term, sentences)]) for term in terms],
            "documents": [sorted(mirror.node_ids(mirror.document_rows(f"d{number}"))) for number in range(6)],
            "size": mirror.size,
            "stats": stats,
        }


def built_anew(facts):
    mirror = GraphMirror()
    mirror.add(list(facts))
    return mirror


@pytest.fixture(params=[2048, 8, 0], ids=["tail only", "merges", "merges always"])
def tail_nodes(request, monkeypatch):
    monkeypatch.setattr(mirror_module, "_TAIL_NODES", request.param)


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.usefixtures("tail_nodes")
def test_any_changes_give_what_building_anew_gives(seed):
    rng = random.Random(seed)
    mirror, left = GraphMirror(), {}
    for step in range(60):
        action = rng.random()
        if action < 0.6:
            new = [random_facts(rng, f"n{rng.randrange(24)}") for _ in range(rng.randrange(1, 4))]
            mirror.add(new)
            left |= {facts.node_id: facts for facts in new}
        elif action < 0.8:
            gone = [f"n{rng.randrange(24)}" for _ in range(rng.randrange(1, 4))]
            mirror.remove(gone)
            left = {node_id: facts for node_id, facts in left.items() if node_id not in gone}
        elif action < 0.85:
            doc_id = f"d{rng.randrange(6)}"
            mirror.remove_document(doc_id)
            left = {node_id: facts for node_id, facts in left.items() if facts.doc_id != doc_id}
        else:
            mirror.settle()
        if step % 10 == 9:
            assert answers(mirror) == answers(built_anew(left.values()))


def test_a_name_becomes_known_with_its_second_node_and_unknown_again_without_it():
    mirror = built_anew([facts_of("a", "He went to see Ada Lovelace.")])
    key = hash_names([name_key("Ada Lovelace")])
    assert not mirror.mentions.is_known(key)[0]
    assert len(mirror.mentions.sentences_mentioning(key)[0]) == 0
    mirror.mentions.rebuild()
    mirror.add([facts_of("b", "They spoke of Ada Lovelace.")])
    mirror.settle()
    assert len(mirror.mentions.sentences_mentioning(key)[0]) == 2
    assert mirror.mentions.counts(key).tolist() == [2]
    mirror.remove(["b"])
    mirror.settle()
    assert not mirror.mentions.is_known(key)[0]
    assert len(mirror.mentions.sentences_mentioning(key)[0]) == 0
    assert mirror.mentions.counts(key).tolist() == [0]


def test_a_title_makes_its_mentions_known_and_takes_them_along():
    mirror = built_anew([facts_of("a", "He went to see Ada Lovelace.")])
    mirror.mentions.rebuild()
    key = hash_names([name_key("Ada Lovelace")])
    mirror.add([facts_of("b", "A mathematician.", title="Ada Lovelace")])
    mirror.settle()
    assert mirror.node_ids(mirror.title_holders(key)[1]) == ["b"]
    assert mirror.mentions.counts(key).tolist() == [1]
    mirror.remove_document("b")
    mirror.settle()
    assert mirror.title_holders(key)[1].tolist() == []
    assert mirror.mentions.counts(key).tolist() == [0]


def test_a_longer_name_takes_the_place_of_a_shorter_one_in_old_sentences():
    shorter, longer = (hash_names([name_key(name)]) for name in ("Lovelace", "Ada Lovelace"))
    mirror = built_anew([facts_of("a", "We saw Ada Lovelace."), facts_of("t", "A family.", title="Lovelace")])
    mirror.mentions.rebuild()
    assert mirror.mentions.counts(shorter).tolist() == [1]
    mirror.add([facts_of("b", "We heard Ada Lovelace.")])
    mirror.settle()
    assert mirror.mentions.counts(shorter).tolist() == [0]
    assert mirror.mentions.counts(longer).tolist() == [2]
    assert len(mirror.mentions.sentences_mentioning(shorter)[0]) == 0


def test_removing_many_gives_rows_new_numbers_and_changes_the_epoch(monkeypatch):
    monkeypatch.setattr(mirror_module, "_TAIL_NODES", 4)
    facts = [facts_of(f"n{number}", f"Ada Lovelace met Charles Babbage {number} times.", "d") for number in range(40)]
    mirror = built_anew(facts)
    before = mirror.epoch
    mirror.remove([f"n{number}" for number in range(30)])
    assert mirror.epoch > before
    assert mirror.rows_of(["n30", "n0", "n39"]).tolist() == [0, -1, 9]
    assert answers(mirror) == answers(built_anew(facts[30:]))


def test_removing_twice_counts_once():
    mirror = built_anew([facts_of("a", "Words."), facts_of("b", "Words.")])
    mirror.remove(["a", "a", "nobody"])
    mirror.remove(["a"])
    assert mirror.size == 1
    assert mirror._dead == 1


def test_clear_leaves_nothing_and_changes_the_epoch():
    mirror = built_anew([facts_of("a", "Ada Lovelace.", title="Ada Lovelace")])
    before = mirror.epoch
    mirror.clear()
    assert mirror.epoch > before
    assert answers(mirror) == answers(GraphMirror())


def test_an_empty_mirror_answers():
    mirror = GraphMirror()
    assert mirror.size == 0
    assert mirror.rows_of(["a"]).tolist() == [-1]
    assert mirror.document_rows("d").tolist() == []
    assert answers(mirror)["mentions"] == []
    mirror.add([])
    mirror.remove(["a"])
    mirror.remove_document("d")
    assert mirror.size == 0


@pytest.mark.parametrize(
    "node_id",
    [
        "a",
        "",
        "0123456789abcdef" * 2,
        "8e4bbf5b-2b4a-4ad6-8d6c-6a3bb5a9f9f1",
        "x" * 500,
        "节点",
        "a\0",
        "\ud800",
        "é'\";--",
    ],
)
def test_ids_of_any_kind_come_back(node_id):
    mirror = built_anew([facts_of("other", "Ada Lovelace."), NodeFacts(node_id, "d")])
    assert mirror.node_ids(mirror.rows_of([node_id])) == [node_id]
    assert mirror.node_ids(mirror.document_rows("d")) == [node_id]
    mirror.remove([node_id])
    assert mirror.rows_of([node_id]).tolist() == [-1]


def test_ids_of_one_hash_are_told_apart():
    first, second = "plumless", "buckeroo"  # zlib.crc32 of both is the same.
    mirror = built_anew([NodeFacts(first, first), NodeFacts(second, second)])
    assert mirror.rows_of([second, first]).tolist() == [1, 0]


def test_what_is_added_twice_in_one_call_is_there_once_as_given_last():
    mirror = GraphMirror()
    mirror.add([facts_of("a", "Ada Lovelace."), facts_of("a", "Lord Byron.")])
    mirror.settle()
    assert mirror.size == 1
    assert mirror.has_term(name_hash("byron"))
    assert not mirror.has_term(name_hash("lovelac"))


def test_a_word_of_removed_nodes_only_is_not_there():
    mirror = built_anew([facts_of("a", "A poet wrote."), facts_of("b", "A painter drew.")])
    mirror.settle()
    assert mirror.has_term(name_hash("poet"))
    mirror.remove(["a"])
    mirror.settle()
    assert not mirror.has_term(name_hash("poet"))
    assert mirror.has_term(name_hash("painter"))


def test_ties_stay_within_a_document_and_lead_both_ways():
    mirror = built_anew(
        [
            facts_of("text", "See Table 1.", "d", ties=[StructuralTie("table", "cites", "Table 1")]),
            facts_of("table", "Numbers.", "d"),
            facts_of("stranger", "See it.", "e", ties=[StructuralTie("table", "cites", "Table 1")]),
            facts_of("beside", "More.", "d", ties=[StructuralTie("table", "neighbour")]),
        ]
    )
    mirror.settle()
    rows = mirror.rows_of(["text", "table", "stranger", "beside"])
    owners, others = mirror.tied_to(rows)
    assert sorted(zip(owners.tolist(), others.tolist(), strict=True)) == [(0, rows[1]), (1, rows[0])]


def test_readers_and_a_writer_at_once(monkeypatch):
    monkeypatch.setattr(mirror_module, "_TAIL_NODES", 16)
    rng = random.Random(7)
    stock = [random_facts(rng, f"n{number % 24}") for number in range(60)]
    mirror = built_anew(stock[:10])
    stop, errors, reads = threading.Event(), [], []

    def read():
        keys = hash_names(name_key(name) for name in NAMES)
        try:
            while not stop.is_set():
                with mirror.lock:
                    mirror.settle()
                    rows = mirror.rows_of([f"n{number}" for number in range(24)])
                    rows = rows[rows >= 0]
                    mirror.mentions.of(mirror.columns.sentences_of(rows))
                    mirror.mentions.sentences_mentioning(keys)
                    assert mirror.columns.alive.values[mirror.title_holders(keys)[1]].all()
                    mirror.tied_to(rows)
                mirror.stats()
                reads.append(1)
        except BaseException as error:
            errors.append(error)

    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-4)
    threads = [threading.Thread(target=read) for _ in range(3)]
    try:
        for thread in threads:
            thread.start()
        for round_number in range(150):
            facts = stock[round_number % len(stock)]
            if round_number % 3:
                mirror.add([facts])
            else:
                mirror.remove([facts.node_id])
    finally:
        stop.set()
        for thread in threads:
            thread.join()
        sys.setswitchinterval(interval)
    assert not errors
    assert len(reads) > 3


def test_bytes_count_every_array():
    mirror = built_anew([random_facts(random.Random(1), f"n{number}") for number in range(24)])
    mirror.add([NodeFacts("x" * 1000, "d")])
    mirror.settle()
    held = (Column, InvertedLists, SortedLists, np.ndarray)
    state = {**vars(mirror), **vars(mirror.columns), **vars(mirror.mentions)}
    expected = sum(part.nbytes for part in state.values() if isinstance(part, held))
    others = {name for name, part in state.items() if not isinstance(part, held)}
    assert mirror.nbytes >= expected + 1000
    assert others == {
        "lock", "epoch", "columns", "mentions", "_columns", "count", "base_nodes", "_base_sentences", "_dead",
        "_unsettled", "long_ids",
    }  # fmt: skip


def test_a_thousand_small_batches_take_no_quadratic_time():
    mirror = GraphMirror()
    for number in range(1000):
        mirror.add([NodeFacts(f"n{number}", "d")])
    assert mirror.size == 1000
    assert len(mirror.document_rows("d")) == 1000
