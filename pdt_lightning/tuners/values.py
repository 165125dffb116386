"""Prompts as points in a space of values, for tuners that perturb them."""

from typing import Any, Self

import numpy as np
import torch

from pdt_lightning.core.plain import plain
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.base import Candidate, Tuner


class ValueTuner(Tuner):
    """Proposes values: a prompt's returns-to-go, states and actions in one vector.

    Each is in the units that the model normalises by.

    Timesteps and mask are those of the random prompt that it starts from.

    Args:
        segments: where the first prompt is drawn from.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`.
        policy: whose model says what states and actions are normalised by.
    """

    def __init__(self, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy):
        super().__init__(segments, budget, rng, slots)
        self._model = policy.model
        self._begin(rng.integers(len(segments), size=slots))

    def _begin(self, choice: np.ndarray) -> None:
        self._choice, self._first = choice, self.segments.gather(choice[None])
        self.start = self._values(self._first)

    @classmethod
    def make(cls, segments: Segments, budget: int, rng: np.random.Generator, slots: int, policy: Policy) -> Self:  # type: ignore[override]
        """With the policy."""
        return cls(segments, budget, rng, slots, policy)

    def _values(self, prompt: Prompt) -> np.ndarray:
        prompt = prompt.to(self._model.state_mean.device)
        parts = (
            prompt.returns_to_go,
            self._model.normalise_states(prompt.states),
            self._model.normalise_actions(prompt.actions),
        )
        return torch.cat([part.flatten() for part in parts]).double().cpu().numpy()

    def _candidate(self, number: int, proposal: np.ndarray, predicted: float = float("nan")) -> Candidate:
        model, first = self._model, self._first
        parts = (first.returns_to_go, first.states, first.actions)
        split = torch.from_numpy(proposal).float().split([part.numel() for part in parts])
        to_go, states, actions = (values.view_as(part) for values, part in zip(split, parts, strict=True))
        states = states.to(first.states.dtype) * model.state_std.cpu() + model.state_mean.cpu()
        actions = actions * model.action_half.cpu() + model.action_mid.cpu()
        return Candidate(number, Prompt(to_go, states, actions, first.timesteps, first.mask), None, predicted)

    def _noise(self) -> np.ndarray:
        return self.rng.standard_normal(len(self.start))

    def state_dict(self) -> dict[str, Any]:
        """As for every tuner, and the segments of the first prompt."""
        return {**super().state_dict(), "first": plain(self._choice)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self._begin(np.array(state["first"]))

    def _restored(self, proposal: Any) -> np.ndarray:
        return np.array(proposal, np.float64)
