"""No tuning: a fresh random prompt each time, which is Prompt-DT itself."""

import numpy as np

from pdt_lightning.data.segments import Segments
from pdt_lightning.tuners.base import Choice, SegmentTuner


class Uniform(SegmentTuner):
    """Draws prompts uniformly over all windows and recommends another such draw."""

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        super().__init__(segments, budget, rng, slots)
        self.pick = self._random_choice()

    def _propose(self, n: int) -> list[Choice]:
        return [self._random_choice() for _ in range(n)]

    def _best(self) -> tuple[Choice, float]:
        return self.pick, float(np.mean(self.outcomes)) if self.outcomes else float("nan")
