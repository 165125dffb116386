"""Random search: uniform prompts, and the same recommendation rule and budget as the bandit."""

import numpy as np

from pdt_lightning.data.segments import Segments
from pdt_lightning.tuners.base import Choice, Tuner
from pdt_lightning.tuners.recommend import SequentialHalving, by_choice, reserve, worth


class RandomSearch(Tuner):
    """Tries uniform prompts, then re-tries the best of them."""

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        super().__init__(segments, budget, rng, slots)
        self.exploring = budget - reserve(budget)
        self.halving = SequentialHalving(reserve(budget))
        self._pick = self._random_choice()  # what it recommends before it knows anything

    def _propose(self, n: int) -> list[Choice]:
        proposed: list[Choice] = []
        for number in range(self.asked, self.asked + n):
            if number < self.exploring or not self.outcomes:
                proposed.append(self._random_choice())
                continue
            counts = {choice: len(outcomes) for choice, outcomes in by_choice(self.choices, self.outcomes).items()}
            for choice in [*self.pending.values(), *proposed]:
                counts[choice] = counts.get(choice, 0) + 1
            proposed.append(self.halving.next(number - self.exploring, self._estimates(), counts))
        return proposed

    def _estimates(self) -> dict[Choice, float]:
        mean = float(np.mean(self.outcomes))
        return {choice: worth(mean, outcomes) for choice, outcomes in by_choice(self.choices, self.outcomes).items()}

    def _best(self) -> tuple[Choice, float]:
        if not self.outcomes:
            return self._pick, float("nan")
        estimates = self._estimates()
        choice = max(estimates, key=lambda c: estimates[c])
        return choice, estimates[choice]
