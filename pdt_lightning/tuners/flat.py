"""The flat bandit: one model over whole prompts, without slots. It shows what the structure buys."""

from typing import Any, Self

import numpy as np

from pdt_lightning.core.plain import plain
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.exploration import ExplorationName
from pdt_lightning.tuners.features import FeaturesName, features_of
from pdt_lightning.tuners.features import features as of_segments
from pdt_lightning.tuners.reward_models import RewardModelName
from pdt_lightning.tuners.spaces import Choice, Choices
from pdt_lightning.tuners.structured import StructuredBandit

POOL = 1000  # prompts: there are N^J of them, of which no more can be looked at in each round


class FlatBandit(StructuredBandit):
    """The structured bandit without a prior and without an early end, and with one slot, which takes a whole prompt.

    Args:
        segments: the arms.
        budget: rollouts.
        rng: its only source of randomness.
        slots: `J`. Where it is 1 the prompts are all segments, else `POOL` random ones.
        policy: whose transformer gives the features.
        features: `encoded` | `raw`, of whole prompts.
        reward_model: see `StructuredBandit`.
        exploration: likewise.
    """

    def __init__(
        self,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        features: FeaturesName = "encoded",
        reward_model: RewardModelName = "linear",
        exploration: ExplorationName = "thompson",
    ):
        count = len(segments)
        arms = np.arange(count)[:, None] if slots == 1 else rng.integers(count, size=(POOL, slots))
        whole = Listed(segments, arms)
        self._look = lambda: (
            of_segments(features, segments, policy)
            if slots == 1
            else features_of(features, segments.gather(whole.choices), policy)
        )
        super().__init__(segments, budget, rng, 1, self._look(), reward_model, exploration, tolerance=0.0)
        self.space: Listed = whole

    @classmethod
    def make(  # type: ignore[override]  # without slots there is no credit to give
        cls,
        segments: Segments,
        budget: int,
        rng: np.random.Generator,
        slots: int,
        policy: Policy,
        features: FeaturesName = "encoded",
        reward_model: RewardModelName = "linear",
        exploration: ExplorationName = "thompson",
    ) -> Self:
        """With the policy."""
        return cls(segments, budget, rng, slots, policy, features, reward_model, exploration)

    def estimates(self) -> np.ndarray | None:
        """None where whole prompts are no segments."""
        return super().estimates() if self.space.choices.shape[1] == 1 else None

    def state_dict(self) -> dict[str, Any]:
        """As for every bandit, and the prompts to choose from."""
        return {**super().state_dict(), "arms": plain(self.space.choices)}

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Take over what `state_dict` gave."""
        super().load_state_dict(state)
        self.space.choices = np.array(state["arms"])
        self.model = self._model(self._look())


class Listed(Choices):
    """Whole prompts out of a list, as choices of one slot: a point is the number of one.

    Args:
        segments: what they are made of.
        choices: `(P, J)` of each prompt.
    """

    def __init__(self, segments: Segments, choices: np.ndarray):
        super().__init__(segments, choices.shape[1])
        self.choices = choices

    def sample(self, rng: np.random.Generator) -> Choice:
        """One of them."""
        return (int(rng.integers(len(self.choices))),)

    def arms(self, point: Choice) -> Choice:
        """In terms of segments, as for others."""
        return tuple(self.choices[point[0]].tolist())
