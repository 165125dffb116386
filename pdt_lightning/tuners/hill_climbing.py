"""Hill climbing: noise on the values of the best prompt so far, kept if it did better."""

from typing import Any

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import PositiveFloat
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.values import Average, MovingTuner


class HillClimbing(MovingTuner):
    """Recommends the prompt of the best rollout, however lucky that was, as published.

    Args:
        segments: where the first prompt is drawn from.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        policy: see `ValueTuner`.
        sigma: standard deviation of the noise, in normalised units.
        average: `none`, as published, or `gaussian`: recommends a weighted average of the best prompts so far, after
            each rollout.
        keep_start: whether the last quarter of the budget compares what was found with the prompt that it started from,
            which is recommended unless what was found does better.

    Source: the baseline of Rietz et al. 2025; `sigma` is ours, tuned on training tasks by `benchmarks/rivals.py`.
    """

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        sigma: PositiveFloat = 1.0,
        average: Average = "none",
        keep_start: bool = False,
    ):
        super().__init__(segments, budget, rng, slots, policy, average, keep_start)
        self.sigma = sigma
        self.top, self.top_value = self.space.start, -np.inf

    def _move(self, n: int) -> list[np.ndarray]:
        """The first of all is the prompt it starts from."""
        return [
            self.space.neighbour(self.top, self.rng, self.sigma) if number else self.top
            for number in range(self.asked, self.asked + n)
        ]

    def _take(self, point: np.ndarray, value: float | None) -> bool:
        """A rollout that failed did not do better."""
        if value is not None and value > self.top_value:
            self.top, self.top_value = point, value
        return True

    def _at(self) -> tuple[np.ndarray, float]:
        return self.top, self.top_value

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and the best so far."""
        return {**super().state_dict(), "top": plain(self.top), "top_value": self.top_value}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.top, self.top_value = self.space.restored(state["top"]), state["top_value"]
