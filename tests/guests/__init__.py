"""A tiny package of a user's, with a tuner, a reward model, features, a transformer and an engine of its own."""

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.model import PromptDecisionTransformer
from pdt_lightning.rollouts.engine import Played, RolloutEngine
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Outcome, Row, rollout
from pdt_lightning.tuners import SegmentTuner
from pdt_lightning.tuners.base import Choice
from pdt_lightning.tuners.reward_models import RewardModel


class Every(SegmentTuner):
    """Tries every `stride`-th segment in all slots, and recommends the one that did best.

    Args:
        segments: the arms.
        budget: rollouts.
        rng: unused.
        slots: `J`.
        stride: segments from one that is tried to the next.
    """

    def __init__(self, segments, budget: int, rng: np.random.Generator, slots: int, stride: int = 1):
        super().__init__(segments, budget, rng, slots)
        self.stride = stride

    def _propose(self, n: int) -> list[Choice]:
        return [
            ((number * self.stride) % len(self.segments),) * self.slots for number in range(self.asked, self.asked + n)
        ]

    def _best(self) -> tuple[Choice, float]:
        if not self.outcomes:
            return (0,) * self.slots, float("nan")
        best = int(np.argmax(self.outcomes))
        return self.choices[best], self.outcomes[best]


class Unfinished(SegmentTuner):
    """Lacks `_best`."""

    def _propose(self, n: int) -> list[Choice]:
        return []


class Flat(RewardModel):
    """Holds that all segments are alike."""

    def fit(self, choices: np.ndarray, returns: np.ndarray, rng: np.random.Generator) -> None:
        """Nothing is learned."""

    def mean(self) -> np.ndarray:
        """Zero."""
        return np.zeros((self.slots, len(self.features)))

    def sample(self, rng: np.random.Generator) -> np.ndarray:
        """Noise."""
        return rng.normal(size=(self.slots, len(self.features)))

    def deviation(self, expected: Sequence[Choice] = ()) -> np.ndarray:
        """One."""
        return np.ones((self.slots, len(self.features)))


def first_state(prompts: Prompt, policy: Policy) -> Any:
    """The state in which a prompt begins."""
    return prompts.states[:, 0].numpy()


class Reactive(PromptDecisionTransformer):
    """Acts on the state alone and on the mean of the prompt's states; there is no attention in it.

    Args:
        hidden: width of the perceptron.
        **sizes: as for every transformer.
    """

    def __init__(self, *, hidden: int = 8, **sizes: Any):
        super().__init__(**sizes)
        width = self.head.in_features
        self.transformer = nn.Sequential(nn.Linear(2 * width, hidden), nn.ReLU(), nn.Linear(hidden, width))
        self.hidden = hidden

    def _told(self, prompt: Prompt) -> Tensor:
        return self.embed_prompt.state(self.normalise_states(prompt.states)).mean(dim=1)

    def _acted(self, states: Tensor, told: Tensor) -> Tensor:
        seen = self.embed_context.state(self.normalise_states(states))
        return self._act(self.transformer(torch.cat([seen, told.expand_as(seen)], dim=-1)))

    def forward(self, context: Steps, prompt: Prompt | None) -> Tensor:
        """At every step."""
        return self._acted(context.states, self._told(prompt)[:, None])

    def folded(self) -> None:
        """Nothing is kept."""

    def memory(self, prompt: Prompt, context_steps: int, folded: Any = None) -> Tensor:
        """What the prompt tells; steps are forgotten."""
        return self._told(prompt)

    def act(
        self, memory: Tensor, before: Tensor | None, returns_to_go: Tensor, states: Tensor, timestep: int
    ) -> Tensor:
        """On the state."""
        return self._acted(states, memory)

    def encode(self, steps: Prompt, first: Tensor, length: int, folded: Any = None) -> Tensor:
        """What the segments tell, each as a prompt."""
        return self._told(steps)[first[:, None] + torch.arange(length)].mean(dim=1)


class OfBoxes(Reactive):
    """Is written for actions in a box: it takes no choices."""

    def __init__(
        self,
        state_size,
        action_size,
        max_timesteps,
        width,
        layers,
        heads,
        inner,
        dropout,
        use_prompt,
        use_return_to_go,
        window_steps,
    ):
        given = {name: value for name, value in locals().items() if name not in ("self", "__class__")}
        super().__init__(**given)


class Crooked(Reactive):
    """Gives an action too few."""

    def act(self, *arguments: Any) -> Tensor:
        """All but the last coordinate."""
        return super().act(*arguments)[:, :-1]


class Broken(Reactive):
    """Cannot encode."""

    def encode(self, *arguments: Any) -> Tensor:
        """Nothing is there."""
        raise KeyError("segments")


class Lucky(RolloutEngine):
    """Plays nothing: what comes of an episode is decided by its task and its seed."""

    def blocks(self, policy: Policy, rows: Sequence[Row]) -> Iterator[Played]:
        """All at once."""
        won = [float((row.seed + int(row.task.id[-2:])) % 5 < 2) for row in rows]
        yield list(range(len(rows))), [Outcome(20 * success - 10, success, 10) for success in won]

    def close(self) -> None:
        """Nothing is open."""


class Backwards(RolloutEngine):
    """Plays one row after the other, the last one first; the first try of each seventh row of a list goes wrong."""

    played = 0  # rows, by all engines of this process

    def blocks(self, policy: Policy, rows: Sequence[Row]) -> Iterator[Played]:
        """Play."""
        for number in reversed(range(len(rows))):
            Backwards.played += 1
            outcomes: list[Outcome | None] = list(rollout(policy, [rows[number]], self.width))
            if number % 7 == 6:
                outcomes = [Outcome(0.0, None, 0, "ArithmeticError: it goes wrong")]
            yield [number], outcomes

    def close(self) -> None:
        """Nothing is open."""
