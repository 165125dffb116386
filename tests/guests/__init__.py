"""A tiny package of a user's, with a tuner, a reward model and features of its own."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners import SegmentTuner
from pdt_lightning.tuners.base import Choice
from pdt_lightning.tuners.reward_models import RewardModel


class Every(SegmentTuner):
    """Tries every `stride`-th segment in all slots, and recommends the one that did best.

    Args:
        segments: the arms.
        budget: rollouts.
        rng: unused.
        slots: `J`.
        stride: segments from one that is tried to the next.
    """

    def __init__(self, segments, budget: int, rng: np.random.Generator, slots: int, stride: int = 1):
        super().__init__(segments, budget, rng, slots)
        self.stride = stride

    def _propose(self, n: int) -> list[Choice]:
        return [((number * self.stride) % len(self.segments),) * self.slots for number in range(self.asked, self.asked + n)]

    def _best(self) -> tuple[Choice, float]:
        if not self.outcomes:
            return (0,) * self.slots, float("nan")
        best = int(np.argmax(self.outcomes))
        return self.choices[best], self.outcomes[best]


class Unfinished(SegmentTuner):
    """Lacks `_best`."""

    def _propose(self, n: int) -> list[Choice]:
        return []


class Flat(RewardModel):
    """Holds that all segments are alike."""

    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """Nothing is learned."""

    def mean(self) -> np.ndarray:
        """Zero."""
        return np.zeros((self.slots, len(self.features)))

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Noise."""
        return rng.normal(size=(self.slots, len(self.features)))

    def deviation(self, expected: Sequence[Choice] = ()) -> np.ndarray:
        """One."""
        return np.ones((self.slots, len(self.features)))


def first_state(prompts: Prompt, policy: Policy) -> Any:
    """The state in which a prompt begins."""
    return prompts.states[:, 0].numpy()
