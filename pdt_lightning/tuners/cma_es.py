"""CMA-ES over the values of a prompt, in a few random directions: black-box tuning."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pdt_lightning.core.ranges import PositiveFloat, PositiveInt, number
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.failures import counted
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.values import Average, MovingTuner

if TYPE_CHECKING:
    Population = int
else:
    Population = number(int, 2)


class CMAES(MovingTuner):
    """Generations of prompts around a mean, which is what it recommends.

    A single rollout is noisy, and the best of many is the luckiest one. The mean of the distribution is what pycma
    names as its favourite (`xfavorite`) where values are noisy. A last generation that the budget cuts short is not
    used.

    Args:
        segments: where the first prompt is drawn from.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        policy: see `ValueTuner`.
        sigma: standard deviation of the first generation's values, in normalised units.
        dimension: random directions in which values move together; with as many as there are values, each moves by
            itself.
        population: rollouts of a generation, no more than the budget.
        average: `none`, or `gaussian`: recommends a weighted average of the means after each generation.
        keep_start: whether the last quarter of the budget compares what was found with the prompt that it started from,
            which is recommended unless what was found does better.

    Source: Hansen and Ostermeier 2001, by the library pycma; the random directions are those of Sun et al. 2022 (BBT,
    arXiv 2201.03514), the population is that of its comparison by Yuan et al. 2024 (MGPO). `sigma` and `dimension` are
    ours, tuned on training tasks by `benchmarks/rivals.py`.
    """

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        sigma: PositiveFloat = 0.3,
        dimension: PositiveInt = 10,
        population: Population = 10,
        average: Average = "none",
        keep_start: bool = False,
    ):
        super().__init__(segments, budget, rng, slots, policy, average, keep_start)
        self.sigma, self.dimension = sigma, dimension
        self.population = min(population, max(2, self.exploring))
        self._set_out(int(rng.integers(2**31)))

    def _set_out(self, seed: int) -> None:
        import cma  # here, since it takes a second, for matplotlib

        self.seed, rng = seed, generator(seed, "cma_es")
        size = len(self.space.start)
        count = min(self.dimension, size)
        # Scaled so that every value has the standard deviation of a coordinate.
        self.directions = rng.standard_normal((size, count)) / np.sqrt(count) if count < size else np.eye(size)
        options: dict[str, Any] = {"popsize": self.population, "verbose": -9}
        options |= {"seed": np.nan, "randn": lambda *shape: rng.standard_normal(shape)}  # NumPy's global one stays
        self.strategy = cma.CMAEvolutionStrategy(np.zeros(count), self.sigma, options)
        self.generation: list[np.ndarray] = []  # coordinates of the prompts that are tried

    def _point(self, coordinates: np.ndarray) -> np.ndarray:
        return self.space.start + self.directions @ coordinates

    def _move(self, n: int) -> list[np.ndarray]:
        """No more than the generation has left: the next one depends on how this one ends."""
        place = self.asked % self.population
        if not place:
            if self.pending:
                return []
            self.generation = self.strategy.ask()
        return [self._point(coordinates) for coordinates in self.generation[place : place + n]]

    def _take(self, point: np.ndarray, value: float | None) -> bool:
        if len(self.told) % self.population:
            return False
        self._end_generation(len(self.told))
        return True

    def _end_generation(self, last: int) -> None:
        """Tell the strategy of the outcomes up to the `last` one; it minimises.

        Those that failed count as the worst that was known then.
        """
        own = slice(last - self.population, last)
        known = [self.outlook.worst, *(value for value in self.values[:last] if value is not None)]
        by_id = dict(zip(self.told[own], counted(self.values[own], known), strict=True))
        self.strategy.tell(self.generation, [-by_id[number] for number in sorted(by_id)])

    def _at(self) -> tuple[np.ndarray, float]:
        """The mean, worth as much as the last generation was on average."""
        tried = min(len(self.told), self.exploring)
        last = tried // self.population * self.population or tried
        own = self.outcomes[max(0, last - self.population) : last]
        return self._point(self.strategy.mean), float(np.mean(own)) if own else float("nan")

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and the seed: what the strategy knows follows from it and from the outcomes."""
        return {**super().state_dict(), "seed": self.seed}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave, by telling a fresh strategy of all outcomes once more."""
        super().load_state_dict(state)
        self._set_out(state["seed"])
        for first in range(0, min(self.asked, self.exploring), self.population):
            self.generation = self.strategy.ask()
            if first + self.population <= min(len(self.told), self.exploring):
                self._end_generation(first + self.population)
