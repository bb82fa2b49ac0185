"""The link beam on graphs small enough to see through."""

import time

import numpy as np
import pytest
from llama_index.core.schema import TextNode

from llama_index_raganything.errors import ConfigurationError, UnknownArgumentError
from llama_index_raganything.graph import walk as walk_module
from llama_index_raganything.graph.extraction.entity_linker import EntityLinker
from llama_index_raganything.graph.facts import name_hash
from llama_index_raganything.graph.mirror import GraphMirror
from llama_index_raganything.graph.names import name_key
from llama_index_raganything.graph.walk import (
    MENTIONS_TITLE,
    SAME_TITLE,
    SHARES_NAME,
    TITLE_MENTIONED,
    LinkBeam,
    LinkWeights,
)
from llama_index_raganything.questions.question import understand
from llama_index_raganything.retrievers.steps import Done, advance

FILM = {
    "film": ("Polish-Russian War", "Polish-Russian War is a 2009 film directed by Xawery Żuławski."),
    "director": ("Xawery Żuławski", "Xawery Żuławski is a director, the son of Małgorzata Braunek."),
    "mother": ("Małgorzata Braunek", "Małgorzata Braunek was an actress. She was born in Szamotuły."),
    "other film": ("Snow White", "Snow White is a 2009 film directed by somebody else about a war."),
    "other mother": ("Mother Night", "Mother Night is a novel about a director of propaganda and his mother."),
    "war": ("Polish-Soviet War", "The war was fought by Russian and Polish armies until 1921."),
    **{f"filler {number}": (f"Filler {number}", f"Number {number} is about nothing at all.") for number in range(20)},
}


def node(name, text, title=""):
    metadata = {"doc_id": name, **({"title": title} if title else {})}
    return TextNode(id_=name, text=f"{title}\n{text}" if title else text, metadata=metadata)


def mirror_of(passages):
    mirror = GraphMirror()
    mirror.add(EntityLinker().extract([node(name, text, title) for name, (title, text) in passages.items()]))
    return mirror


def walk(mirror, question, candidates, weights=None, forbidden=(), asked=None):
    """Walk as the retriever does; ``forbidden`` are the ids that the caller's filter refuses."""
    beam = LinkBeam(mirror, question, understand(question).terms, mirror.rows_of(candidates), weights=weights)
    refused = mirror.rows_of(list(forbidden))
    run = beam.run()
    rows = advance(run, None)
    while not isinstance(rows, Done):
        if asked is not None:
            asked.extend(rows.tolist())
        rows = advance(run, ~np.isin(rows, refused))
    return rows.result


def best(mirror, found, count):
    return mirror.node_ids(rows_in_order(found)[:count])


def rows_in_order(found):
    return [int(found.rows[place]) for place, _ in found.ranked()]


def link(mirror, found, first, second):
    rows = mirror.rows_of([first, second]).tolist()
    return found.link_between(*rows)


# What is linked


def test_a_bridge_brings_in_what_the_search_did_not_find():
    mirror = mirror_of(FILM)
    question = "Who is the mother of the director of Polish-Russian War?"
    found = walk(mirror, question, ["film", "other mother", "war", "other film", "filler 1"])
    assert set(best(mirror, found, 2)) == {"film", "director"}
    kind, name = link(mirror, found, "film", "director")
    assert kind == MENTIONS_TITLE
    assert name == name_hash(name_key("Xawery Żuławski"))
    assert link(mirror, found, "director", "film")[0] == TITLE_MENTIONED


def test_a_third_hop_follows_the_best_pairs():
    mirror = mirror_of(FILM)
    question = "Where was the mother of the director of the film Polish-Russian War born?"
    candidates = ["film", "other mother", "war", "other film"]
    found = walk(mirror, question, candidates)
    assert set(best(mirror, found, 3)) == {"film", "director", "mother"}
    without = walk(mirror, question, candidates, LinkWeights(beam=0))
    assert mirror.rows_of(["mother"])[0] not in without.rows


def test_texts_that_mention_one_name_are_joined_by_it():
    mirror = mirror_of(
        {
            "a": ("", "In spring the first expedition with Otto Sverdrup reached the ice."),
            "b": ("", "A ship in the north was under the command of Otto Sverdrup for years."),
            "c": ("", "In spring a ship reached the harbour without any ice."),
        }
    )
    found = walk(mirror, "Who commanded the ship and the expedition to the ice?", ["a", "c"])
    assert link(mirror, found, "a", "b") == (SHARES_NAME, name_hash("otto sverdrup"))
    assert link(mirror, found, "a", "c") is None


def test_parts_of_one_title_are_joined_by_it():
    mirror = mirror_of({"a": ("Otto Sverdrup", "He was born then."), "b": ("Otto Sverdrup", "He died later.")})
    found = walk(mirror, "When was he born?", ["a"])
    assert link(mirror, found, "a", "b") == (SAME_TITLE, name_hash("otto sverdrup"))


def test_a_comparison_pairs_the_two_that_the_question_names():
    mirror = mirror_of(FILM)
    found = walk(mirror, "Which was made first, Snow White or Polish-Russian War?", ["war", "filler 1", "filler 2"])
    assert set(best(mirror, found, 2)) == {"film", "other film"}


def test_a_name_that_many_mention_joins_near_candidates_only():
    passages = {
        f"n{number}": (f"Story {number}", f"In the year {number} they came to Paris Texas by train.")
        for number in range(30)
    }
    mirror = mirror_of(passages)
    weights = LinkWeights(max_sentences=10)
    found = walk(mirror, "Who came to Paris Texas in 7?", ["n7", "n8"], weights)
    assert set(found.rows.tolist()) == set(mirror.rows_of(["n7", "n8"]).tolist())
    assert link(mirror, found, "n7", "n8") is not None
    rare = walk(mirror, "Who came to Paris Texas in 7?", ["n7", "n8"], LinkWeights(max_sentences=60))
    assert len(rare.rows) == 30


def test_a_title_that_many_bear_joins_near_candidates_only():
    passages = {f"n{number}": ("Annual Report", f"Part {number} of it.") for number in range(30)}
    passages["asker"] = ("", "What is told of it in the Annual Report is long.")
    mirror = mirror_of(passages)
    found = walk(mirror, "How long is it?", ["asker", "n3"], LinkWeights(max_holders=10))
    assert set(found.rows.tolist()) == set(mirror.rows_of(["asker", "n3"]).tolist())
    assert link(mirror, found, "asker", "n3") is not None


# What may take part


@pytest.mark.parametrize("forbidden", ["director", "mother", "film"])
def test_what_the_caller_refuses_is_in_no_set_and_no_link(forbidden):
    mirror = mirror_of(FILM)
    question = "Where was the mother of the director of the film Polish-Russian War born?"
    candidates = [name for name in ("film", "other mother", "war", "other film") if name != forbidden]
    found = walk(mirror, question, candidates, forbidden=[forbidden])
    row = mirror.rows_of([forbidden])[0]
    assert row not in found.rows
    for links in found.links:
        assert row not in links.source
        assert row not in links.target


def test_the_caller_is_asked_about_all_that_the_search_did_not_find():
    mirror = mirror_of(FILM)
    asked = []
    candidates = ["other mother", "war"]
    found = walk(mirror, "Who is the mother of the director of Polish-Russian War?", candidates, asked=asked)
    given = set(mirror.rows_of(candidates).tolist())
    assert set(found.rows.tolist()) - given <= set(asked)
    assert not given & set(asked)


def test_nothing_but_the_candidates_when_all_else_is_refused():
    mirror = mirror_of(FILM)
    others = [name for name in FILM if name not in ("film", "war")]
    found = walk(mirror, "Who is the mother of the director of Polish-Russian War?", ["film", "war"], forbidden=others)
    assert set(found.rows.tolist()) == set(mirror.rows_of(["film", "war"]).tolist())


def test_unknown_and_removed_candidates_are_left_out():
    mirror = mirror_of(FILM)
    gone = mirror.rows_of(["war"])
    mirror.remove(["war"])
    beam = LinkBeam(mirror, "a war", ["war"], np.array([-1, 10_000, *gone, *mirror.rows_of(["film"])]))
    assert beam.candidates.tolist() == mirror.rows_of(["film"]).tolist()


def test_extras_stay_with_their_candidates():
    mirror = mirror_of(FILM)
    rows = mirror.rows_of(["war", "nobody", "film", "mother"])
    beam = LinkBeam(mirror, "nothing of it", ["nothing"], rows, np.array([0.1, 0.9, 0.2, 0.3]))
    assert beam.extras(rows[[3, 0, 2]]).tolist() == [0.3, 0.1, 0.2]


# Bad input


@pytest.mark.parametrize(
    "question",
    ["", " ", "?", "the of and", "zzz qqq", "\0\x01\x02", "\ud800", "(" * 500, "[a-z]+(?P<x>.*)\\", "🙂", "王小明是谁"],
)
@pytest.mark.parametrize("candidates", [[], ["film"], ["nobody"], list(FILM)], ids=len)
def test_any_question_over_any_candidates_gives_an_answer(question, candidates):
    mirror = mirror_of(FILM)
    found = walk(mirror, question, candidates)
    known = set(mirror.rows_of(candidates).tolist()) - {-1}
    assert known <= set(rows_in_order(found))
    assert all(np.isfinite(score) for _, score in found.ranked())


def test_an_empty_graph_gives_nothing():
    assert walk(GraphMirror(), "Who is Ada Lovelace?", []).ranked() == []


def test_no_terms_and_no_names_still_rank_candidates():
    mirror = mirror_of(FILM)
    beam = LinkBeam(mirror, "", [], mirror.rows_of(["film", "war"]))
    assert beam.coverage(beam.candidates).shape == (2, 0)
    assert beam.names == []


@pytest.mark.parametrize(
    "text",
    ["Who is Ada Lovelace? " * 500, "a " * 5_000, "X" * 10_000, "王小明" * 4_000, "A. B. " * 2_000, "Ada " * 250_000],
    ids=["names", "words", "one word", "chinese", "initials", "a megabyte"],
)  # fmt: skip
def test_a_very_long_question_takes_bounded_time(text):
    mirror = mirror_of(FILM)
    mirror.settle()
    start = time.process_time()
    walk_module._names_in_question(mirror, text)
    assert time.process_time() - start < 3
    walk(mirror, text[:10_000], ["film", "war"])


@pytest.mark.parametrize("wrong", [{"sources": 0}, {"near": 0}, {"beam": -1}])
def test_impossible_weights_are_refused(wrong):
    with pytest.raises(ConfigurationError):
        LinkWeights(**wrong)


def test_unknown_weights_are_refused():
    with pytest.raises(UnknownArgumentError, match=r"did you mean sources\?"):
        LinkWeights(source=1)


# Order


def test_the_same_question_gives_the_same_answer_and_best_comes_first():
    mirror = mirror_of(FILM)
    question = "Where was the mother of the director of the film Polish-Russian War born?"
    first = walk(mirror, question, list(FILM))
    assert first.ranked() == walk(mirror, question, list(FILM)).ranked()
    scores = [score for _, score in first.ranked()]
    assert scores == sorted(scores, reverse=True)
    assert first.ranked(3) == first.ranked()[:3]
    assert rows_in_order(walk(mirror, question, list(FILM)[::-1])) == rows_in_order(first)


@pytest.mark.parametrize("known", [True, False])
def test_names_in_a_question_are_the_longest_that_the_graph_knows(known):
    mirror = mirror_of(FILM | ({"x": ("The Mother of the Director", "A book.")} if known else {}))
    mirror.settle()
    names = walk_module._names_in_question(mirror, "who is the mother of the director of polish-russian war")
    assert ((name_hash(name_key("the mother of the director")), 4) in names) is known
    assert any(key == name_hash("polish russian war") for key, _ in names)
