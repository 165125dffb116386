"""ZO-RankSGD: a gradient from the order in which perturbed prompts did."""

from typing import Any

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import PositiveFloat, PositiveInt
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.values import Average, MovingTuner


def rank_gradient(noises: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Mean of `noise_j - noise_i` over all pairs in which `i` did better than `j`: it points away from what is good.

    Args:
        noises: `(m, n)`.
        values: `(m,)`, more is better; pairs of equal ones say nothing.

    Returns:
        `(n,)`; zero where no pair says anything.

    >>> rank_gradient(np.array([[1.0], [2.0], [4.0]]), np.array([0.0, 5.0, 5.0]))
    array([-2.])
    """
    better = values[:, None] > values  # (i, j)
    weights = better.sum(axis=0) - better.sum(axis=1)
    return weights @ noises / max(1, int(better.sum()))


class ZORankSGD(MovingTuner):
    """Steps of `rollouts` perturbations of the current prompt, which is what it recommends.

    A step costs as many rollouts of the budget; a last one that the budget cuts short is not taken.

    Args:
        segments: where the first prompt is drawn from.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        policy: see `ValueTuner`.
        rollouts: `m`, of a step.
        mu: size of the perturbations, in normalised units.
        rate: `eta`, of the descent.
        average: `none`, as published, or `gaussian`: recommends a weighted average of where each step led.
        keep_start: whether the last quarter of the budget compares what was found with the prompt that it started from,
            which is recommended unless what was found does better.

    Source: Hu et al. 2023 (Prompt-Tuning DT, arXiv 2305.09648); estimator of Tang et al. 2023. The three numbers are
    ours, tuned on training tasks by `benchmarks/rivals.py`.
    """

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        rollouts: PositiveInt = 10,
        mu: PositiveFloat = 0.3,
        rate: PositiveFloat = 0.1,
        average: Average = "none",
        keep_start: bool = False,
    ):
        super().__init__(segments, budget, rng, slots, policy, average, keep_start)
        self.rollouts, self.mu, self.rate = rollouts, mu, rate
        self.current = self.space.start
        self.step: list[tuple[np.ndarray, float | None]] = []  # points and values of this step; None: it failed
        self.worth = float("nan")  # mean of the last step's

    def _move(self, n: int) -> list[np.ndarray]:
        """No more than the step has left: the next one depends on how this one ends."""
        left = self.rollouts - self.asked % self.rollouts
        if left == self.rollouts and self.pending:
            return []
        return [self.space.neighbour(self.current, self.rng, self.mu) for _ in range(min(n, left))]

    def _take(self, point: np.ndarray, value: float | None) -> bool:
        self.step.append((point, value))
        if len(self.step) < self.rollouts:
            return False
        points, values = np.array([tried for tried, _ in self.step]), self._step_values
        self.current = self.current - self.rate * rank_gradient((points - self.current) / self.mu, np.array(values))
        self.worth, self.step = float(np.mean(values)), []
        return True

    @property
    def _step_values(self) -> list[float]:
        return self._counted([value for _, value in self.step])

    def _at(self) -> tuple[np.ndarray, float]:
        return self.current, float(np.mean(self._step_values)) if self.step else self.worth

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and where the descent stands."""
        own = {"current": self.current, "step": self.step, "worth": self.worth}
        return {**super().state_dict(), **plain(own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.current, self.worth = self.space.restored(state["current"]), state["worth"]
        self.step = [(self.space.restored(point), value) for point, value in state["step"]]
