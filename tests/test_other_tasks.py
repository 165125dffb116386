"""What is learned from other tasks: the regression, and that only training tasks teach."""

import numpy as np
import pytest

from benchmarks.other_tasks import KINDS, Known, judged, predicted


def task(worth_by_score, held_out=False, seed=0, noise=0.0):
    rng = np.random.default_rng(seed)
    columns = rng.normal(size=(40, 4))
    return Known(columns, worth_by_score * columns[:, 0] + noise * rng.normal(size=40), held_out)


def test_weights_are_those_of_a_ridge_regression():
    tasks = [task(2.0, seed=seed, noise=0.5) for seed in range(3)]
    other = task(2.0, seed=9)
    design = np.concatenate([one.columns for one in tasks])
    middle = design.mean(axis=0)
    seen = np.concatenate([(one.worth - one.worth.mean()) / one.worth.std() for one in tasks])
    stacked = np.vstack([design - middle, np.eye(4)])  # ridge as least squares with four rows more
    weights = np.linalg.lstsq(stacked, np.append(seen, np.zeros(4)), rcond=None)[0]
    assert np.allclose(predicted(other, tasks, [0, 1, 2, 3]), (other.columns - middle) @ weights)


def test_held_out_tasks_are_judged_and_teach_nothing():
    training = [task(1.0, seed=seed) for seed in range(4)]
    contrary = [task(-1.0, held_out=True, seed=seed) for seed in range(4, 7)]
    alike, first, best = judged([training + contrary], KINDS["score"], held_out=False)
    assert alike == pytest.approx(1.0)
    assert first == pytest.approx(best)
    alike, first, best = judged([training + contrary], KINDS["score"], held_out=True)
    assert alike == pytest.approx(-1.0)
    assert first < 0 < best
