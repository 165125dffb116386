"""Rollout-free selection: prompts chosen by what the demonstrations themselves say, a cheap yardstick."""

from abc import abstractmethod
from typing import Self

import numpy as np
import torch

from pdt_lightning.data.segments import Segments
from pdt_lightning.data.windows import context_windows
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Choice, SegmentTuner

PROMPTS = 8  # random ones, over which the error of a segment is averaged
BLOCK = 256  # segments in a forward pass


class RolloutFree(SegmentTuner):
    """Asks for nothing, and recommends the segments of highest score that do not overlap.

    Args:
        segments: the arms.
        budget: ignored.
        rng: its only source of randomness.
        slots: `J`.
        policy: whose transformer is asked.
    """

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy):
        super().__init__(segments, 0, rng, slots)
        self.pick = self._top(self._scores(policy))

    @classmethod
    def make(cls, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy) -> Self:  # type: ignore[override]
        """With the policy."""
        return cls(segments, budget, rng, slots, policy)

    @abstractmethod
    def _scores(self, policy: Policy) -> np.ndarray:
        """`(N,)`, more is better."""

    def _top(self, scores: np.ndarray) -> Choice:
        segments, picked = self.segments, list[int]()
        for overlap in (False, True):  # where there are not enough apart from each other, any will do
            for number in map(int, np.argsort(-scores, kind="stable")):
                near = [
                    segments.episode[number] == segments.episode[other]
                    and abs(int(segments.start[number] - segments.start[other])) < segments.steps
                    for other in picked
                ]
                if len(picked) < self.slots and number not in picked and (overlap or not any(near)):
                    picked.append(number)
        return tuple(sorted(picked[n % len(picked)] for n in range(self.slots)))

    def _propose(self, n: int) -> list[Choice]:
        return []

    def _best(self) -> tuple[Choice, float]:
        return self.pick, float("nan")


class LargestError(RolloutFree):
    """Those on which the transformer errs most while it does not know the task well: with random prompts."""

    @torch.inference_mode()
    def _scores(self, policy: Policy) -> np.ndarray:
        segments, model, total = self.segments, policy.model, np.zeros(len(self.segments))
        device = model.state_mean.device
        for _ in range(PROMPTS):
            prompts = segments.gather(self.rng.integers(len(segments), size=(len(segments), self.slots)))
            for first in range(0, len(segments), BLOCK):
                own = slice(first, first + BLOCK)
                context, labels = context_windows(segments.episodes, segments.episode[own], segments.start[own], segments.steps)
                predicted = model(context.to(device), prompts[own].to(device))
                error = ((predicted - labels.to(device)) / model.action_half).float().square().mean((1, 2))
                total[own] += error.double().cpu().numpy()
        return total
