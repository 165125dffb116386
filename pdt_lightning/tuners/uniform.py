"""No tuning: a fresh random prompt each time, which is Prompt-DT itself."""

from typing import Any

import numpy as np

from pdt_lightning.data.segments import Segments
from pdt_lightning.tuners.base import Choice, SegmentTuner


class Uniform(SegmentTuner):
    """Draws prompts uniformly over all windows and recommends another such draw."""

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        super().__init__(segments, budget, rng, slots)
        self._pick = self._random_choice()

    def _propose(self, n: int) -> list[Choice]:
        return [self._random_choice() for _ in range(n)]

    def _best(self) -> tuple[Choice, float]:
        return self._pick, float(np.mean(self.outcomes)) if self.outcomes else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and the prompt it recommends."""
        return {**super().state_dict(), "pick": list(self._pick)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self._pick = tuple(state["pick"])
