"""Tuners that search the values of a prompt, from one that is made of segments."""

from abc import abstractmethod
from typing import Any, Literal

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Tuner
from pdt_lightning.tuners.recommend import reserve
from pdt_lightning.tuners.spaces import Choice, Choices, Values

MEAN, SPREAD = 0.6, 0.6  # of the weights over steps, as shares of them; PromptSRC's for few examples
Average = Literal["none", "gaussian"]


def gaussian_weights(steps: int) -> np.ndarray:
    """`(steps,)` weights of the values after each step, of sum 1.

    Source: Khattak et al. 2023 (PromptSRC, arXiv 2307.06948).
    """
    weights = np.exp(-0.5 * np.square((np.arange(1, steps + 1) / steps - MEAN) / SPREAD))
    return weights / weights.sum()


class ValueTuner(Tuner):
    """Proposes values: vectors around those of the random prompt that it starts from.

    Args:
        segments: where the first prompt is drawn from.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        policy: whose model says what states and actions are normalised by.
    """

    space: Values

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy):
        super().__init__(segments, budget, rng, slots)
        self._model, self._choices = policy.model, Choices(segments, slots)
        self._begin(self._choices.sample(rng))

    def _begin(self, first: Choice) -> None:
        self.first = first
        self.space = Values(self._choices.prompt(first), self._choices.describe(first), self._model)

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and the segments of the first prompt."""
        return {**super().state_dict(), "first": plain(self.first)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self._begin(self._choices.restored(state["first"]))
        super().load_state_dict(state)


class MovingTuner(ValueTuner):
    """Moves step by step from the prompt that it starts from, and recommends where that has led.

    Args:
        segments: where the first prompt is drawn from.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        policy: see `ValueTuner`.
        average: `none`, or `gaussian`: what is recommended is the average of the values after each step, with the
            weights of `gaussian_weights`.
        keep_start: whether the prompt that it started from stays a finalist: the last quarter of the budget tries it
            and what was found equally often, and that is recommended only if it does better. Fewer than 8 rollouts are
            too few for that.

    Source: for the first prompt as a finalist, the arm that does nothing of OPTS (arXiv 2503.01163).
    """

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        average: Average,
        keep_start: bool,
    ):
        super().__init__(segments, budget, rng, slots, policy)
        self.average = average
        self.exploring = budget - (reserve(budget) // 2 * 2 if keep_start else 0)
        self.way: list[np.ndarray] = []  # where each step led, as far as it is averaged

    @abstractmethod
    def _move(self, n: int) -> list[np.ndarray]:
        """At most `n` points to try next; none while the next step depends on what is still open."""

    @abstractmethod
    def _take(self, point: np.ndarray, value: float | None) -> bool:
        """Take in the value of a point, None if the rollout failed; whether that ends a step."""

    @abstractmethod
    def _at(self) -> tuple[np.ndarray, float]:
        """Where the last step led, and what that is thought to be worth."""

    def _propose(self, n: int) -> list[np.ndarray]:
        if self.asked < self.exploring:
            return self._move(min(n, self.exploring - self.asked))
        if any(number < self.exploring for number in self.pending):
            return []
        finalists = self.space.start, self._found()
        return [finalists[self._finalist(number)] for number in range(self.asked, self.asked + n)]

    def _finalist(self, number: int) -> int:
        """Whom a rollout after those of exploration tries: 0 is the first prompt, 1 what was found."""
        return (number - self.exploring) % 2

    def _learn(self, proposal: np.ndarray, value: float) -> None:
        self._after(proposal, value)

    def _learn_failure(self, proposal: np.ndarray, worst: float) -> None:
        """What is worst may change until a step ends."""
        self._after(proposal, None)

    def _after(self, point: np.ndarray, value: float | None) -> None:
        if self.told[-1] < self.exploring and self._take(point, value) and self.average != "none":
            self.way.append(self._at()[0])

    def _found(self) -> np.ndarray:
        """What is recommended unless the first prompt does as well."""
        return gaussian_weights(len(self.way)) @ np.array(self.way) if self.way else self._at()[0]

    def _best(self) -> tuple[np.ndarray, float]:
        of_start, of_found = (
            [
                value
                for number, value in zip(self.told, self.outcomes, strict=True)
                if number >= self.exploring and self._finalist(number) == finalist
            ]
            for finalist in (0, 1)
        )
        if not (of_start and of_found):
            return self._found(), self._at()[1]
        start, found = float(np.mean(of_start)), float(np.mean(of_found))
        return (self._found(), found) if found > start else (self.space.start, start)

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and where the steps led."""
        return {**super().state_dict(), "way": plain(self.way)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.way = [self.space.restored(point) for point in state["way"]]
