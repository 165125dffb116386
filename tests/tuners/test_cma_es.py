"""CMA-ES: what it samples, what it is told, and what it recommends."""

import json

import cma
import numpy as np
import pytest

from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import CMAES, make_tuner
from tests.conftest import untrained


@pytest.fixture(scope="module")
def policy(point_data):
    return Policy(untrained(point_data, attention="window").model, 5)


def made(segments, policy, budget=40, seed=0, **options):
    return CMAES(segments, budget, np.random.default_rng(seed), 2, policy, **options)


def points(tuner, n):
    return [tuner.pending[candidate.id] for candidate in tuner.ask(n)]


def test_of_two_the_better_one_is_the_next_mean(segments, policy):
    tuner = made(segments, policy, population=2)
    assert np.array_equal(tuner._best()[0], tuner.space.start)
    tried = points(tuner, 5)
    assert len(tried) == 2
    tuner.tell([(1, 3.0), (0, 1.0)])
    assert tuner._best()[0] == pytest.approx(tried[1])
    assert tuner.best_value() == 2.0  # the mean of the generation: the better one may have been lucky


def test_generations_against_the_library(segments, policy):
    """In all 30 directions; the library minimises, and is handed its own points in its own order."""
    tuner = made(segments, policy, sigma=0.3, dimension=30, population=6)
    noise = np.random.default_rng(5)
    options = {"popsize": 6, "seed": np.nan, "verbose": -9, "randn": lambda *shape: noise.standard_normal(shape)}
    plain = cma.CMAEvolutionStrategy(np.zeros(30), 0.3, options)
    for _ in range(3):
        tried = points(tuner, 6)
        values = [-float(np.square(point - 1).sum()) for point in tried]
        first = tuner.asked - 6
        tuner.tell([(first + place, values[place]) for place in (3, 0, 5, 1, 2, 4)])
        plain.ask()
        plain.tell([(point - tuner.space.start) for point in tried], [-value for value in values])
    assert tuner._best()[0] - tuner.space.start == pytest.approx(plain.mean)
    assert tuner.strategy.sigma == pytest.approx(plain.sigma)


def test_values_move_together_in_few_directions_by_sigma_each(segments, policy):
    moved = [np.array(points(made(segments, policy, sigma=0.5, dimension=3, seed=s), 10)) for s in range(30)]
    starts = [made(segments, policy, dimension=3, seed=s).space.start for s in range(30)]
    away = np.array([own - start for own, start in zip(moved, starts, strict=True)])
    assert {int(np.linalg.matrix_rank(own, tol=1e-6)) for own in away} == {3}
    assert away.std() == pytest.approx(0.5, rel=0.15)
    assert not np.allclose(away[0], away[1])


def test_nothing_is_drawn_from_numpys_own_generator(segments, policy):
    before = np.random.get_state()[1].tolist()  # noqa: NPY002
    tuner = made(segments, policy)
    while candidates := tuner.ask(10):
        tuner.tell([(one.id, float(one.id % 3)) for one in candidates])
    assert np.random.get_state()[1].tolist() == before  # noqa: NPY002


def test_a_failure_counts_as_the_worst_that_was_known_then(segments, policy):
    """Also once it is restored, when what was worse later is known."""
    tuners = [made(segments, policy, population=4, dimension=5) for _ in range(2)]
    for tuner, lost in zip(tuners, (None, -2.0), strict=True):
        for values in ([1.0, lost, 3.0, -2.0], [0.0, -50.0, 2.0, 5.0], [1.0]):
            first = tuner.asked
            candidates = tuner.ask(len(values))
            tuner.tell([(first + place, value) for place, value in enumerate(values)])
            assert len(candidates) == len(values)
    assert np.array_equal(tuners[0]._best()[0], tuners[1]._best()[0])
    restored = made(segments, policy, population=4, dimension=5, seed=9)
    restored.load_state_dict(json.loads(json.dumps(tuners[0].state_dict())))
    for tuner in (restored, tuners[0]):
        assert np.array_equal(tuner._best()[0], tuners[1]._best()[0])
    assert np.array_equal(points(restored, 3), points(tuners[1], 3))


def test_few_rollouts_are_one_generation(segments, policy):
    assert [made(segments, policy, budget).population for budget in (0, 1, 3, 9, 10, 50)] == [2, 2, 3, 9, 10, 10]
    tuner = made(segments, policy, 1)
    tuner.tell([(one.id, 1.0) for one in tuner.ask(3)])
    assert np.array_equal(tuner._best()[0], tuner.space.start)  # one alone says nothing
    assert tuner.best_value() == 1.0


def test_a_smooth_hill_is_climbed_under_noise_better_than_by_the_luckiest_rollout(segments, policy):
    """Values fall with the distance from a point that is one away in every value; the mean of three seeds."""

    def distance(name, seed, **options):
        tuner = make_tuner(name, segments, 250, np.random.default_rng(seed), 2, policy, sigma=0.5, **options)
        goal, noise = tuner.space.start + 1.0, np.random.default_rng(seed)
        while candidates := tuner.ask(10):
            for one in candidates:
                tuner.tell([(one.id, float(0.1 * noise.normal() - np.square(tuner.pending[one.id] - goal).mean()))])
        return float(np.square(tuner._best()[0] - goal).mean())

    ours = np.mean([distance("cma_es", seed, dimension=30) for seed in range(3)])
    theirs = np.mean([distance("hill_climbing", seed) for seed in range(3)])
    assert ours < 0.5
    assert ours < theirs


def test_bad_options_are_named(segments, policy):
    with pytest.raises(ValueError, match=r"`tuning\.tuner_options\.population`=1: it has to be at least 2"):
        CMAES.check("cma_es", {"population": 1})
    with pytest.raises(ValueError, match=r"`tuning\.tuner_options\.average`=mean"):
        CMAES.check("cma_es", {"average": "mean"})
