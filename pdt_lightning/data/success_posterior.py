"""What is held of how often each training task is won, from a few rollouts between epochs."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

KEPT = 0.5  # of what was known, from one epoch to the next: the model has changed meanwhile
PRIOR = 1.0  # successes and failures, as if seen before the first rollout: all rates are alike likely


class SuccessPosterior:
    """A Beta distribution of each task's rate of success, which forgets.

    Args:
        tasks: `T`.

    Source: MoPPS (Qu et al. 2025, arXiv 2507.04632), where it is of training prompts of a language model; `KEPT` is
    that of two of its three published runs.
    """

    def __init__(self, tasks: int):
        self.won, self.lost = [PRIOR] * tasks, [PRIOR] * tasks

    def learn(self, successes: Sequence[float], episodes: int) -> None:
        """Count new episodes, and the old ones less.

        Args:
            successes: `(T,)` sums over the episodes of each task, whose success is from 0 to 1.
            episodes: of each task.

        >>> posterior = SuccessPosterior(1)
        >>> posterior.learn([3.0], 4)
        >>> posterior.won, posterior.lost
        ([4.0], [2.0])
        >>> posterior.learn([0.0], 4)
        >>> posterior.won, posterior.lost
        ([2.5], [5.5])
        """
        self.won = [KEPT * a + (1 - KEPT) * PRIOR + s for a, s in zip(self.won, map(float, successes), strict=True)]
        self.lost = [
            KEPT * b + (1 - KEPT) * PRIOR + episodes - s for b, s in zip(self.lost, map(float, successes), strict=True)
        ]

    def rates(self) -> np.ndarray:
        """`(T,)` expected rates of success."""
        won, lost = np.array(self.won), np.array(self.lost)
        return won / (won + lost)

    def nearness(self) -> np.ndarray:
        """`(T,)` how near each rate is to one half: 1 there, and 0 for a task that is always or never won."""
        return 1 - np.abs(2 * self.rates() - 1)

    def state_dict(self) -> dict[str, Any]:
        """Plain values."""
        return {"won": self.won, "lost": self.lost}

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from what `state_dict` gave."""
        self.won, self.lost = list(state["won"]), list(state["lost"])
