"""What the model normalises states and actions by, taken from the episodes that it is trained on."""

from dataclasses import dataclass

import numpy as np

from pdt_lightning.data.episodes import Episodes, never_changes

FAR = 100.0  # times as wide as the demonstrated actions: no bound that anybody meant


@dataclass(frozen=True)
class Statistics:
    """What the model normalises by: mean and standard deviation of the states, middle and half-width of the action box.

    Args:
        state_mean: `(S,)` float32.
        state_std: `(S,)` float32; 1 where a coordinate never changes.
        action_mid: `(A,)` float32.
        action_half: `(A,)` float32, > 0.
    """

    state_mean: np.ndarray
    state_std: np.ndarray
    action_mid: np.ndarray
    action_half: np.ndarray

    @classmethod
    def of(cls, episodes: Episodes, members: np.ndarray, low: np.ndarray, high: np.ndarray) -> "Statistics":
        """From the episodes trained on.

        A bound of the action box that is infinite, or far beyond what was demonstrated, is replaced by that of the
        demonstrated actions. The unit does not count: what never changes is told by how numbers are rounded.

        Args:
            episodes: all there are.
            members: those to take.
            low: `(A,)` of the action box.
            high: `(A,)` of the action box.
        """
        mean, std = episodes.index.spread(members)
        ranges = episodes.index.ranges[members].astype(np.float64)
        middle, half = action_box(ranges[:, 0].min(axis=0), ranges[:, 1].max(axis=0), low, high)
        return cls(
            state_mean=mean.astype(np.float32),
            state_std=np.where(never_changes(mean, std), 1.0, std).astype(np.float32),
            action_mid=middle.astype(np.float32),
            action_half=half.astype(np.float32),
        )


def action_box(
    lowest: np.ndarray, highest: np.ndarray, low: np.ndarray, high: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Middle and half-width `(A,)` that actions are normalised by.

    Args:
        lowest: `(A,)` demonstrated action.
        highest: `(A,)` demonstrated action.
        low: `(A,)` of the action box.
        high: `(A,)` of the action box.

    >>> action_box(*np.array([[-0.5, -1.0], [0.5, 1.0], [-1.0, -1e6], [1.0, 1e6]]))
    (array([0., 0.]), array([1., 1.]))
    """
    low, high = (np.asarray(bound, np.float64) for bound in (low, high))
    shown = highest / 2 - lowest / 2
    # A coordinate that never changes is as wide as it is far from zero; one that is always zero, as wide as the
    # narrowest other.
    size = np.where(shown > 1e-6 * np.abs(highest + lowest), shown, np.abs(highest + lowest) / 2)
    others = size[size > 0].min(initial=np.inf)
    width = np.where(np.isfinite(high / 2 - low / 2), high / 2 - low / 2, np.inf).min(initial=np.inf)
    size = np.where(size > 0, size, others if np.isfinite(others) else width if 0 < width < np.inf else 1.0)
    low = np.where(lowest / 2 - low / 2 <= FAR * size, low, lowest)
    high = np.where(high / 2 - highest / 2 <= FAR * size, high, highest)
    half = high / 2 - low / 2
    return low + half, np.where(half > 1e-6 * size, half, size)
