"""Tuners that move through values: averages of where they were, and the first prompt as a finalist."""

import json

import numpy as np
import pytest

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import make_tuner
from pdt_lightning.tuners.values import gaussian_weights
from tests.conftest import untrained

MOVING = ["hill_climbing", "zo_rank_sgd", "cma_es"]


@pytest.fixture(scope="module")
def policy(point_data):
    return Policy(untrained(point_data, attention="window").model, 5)


def made(name, segments, policy, budget, seed=0, **options):
    return make_tuner(name, segments, budget, np.random.default_rng(seed), 2, policy, **options)


def test_weights_over_steps_by_hand():
    """Of two steps, at shares 0.5 and 1, which are 1/6 and 2/3 of a spread from the mean."""
    near, far = np.exp(-1 / 72), np.exp(-4 / 18)
    assert gaussian_weights(2) == pytest.approx([near / (near + far), far / (near + far)])
    assert gaussian_weights(1).tolist() == [1.0]
    assert int(gaussian_weights(50).argmax()) == 29  # as published: the thirtieth of fifty


def test_hill_climbing_averages_the_best_so_far_after_each_rollout(segments, policy):
    tuner = made("hill_climbing", segments, policy, 3, average="gaussian")
    tops = []
    for value in (1.0, 0.5, 3.0):
        (candidate,) = tuner.ask()
        proposal = tuner.pending[candidate.id]
        tops.append(proposal if value != 0.5 else tops[-1])
        tuner.tell([(candidate.id, value)])
    wanted = sum(weight * top for weight, top in zip(gaussian_weights(3), tops, strict=True))
    assert tuner.space.point(tuner.best().prompt) == pytest.approx(wanted, abs=1e-4)
    assert tuner.best_value() == 3.0


@pytest.mark.parametrize("name", ["zo_rank_sgd", "cma_es"])
def test_others_average_where_each_step_led(segments, policy, name):
    sizes = {"zo_rank_sgd": "rollouts", "cma_es": "population"}
    tuner = made(name, segments, policy, 11, average="gaussian", **{sizes[name]: 5})
    ends = []
    while candidates := tuner.ask(5):
        tuner.tell([(candidate.id, float(candidate.id * 7 % 5)) for candidate in candidates])
        ends.append(tuner._at()[0])
    assert len(candidates) + len(tuner.told) == 11
    first, second, third = ends
    assert not np.array_equal(first, second)
    assert np.array_equal(second, third)  # the eleventh rollout ends no step
    wanted = gaussian_weights(2) @ np.array([first, second])
    assert tuner.space.point(tuner.best().prompt) == pytest.approx(wanted, abs=1e-4)


@pytest.mark.parametrize("name", MOVING)
@pytest.mark.parametrize("better", [False, True])
def test_the_first_prompt_is_recommended_unless_what_was_found_does_better(segments, policy, name, better):
    """Of 41 rollouts ten are kept, five for each; exploration is lucky, and what is found later is as good or not."""
    tuner = made(name, segments, policy, 41, keep_start=True)
    assert tuner.exploring == 31
    start, tried = tuner.space.start, []
    while candidates := tuner.ask(1):
        (candidate,) = candidates
        point = tuner.pending[candidate.id]
        first = np.array_equal(point, start)
        if candidate.id >= 31:
            tried.append(first)
            tuner.tell([(candidate.id, 2.0 if first else 3.0 if better else 2.0)])
        else:
            tuner.tell([(candidate.id, 10.0 + float(point[0]))])
    assert tried == [True, False] * 5
    assert np.array_equal(tuner._best()[0], start) != better
    assert tuner.best_value() == (3.0 if better else 2.0)
    assert (tuner.best().origin == tuner.space.near) != better


@pytest.mark.parametrize(
    ("name", "options"), [("hill_climbing", {}), ("zo_rank_sgd", {"rollouts": 12}), ("cma_es", {"population": 12})]
)
def test_finalists_wait_for_the_last_outcomes_and_are_settled(segments, policy, name, options):
    tuner = made(name, segments, policy, 16, keep_start=True, **options)
    explored = [one for _ in range(5) for one in tuner.ask(3)]
    assert [one.id for one in explored] == list(range(12))
    tuner.tell([(one.id, float(one.id % 4)) for one in explored[:-1]])
    assert tuner.ask(3) == []
    tuner.tell([(11, 3.0)])
    found, finalists = tuner._found(), tuner.ask(9)
    assert [tuner.space.describe(tuner.pending[one.id]) == tuner.space.near for one in finalists] == [True, False] * 2
    tuner.tell([(one.id, 50.0 * one.id) for one in finalists])
    assert np.array_equal(tuner._best()[0], found)


@pytest.mark.parametrize("name", MOVING)
def test_few_rollouts_leave_none_for_finalists(segments, policy, name):
    assert [made(name, segments, policy, budget, keep_start=True).exploring for budget in (0, 7, 8)] == [0, 7, 6]


def test_where_tuning_only_does_harm_the_first_prompt_wins_and_is_lost_without_it(segments, policy):
    """Values fall with the distance from the first prompt, under noise that is as large."""

    def recommended(keep_start, seed):
        tuner, noise = (
            made("hill_climbing", segments, policy, 40, seed, keep_start=keep_start),
            np.random.default_rng(1),
        )
        while candidates := tuner.ask(1):
            for one in candidates:
                distance = np.abs(tuner.pending[one.id] - tuner.space.start).mean()
                tuner.tell([(one.id, float(noise.normal() - distance))])
        return float(np.abs(tuner._best()[0] - tuner.space.start).mean())

    kept, lost = ([recommended(keep, seed) for seed in range(5)] for keep in (True, False))
    assert np.mean(kept) < 0.3
    assert np.mean(lost) > 0.6


def test_a_failure_among_the_finalists_is_the_worst(segments, policy):
    tuner = made("hill_climbing", segments, policy, 8, keep_start=True)
    while candidates := tuner.ask(1):
        (one,) = candidates
        tuner.tell(
            [(one.id, None if one.id == 6 else float(one.id == 5))]
        )  # 6 tries the first prompt, 7 what was found
    assert tuner.best_value() == 0.0
    assert np.array_equal(tuner._best()[0], tuner.space.start)  # both are 0: nothing did better
    restored = made("hill_climbing", segments, policy, 8, seed=3, keep_start=True)
    restored.load_state_dict(json.loads(json.dumps(tuner.state_dict())))
    assert restored.best().prompt.tobytes() == tuner.best().prompt.tobytes()
