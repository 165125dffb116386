"""Tuner: ask for prompts to try, tell how they did, and recommend the best. As in other black-box optimisers."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from pdt_lightning.data.segments import Prompt, Segments

Choice = tuple[int, ...]  # segment of each slot


@dataclass(frozen=True)
class Candidate:
    """A prompt to try.

    Args:
        id: by which its outcome is told.
        prompt: one prompt.
        choice: segment of each slot; None where the prompt is not made of segments as they are.
        predicted: what a model of the outcomes expects of it, before it is tried, in the outcomes' unit; NaN without one.
    """

    id: int
    prompt: Prompt
    choice: Choice | None
    predicted: float = float("nan")


class Tuner(ABC):
    """Finds a prompt for one task from the outcomes of at most `budget` rollouts.

    Args:
        segments: the arms.
        budget: rollouts that may be asked for.
        rng: its only source of randomness.
        slots: `J`, segments in a prompt.
    """

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int):
        self.segments, self.budget, self.rng, self.slots = segments, budget, rng, slots
        self.exploring = budget  # rollouts before those, if any, that try prompts again to tell the best of them
        self.asked = 0
        self.pending: dict[int, Choice] = {}
        self.told: list[int] = []  # ids, choices and values of the outcomes, in the order told
        self.choices: list[Choice] = []
        self.outcomes: list[float] = []

    def ask(self, n: int = 1) -> list[Candidate]:
        """At most `n` prompts to try, none when the budget is spent; each costs one of it."""
        candidates = []
        choices = self._propose(min(n, self.budget - self.asked))
        for choice, predicted in zip(choices, self._predict(choices), strict=True):
            self.pending[self.asked] = choice
            candidates.append(self._candidate(self.asked, choice, predicted))
            self.asked += 1
        return candidates

    def tell(self, outcomes: Sequence[tuple[int, float | None]]) -> None:
        """How candidates did.

        Args:
            outcomes: pairs of a candidate's id and its value, to be maximised; None: the rollout failed, which teaches nothing.

        Raises:
            KeyError: on an id that was not asked for, or told before.
        """
        for number, value in outcomes:
            choice = self.pending.pop(number)
            if value is not None:
                self.told.append(number)
                self.choices.append(choice)
                self.outcomes.append(float(value))

    def best(self) -> Candidate:
        """The recommended prompt; its id is -1."""
        return self._candidate(-1, self._best()[0])

    def best_value(self) -> float:
        """What the recommended prompt is thought to be worth, in the outcomes' unit; NaN before any outcome."""
        return self._best()[1] if self.outcomes else float("nan")

    def estimates(self) -> np.ndarray | None:
        """`(J, N)` what is expected of a prompt with a segment in a slot and random ones in the others; None without a model."""
        return None

    def _predict(self, choices: Sequence[Choice]) -> Sequence[float]:
        """What a model of the outcomes expects of prompts; NaN without one."""
        return [float("nan")] * len(choices)

    @abstractmethod
    def _propose(self, n: int) -> list[Choice]:
        """`n` choices."""

    @abstractmethod
    def _best(self) -> tuple[Choice, float]:
        """The recommended choice and its estimated value."""

    def _candidate(self, number: int, choice: Choice, predicted: float = float("nan")) -> Candidate:
        return Candidate(number, self.segments.gather(np.array([choice])), choice, predicted)

    def _random_choice(self) -> Choice:
        return tuple(int(segment) for segment in self.rng.integers(len(self.segments), size=self.slots))

    def state_dict(self) -> dict[str, Any]:
        """Plain values from which `load_state_dict` goes on exactly here, pending candidates included."""
        return {
            "asked": self.asked,
            "pending": [[number, list(choice)] for number, choice in self.pending.items()],
            "told": list(self.told),
            "choices": [list(choice) for choice in self.choices],
            "outcomes": list(self.outcomes),
            "rng": _plain(self.rng.bit_generator.state),
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        self.asked = state["asked"]
        self.pending = {number: tuple(choice) for number, choice in state["pending"]}
        self.told = list(state["told"])
        self.choices = [tuple(choice) for choice in state["choices"]]
        self.outcomes = list(state["outcomes"])
        self.rng.bit_generator.state = state["rng"]


def _plain(value: Any) -> Any:
    """Nested dicts with arrays as lists, which a checkpoint read with `weights_only` accepts."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    return value.tolist() if isinstance(value, np.ndarray | np.generic) else value
