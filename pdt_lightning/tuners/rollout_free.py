"""Prompts chosen from what the demonstrations themselves say, without a rollout."""

import numpy as np

from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Choice, SegmentTuner
from pdt_lightning.tuners.prior import from_demonstrations


class RolloutFree(SegmentTuner):
    """Asks for nothing; a subclass sets `pick`, the segments that it recommends.

    Args:
        segments: the arms.
        budget: ignored.
        rng: its only source of randomness.
        slots: `J`.
    """

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        super().__init__(segments, 0, rng, slots)

    def _propose(self, n: int) -> list[Choice]:
        return []

    def _best(self) -> tuple[Choice, float]:
        return self.pick, float("nan")


class BestDemonstration(RolloutFree):
    """Random segments of the demonstration of highest success, or of those the one of highest return."""

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        super().__init__(segments, budget, rng, slots)
        # A demonstration that is shorter than a segment has none.
        best = next(number for number in segments.episodes.ranked() if (segments.episode == number).any())
        self.pick = tuple(rng.choice(np.flatnonzero(segments.episode == best), size=slots).tolist())


class DemonstrationLoss(RolloutFree):
    """The segments that let the frozen transformer predict the task's best demonstrations with the least error.

    With several slots a prompt starts from the best segment in all of them; then each slot in turn takes, of the best
    segments, the one with which the whole prompt does best.

    Args:
        segments: the arms.
        budget: ignored.
        rng: its only source of randomness.
        slots: `J`.
        policy: whose transformer is asked.
    """

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy):
        super().__init__(segments, budget, rng, slots)
        self.pick = from_demonstrations(segments, policy, slots).best
