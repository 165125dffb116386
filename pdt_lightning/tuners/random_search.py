"""Random search: uniform prompts, and the same recommendation rule and budget as the bandit."""

import numpy as np

from pdt_lightning.data.segments import Segments
from pdt_lightning.tuners.base import Choice
from pdt_lightning.tuners.recommend import Finalists, worths


class RandomSearch(Finalists):
    """Tries uniform prompts, then re-tries the best of them."""

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        super().__init__(segments, budget, rng, slots)
        self.pick = self._random_choice()  # what it recommends before it knows anything

    def _explore(self, number: int, open_ones: list[Choice]) -> Choice:
        return self._random_choice()

    def _estimates(self) -> dict[Choice, float]:
        return worths(self.choices, self.outcomes)

    def _best(self) -> tuple[Choice, float]:
        return super()._best() if self.outcomes else (self.pick, float("nan"))
