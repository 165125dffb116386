"""Means and bootstrap intervals."""

from collections.abc import Sequence

import numpy as np
from scipy import stats

from pdt_lightning.seeding import generator


def mean_interval(samples: Sequence[Sequence[float]], level: float = 0.95, resamples: int = 2000) -> tuple[float, float, float]:
    """Mean over groups of the groups' means, with a bootstrap interval stratified over the groups.

    Args:
        samples: for each group (task, say), its values.
        level: of the interval.
        resamples: of the bootstrap.

    Returns:
        Mean, lower and upper end.

    >>> mean_interval([[1.0, 1.0], [3.0, 3.0]])
    (2.0, 2.0, 2.0)
    """
    groups = [np.asarray(group, float) for group in samples]
    mean = float(np.mean([group.mean() for group in groups]))
    if all(len(group) < 2 or np.ptp(group) == 0 for group in groups):
        return mean, mean, mean
    # Percentile: the corrected intervals are undefined where a group is constant, as a solved task is.
    groups = [np.repeat(group, 2) if len(group) == 1 else group for group in groups]  # scipy refuses a single value
    result = stats.bootstrap(
        groups,
        lambda *parts, axis: np.mean([part.mean(axis=axis) for part in parts], axis=0),
        n_resamples=resamples,
        confidence_level=level,
        method="percentile",
        rng=generator(0, "bootstrap"),
    )
    return mean, float(result.confidence_interval.low), float(result.confidence_interval.high)
