import numpy as np
import pytest

from pdt_lightning.results.statistics import (
    cumulative_regret,
    improvement_interval,
    interquartile_interval,
    mean_interval,
    simple_regret,
)


def test_tasks_weigh_alike_however_many_runs_they_have():
    assert mean_interval([[0.0, 0.0, 0.0, 0.0], [1.0, 1.0]]) == (0.5, 0.5, 0.5)


def test_the_interquartile_mean_leaves_out_a_quarter_at_each_end():
    samples = [[-100.0, 1.0, 2.0, 3.0, 4.0, 5.0], [4.0, 5.0, 6.0, 7.0, 8.0, 1000.0]]
    value, low, high = interquartile_interval(samples)
    assert value == pytest.approx((3 + 4 + 4 + 5 + 5 + 6) / 6)
    assert low < value < high
    _, mean_low, mean_high = mean_interval(samples)
    assert high - low < (mean_high - mean_low) / 10


def test_intervals_hold_what_they_promise():
    """Of 200 samples of two tasks with means 0 and 2, about 95 % have the true mean of 1 in their interval."""
    rng = np.random.default_rng(0)
    held = []
    for _ in range(200):
        _, low, high = mean_interval([rng.normal(0, 1, 30), rng.normal(2, 3, 30)], resamples=300)
        held.append(low <= 1.0 <= high)
    assert 0.88 <= np.mean(held) <= 0.99


def test_a_bootstrap_sample_never_trades_one_task_for_another():
    """Constant within tasks, however far apart the tasks are: nothing is uncertain."""
    assert mean_interval([[1.0, 1.0], [9.0, 9.0]]) == (5.0, 5.0, 5.0)
    _, low, high = mean_interval([[1.0, 1.0], [9.0, 9.2]])
    assert 5.0 <= low <= high <= 5.1


def test_a_paired_difference_is_surer_than_two_means():
    rng = np.random.default_rng(1)
    luck = [rng.normal(0, 5, 20) for _ in range(3)]
    ours, theirs = [own + 1 + rng.normal(0, 0.1, 20) for own in luck], luck
    value, low, high = mean_interval([a - b for a, b in zip(ours, theirs, strict=True)])
    assert 0.9 < low < value < high < 1.1
    assert mean_interval(ours)[1] < mean_interval(theirs)[2]


def test_probability_of_improvement_by_hand():
    """Task one: 3 of 4 pairs won, 1 tied. Task two: all lost."""
    value, low, high = improvement_interval([[2.0, 3.0], [0.0, 0.0]], [[1.0, 2.0], [1.0, 5.0]])
    assert value == pytest.approx((3.5 / 4 + 0) / 2)
    assert 0 <= low <= value <= high <= 0.5
    assert improvement_interval([[1.0, 2.0]], [[1.0, 2.0]])[0] == 0.5


def test_single_runs_and_equal_seeds_are_no_trouble():
    assert mean_interval([[3.0]]) == (3.0, 3.0, 3.0)
    assert interquartile_interval([[3.0], [5.0]])[0] == 4.0
    assert mean_interval([[1.0, 2.0]]) == mean_interval([[1.0, 2.0]])


def test_regret_by_hand():
    assert cumulative_regret(np.array([[10.0, -10.0], [0.0, 0.0]]), 10.0).tolist() == [[0.0, 20.0], [10.0, 20.0]]
    assert simple_regret(np.array([9.0, 10.0]), 10.0).tolist() == [1.0, 0.0]
