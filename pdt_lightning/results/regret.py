"""Regret: what a search and what it recommends fall short of the best that can be had."""

import numpy as np


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
