"""A tuner that perturbs the values of a prompt."""

from typing import Any

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Tuner
from pdt_lightning.tuners.spaces import Choice, Choices, Values


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
