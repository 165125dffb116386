"""Segments, or whole prompts, by how alike they are."""

import warnings

import numpy as np
from scipy.cluster.vq import kmeans2


def clustered(points: np.ndarray, count: int, rng: np.random.Generator) -> np.ndarray:
    """`(P,)` cluster of each of the points `(P, F)`, by k-means: numbers from 0, each of which has a point.

    Args:
        points: what is divided.
        count: clusters, at most.
        rng: for the first centres.

    >>> clustered(np.array([[0.0], [0.1], [9.0]]), 2, np.random.default_rng(0)).tolist() in ([0, 0, 1], [1, 1, 0])
    True
    """
    count = min(count, len(np.unique(points, axis=0)))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of a cluster that loses all its points
        _, labels = kmeans2(points, count, minit="++", rng=rng)
    return np.unique(labels, return_inverse=True)[1]


def medoids(points: np.ndarray, count: int, rng: np.random.Generator) -> list[int]:
    """The point of each cluster that is nearest to the mean of all its points, the largest cluster first.

    Args:
        points: `(P, F)`.
        count: clusters, at most.
        rng: for the first centres.

    Source: as prototypes of a task, Wang et al. 2024 (SPT, arXiv 2402.02382), there of a prompt's tokens.

    >>> medoids(np.array([[0.0], [0.2], [0.3], [9.0]]), 2, np.random.default_rng(0))
    [1, 3]
    """
    clusters = clustered(points, count, rng)
    found = []
    for cluster in np.argsort(-np.bincount(clusters), kind="stable"):
        members = np.flatnonzero(clusters == cluster)
        distances = np.square(points[members] - points[members].mean(axis=0)).sum(axis=1)
        found.append(int(members[distances.argmin()]))
    return found
