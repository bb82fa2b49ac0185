import time

import numpy as np
import pytest

from llama_index_raganything.ranking.set_coverage import NO_MEMBER, score_sets, single_sets, stack_sets, tied_pairs


def slow_scores(coverage, extras, sets, links):
    """The definition, set by set."""
    totals = []
    for members, link in zip(sets, links, strict=True):
        joint = sum(max(coverage[unit][term] for unit in members) for term in range(coverage.shape[1]))
        totals.append(joint + sum(extras[unit] for unit in members) / len(members) + link)
    return np.array(totals)


@pytest.fixture
def units():
    generator = np.random.default_rng(5)
    coverage = generator.random((30, 6)) * (generator.random((30, 6)) < 0.4) / 3
    return coverage, generator.normal(0, 0.2, 30)


def test_totals_follow_the_definition_for_sets_of_any_size(units):
    coverage, extras = units
    sets = [(3,), (0, 29), (29, 0, 7), (5, 6), (1, 2, 3)]
    links = np.array([0.0, 0.3, -0.3, 0.1, 0.2])
    scores = score_sets(coverage, extras, sets, links)
    assert scores.totals == pytest.approx(slow_scores(coverage, extras, sets, links), abs=1e-6)
    assert scores.totals == pytest.approx(scores.joint + scores.extras + scores.links)
    assert [scores.members(index) for index in range(5)] == [list(members) for members in sets]


def test_membership_is_the_soft_maximum_over_the_sets_of_a_unit(units):
    coverage, extras = units
    sets = [(0, 1), (1, 2, 3), (4,)]
    scores = score_sets(coverage, extras, sets, tau=0.1)
    shares = np.exp((scores.totals - scores.totals.max()) / 0.1)
    expected = [shares[0], shares[0] + shares[1], shares[1], shares[1], shares[2], 0.0]
    assert scores.membership[:6] == pytest.approx(expected)
    assert not scores.membership[5:].any()


def test_a_second_member_earns_only_what_the_first_one_lacks():
    coverage = np.array([[0.5, 0.0], [0.5, 0.0], [0.0, 0.4]])
    scores = score_sets(coverage, np.zeros(3), [(0, 1), (0, 2)])
    assert scores.joint == pytest.approx([0.5, 0.9])
    assert scores.membership.argmax() == 0
    assert scores.membership[2] > scores.membership[1]


def test_extras_are_a_mean_so_that_large_sets_have_no_advantage():
    extras = np.array([0.4, 0.2, 0.0])
    scores = score_sets(np.zeros((3, 1)), extras, [(0,), (0, 1), (0, 1, 2)])
    assert scores.extras == pytest.approx([0.4, 0.3, 0.2])


def test_one_link_bonus_for_all_sets_or_one_each():
    coverage, extras = np.ones((3, 2)), np.zeros(3)
    assert score_sets(coverage, extras, [(0, 1), (1, 2)], 0.5).totals == pytest.approx([2.5, 2.5])
    scores = score_sets(coverage, extras, [(0, 1), (1, 2)], np.array([0.0, 0.5]))
    assert scores.totals == pytest.approx([2.0, 2.5])
    with pytest.raises(ValueError, match="broadcast"):
        score_sets(coverage, extras, [(0, 1), (1, 2)], np.zeros(3))


def test_best_sets_of_a_unit_come_best_first():
    scores = score_sets(np.zeros((4, 1)), np.zeros(4), [(0, 1), (1, 2), (2, 0)], np.array([0.1, 0.3, 0.2]))
    assert scores.best_sets(1, 5) == [1, 0]
    assert scores.best_sets(0) == [2]
    assert scores.best_sets(3) == []


def test_sets_of_different_width_stack():
    stacked = stack_sets(single_sets(2), [(0, 1, 2)], [], np.array([[1, 2]]), [(4,), (5, 6)])
    none = NO_MEMBER
    assert stacked.tolist() == [
        [0, none, none],
        [1, none, none],
        [0, 1, 2],
        [1, 2, none],
        [4, none, none],
        [5, 6, none],
    ]
    assert stack_sets().shape == (0, 1)


@pytest.mark.parametrize("sets", [[], np.zeros((0, 2), dtype=np.int64), single_sets(0)])
def test_nothing_to_score(sets):
    scores = score_sets(np.zeros((3, 2)), np.zeros(3), sets)
    assert scores.totals.size == 0
    assert scores.membership.tolist() == [0, 0, 0]
    assert scores.best_sets(0) == []


def test_a_question_without_terms_is_ranked_by_extras_and_links():
    scores = score_sets(np.zeros((3, 0)), np.array([0.1, 0.3, 0.2]), single_sets(3))
    assert np.argsort(-scores.membership).tolist() == [1, 2, 0]


def test_far_scores_do_not_overflow():
    scores = score_sets(np.array([[1e6], [0.0]]), np.zeros(2), single_sets(2), tau=0.001)
    assert scores.membership.tolist() == [1.0, 0.0]


def test_unknown_units_are_refused():
    with pytest.raises(IndexError):
        score_sets(np.zeros((2, 1)), np.zeros(2), [(0, 2)])


def test_units_of_one_group_are_paired_across_kinds_around_the_best():
    tables = np.array([True, False, False, True, False, True, False])
    groups = [0, 0, 0, 1, 1, -1, -1]
    pairs, distances = tied_pairs([0, 1, 4, 5], groups, tables)
    assert pairs.tolist() == [[0, 1], [0, 2], [3, 4]]
    assert distances.tolist() == [0, 0, 0]
    assert tied_pairs([2], groups, tables)[0].tolist() == [[0, 2]]


def test_pairs_can_be_limited_to_neighbours():
    tables = np.array([False, True, False, False])
    pairs, distances = tied_pairs([1], [7, 7, 7, 7], tables, places=[3, 5, 6, 9], reach=2)
    assert pairs.tolist() == [[1, 0], [1, 2]]
    assert distances.tolist() == [2, 1]


def test_no_pairs_is_an_empty_array_of_pairs():
    nothing = np.zeros(0, dtype=bool)
    for pairs, distances in (tied_pairs([], [], nothing), tied_pairs([0], [0, 0], np.array([True, True]))):
        assert pairs.shape == (0, 2)
        assert distances.size == 0
        assert score_sets(np.zeros((2, 1)), np.zeros(2), pairs).totals.size == 0


def test_twenty_thousand_pairs_are_a_matter_of_milliseconds():
    generator = np.random.default_rng(1)
    coverage = generator.random((3000, 15))
    pairs = generator.integers(0, 3000, (20_000, 2))
    times = []
    for _ in range(5):
        start = time.perf_counter()
        score_sets(coverage, np.zeros(3000), pairs, np.zeros(20_000))
        times.append(time.perf_counter() - start)
    # 5 ms when measured alone; set by set in Python it takes several hundred.
    assert min(times) < 0.05
