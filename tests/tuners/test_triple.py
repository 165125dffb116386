"""Halving among clusters and among the prompts of the best one: who is tried, who stays, and who is recommended."""

from collections import Counter

import numpy as np
import pytest

from pdt_lightning.tuners import ClusteredHalving, RandomSearch
from pdt_lightning.tuners.clusters import clustered
from pdt_lightning.tuners.triple import halvings


def made(segments, budget, features, seed=0, slots=1):
    return ClusteredHalving(segments, budget, np.random.default_rng(seed), slots, features)


def groups(segments, count=4):
    """Features of so many groups far apart, and the group of each segment, by turns."""
    of = np.arange(len(segments)) % count
    noise = np.random.default_rng(0).normal(size=(len(segments), 2))
    return 100.0 * np.eye(count)[of] + np.pad(noise, [(0, 0), (0, count - 2)]), of


def finished(tuner, value, n=1):
    while candidates := tuner.ask(n):
        tuner.tell([(one.id, value(one)) for one in candidates])
    return tuner.best()


def test_rounds_by_hand():
    assert halvings(8, 24) == [(8, 8), (4, 8), (2, 8)]
    assert halvings(5, 100) == [(5, 33), (3, 33), (2, 34)]
    assert halvings(100, 7) == [(3, 3), (2, 4)]  # four arms would take eight
    assert halvings(2, 5) == [(2, 5)]
    assert [halvings(9, rollouts) for rollouts in (0, 1)] == [[(1, 0)], [(1, 1)]]
    assert halvings(1, 6) == [(1, 6)]


def test_clusters_are_those_that_lie_apart(segments):
    points, of = groups(segments)
    labels = clustered(points, 4, np.random.default_rng(1))
    assert len(set(zip(labels, of, strict=True))) == 4
    assert set(clustered(np.zeros((5, 2)), 3, np.random.default_rng(0))) == {0}
    found = clustered(np.array([[0.0], [1.0], [1.0]]), 3, np.random.default_rng(0))
    assert found[0] != found[1] == found[2]


def test_every_round_by_hand(segments):
    """Of 24 rollouts twelve for four clusters in two rounds, then as many for four prompts of the best, in two."""
    points, of = groups(segments)
    tuner = made(segments, 24, points)
    worth, chosen = np.array([1.0, 0.0, 5.0, 3.0])[of], []
    while candidates := tuner.ask(4):
        for one in candidates:
            chosen.append(one.choice[0])
            tuner.tell([(one.id, worth[chosen[-1]] + chosen[-1] / 1000)])
    assert sorted(Counter(of[chosen[:6]]).values()) == [1, 1, 2, 2]
    assert Counter(of[chosen[6:12]]) == {2: 3, 3: 3}
    assert len(set(chosen[:12])) == 12  # a cluster's prompts are not tried twice
    assert set(of[chosen[12:]]) == {2}
    best_before = sorted((segment for segment in chosen[:12] if of[segment] == 2), reverse=True)[:4]
    assert sorted(Counter(chosen[12:18]).values()) == [1, 1, 2, 2]
    assert set(best_before) <= set(chosen[12:18])
    left = sorted(set(chosen[18:]))
    assert left == sorted(set(chosen[12:18]))[2:]
    assert Counter(chosen[18:]) == dict.fromkeys(left, 3)
    assert tuner.best().choice == (left[1],)  # of the highest mean, wherever it stands
    assert tuner.best_value() == pytest.approx(5.0 + left[1] / 1000)


def test_who_stays_depends_on_how_the_round_ends(segments):
    points, _ = groups(segments)
    tuner = made(segments, 24, points)
    first = tuner.ask(50)
    assert len(first) == 6
    assert tuner.ask(1) == []
    tuner.tell([(one.id, 1.0) for one in first[:-1]])
    assert tuner.ask(1) == []
    tuner.tell([(first[-1].id, 1.0)])
    assert len(tuner.ask(50)) == 6


@pytest.mark.parametrize("budget", [0, 1, 2, 3, 10, 100])
@pytest.mark.parametrize("slots", [1, 3])
def test_any_budget_is_spent_to_the_last_rollout(segments, budget, slots):
    points, _ = groups(segments)
    tuner = made(segments, budget, points, slots=slots)
    best = finished(tuner, lambda one: float(one.choice[0]), n=7)
    assert len(tuner.told) == budget
    assert len(best.choice) == slots
    assert len(tuner.active) == 1


def test_one_cluster_is_no_cluster(segments):
    tuner = made(segments, 20, np.zeros((len(segments), 3)))
    assert not tuner.among_clusters
    best = finished(tuner, lambda one: float(one.choice[0]))
    assert best.choice[0] == max(choice for (choice,) in tuner.choices)


def test_a_prompt_that_fails_does_not_stay(segments):
    points, _ = groups(segments)
    tuner = made(segments, 40, points)
    best = finished(tuner, lambda one: None if one.choice[0] % 2 else float(one.choice[0]))
    assert best.choice[0] % 2 == 0


def test_it_beats_random_search_where_the_few_good_prompts_lie_apart(segments):
    """Of six groups one has two prompts worth 1, the others are worth 0, under noise of 0.2; the mean of twenty seeds.

    Random search meets one of the two in about 60 of 100 searches, since most of its rollouts go to the large groups.
    """
    of = np.append(np.arange(len(segments) - 2) % 5, [5, 5])
    points = 100.0 * np.eye(6)[of] + np.random.default_rng(0).normal(size=(len(segments), 6))

    def worth(make):
        found = []
        for seed in range(20):
            noise = np.random.default_rng(100 + seed)
            best = finished(make(seed), lambda one, noise=noise: float((of[one.choice[0]] == 5) + 0.2 * noise.normal()))
            found.append(of[best.choice[0]] == 5)
        return float(np.mean(found))

    ours = worth(lambda seed: made(segments, 36, points, seed))
    theirs = worth(lambda seed: RandomSearch(segments, 36, np.random.default_rng(seed), 1))
    assert ours > 0.9
    assert ours > theirs + 0.1
