"""Aggregates over tasks and runs, with bootstrap intervals stratified over the tasks.

A *run* is one value of a task: a seed's, say. A bootstrap sample redraws each task's runs and never trades one task for another.

Source: Agarwal et al. 2021 (arXiv 2108.13264), for what is aggregated and how.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy import stats

from pdt_lightning.core.seeding import generator

Interval = tuple[float, float, float]  # value, lower and upper end
Samples = Sequence[Sequence[float]] | Sequence[np.ndarray]  # for each task, the values of its runs


def mean_interval(samples: Samples, level: float = 0.95, resamples: int = 2000) -> Interval:
    """Mean over tasks of the tasks' means.

    Args:
        samples: for each task, its values. Of differences between two ways on the same runs they make a paired comparison.
        level: of the interval.
        resamples: of the bootstrap.

    Returns:
        Mean, lower and upper end.

    >>> mean_interval([[1.0, 1.0], [3.0, 3.0]])
    (2.0, 2.0, 2.0)
    """
    return _interval(samples, lambda *parts, axis: np.mean([part.mean(axis=axis) for part in parts], axis=0), level, resamples)


def interquartile_interval(samples: Samples, level: float = 0.95, resamples: int = 2000) -> Interval:
    """Interquartile mean: of all runs of all tasks together, without the lowest and the highest quarter.

    Args:
        samples: for each task, its values.
        level: of the interval.
        resamples: of the bootstrap.

    Returns:
        Interquartile mean, lower and upper end.

    >>> interquartile_interval([[-90.0, 1.0], [3.0, 50.0]])[0]
    2.0
    """
    return _interval(
        samples, lambda *parts, axis: stats.trim_mean(np.concatenate(parts, axis=axis), 0.25, axis=axis), level, resamples
    )


def improvement_interval(ours: Samples, theirs: Samples, level: float = 0.95, resamples: int = 2000) -> Interval:
    """Probability of improvement: that a run of ours beats one of theirs on the same task, a tie counting half; mean over tasks.

    Args:
        ours: for each task, its values.
        theirs: the same tasks, with any number of runs.
        level: of the interval.
        resamples: of the bootstrap.

    Returns:
        Probability, lower and upper end.

    >>> improvement_interval([[2.0, 2.0]], [[1.0, 2.0]])[0]
    0.75
    """

    def statistic(*parts: np.ndarray, axis: int) -> np.ndarray:
        pairs = zip(parts[: len(ours)], parts[len(ours) :], strict=True)
        won = [0.5 + 0.5 * np.sign(x[..., :, None] - y[..., None, :]).mean(axis=(-2, -1)) for x, y in pairs]
        return np.mean(won, axis=0)

    return _interval([*ours, *theirs], statistic, level, resamples)


def cumulative_regret(outcomes: np.ndarray, optimum: float) -> np.ndarray:
    """What a search has forgone by each of its rollouts.

    Args:
        outcomes: `(..., R)` of the rollouts, in order.
        optimum: the best that can be expected of one.

    Returns:
        `(..., R)`.

    >>> cumulative_regret(np.array([-10.0, 10.0, 7.0]), 10.0).tolist()
    [20.0, 20.0, 23.0]
    """
    return np.cumsum(optimum - np.asarray(outcomes, float), axis=-1)


def simple_regret(values: np.ndarray, optimum: float) -> np.ndarray:
    """What recommended prompts, worth `values`, fall short of the optimum.

    >>> simple_regret(np.array([9.5]), 10.0).tolist()
    [0.5]
    """
    return optimum - np.asarray(values, float)


def _interval(samples: Samples, statistic: Callable[..., np.ndarray], level: float, resamples: int) -> Interval:
    groups = [np.asarray(group, float) for group in samples]
    value = float(statistic(*groups, axis=-1))
    if all(len(group) < 2 or np.ptp(group) == 0 for group in groups):
        return value, value, value
    # Percentile: the corrected intervals are undefined where a group is constant, as a solved task is.
    groups = [np.repeat(group, 2) if len(group) == 1 else group for group in groups]  # scipy refuses a single value
    result = stats.bootstrap(
        groups,
        statistic,
        n_resamples=resamples,
        confidence_level=level,
        vectorized=True,
        method="percentile",
        rng=generator(0, "bootstrap"),
    )
    return value, float(result.confidence_interval.low), float(result.confidence_interval.high)
