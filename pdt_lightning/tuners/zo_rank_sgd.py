"""ZO-RankSGD: a gradient from the order in which perturbed prompts did."""

from typing import Any

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import PositiveFloat, PositiveInt
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.values import ValueTuner


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


class ZORankSGD(ValueTuner):
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

    Source: Hu et al. 2023 (Prompt-Tuning DT, arXiv 2305.09648); estimator of Tang et al. 2023. The last three are ours,
    tuned on training tasks by `benchmarks/rivals.py`.
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
    ):
        super().__init__(segments, budget, rng, slots, policy)
        self.rollouts, self.mu, self.rate = rollouts, mu, rate
        self.current = self.space.start
        self.step: list[tuple[np.ndarray, float | None]] = []  # points and values of this step; None: it failed
        self.worth = float("nan")  # mean of the last step's

    def _propose(self, n: int) -> list[np.ndarray]:
        """No more than the step has left: the next one depends on how this one ends."""
        if self.asked % self.rollouts == 0 and not self.pending:
            self._descend()
        left = self.rollouts - self.asked % self.rollouts
        if left == self.rollouts and self.pending:
            return []
        return [self.space.neighbour(self.current, self.rng, self.mu) for _ in range(min(n, left))]

    def _learn(self, proposal: np.ndarray, value: float) -> None:
        self.step.append((proposal, value))

    def _learn_failure(self, proposal: np.ndarray, worst: float) -> None:
        """What is worst may change within the step."""
        self.step.append((proposal, None))

    @property
    def _step_values(self) -> list[float]:
        return self._counted([value for _, value in self.step])

    def _descend(self) -> None:
        if self.step:
            self.current, self.worth, self.step = self._next(), float(np.mean(self._step_values)), []

    def _next(self) -> np.ndarray:
        points = np.array([point for point, _ in self.step])
        return self.current - self.rate * rank_gradient((points - self.current) / self.mu, np.array(self._step_values))

    def _best(self) -> tuple[np.ndarray, float]:
        """Where the step that has just ended leads."""
        whole = self.asked % self.rollouts == 0 and not self.pending and self.step
        return (self._next() if whole else self.current), (
            float(np.mean(self._step_values)) if self.step else self.worth
        )

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and where the descent stands."""
        own = {"current": self.current, "step": self.step, "worth": self.worth}
        return {**super().state_dict(), **plain(own)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.current, self.worth = self.space.restored(state["current"]), state["worth"]
        self.step = [(self.space.restored(point), value) for point, value in state["step"]]
