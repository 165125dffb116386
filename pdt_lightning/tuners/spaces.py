"""What tuners search: spaces, whose points mean prompts. Choices of segments are one kind, values another.

A prompt of any kind is a `Prompt`, whose values are saved, and its origin in words, which is shown. A new kind is a
class derived from `Space`, and a tuner that sets it as its `space`.
"""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.model.pdt import PromptDecisionTransformer

Choice = tuple[int, ...]  # segment of each slot
Tried = tuple[Choice, float | None]  # such a prompt and its outcome; None: the rollout failed


class Space(ABC):
    """Prompts of one kind that a tuner may propose, each by a point. What a point is, is the kind's own affair."""

    @abstractmethod
    def prompt(self, point: Any) -> Prompt:
        """The one prompt that a point means."""

    @abstractmethod
    def describe(self, point: Any) -> str:
        """In words, where that prompt comes from."""

    @abstractmethod
    def restored(self, values: Any) -> Any:
        """A point from the plain values that `core.plain.plain` made of it."""

    def made_of(self, point: Any) -> Choice:
        """The task's segments of which that prompt consists, as they are; empty where it consists of anything else."""
        return ()


class Choices(Space):
    """Segments by slot: a point is the number of each slot's segment.

    Args:
        segments: the arms.
        slots: `J`.
    """

    def __init__(self, segments: Segments, slots: int):
        self.segments, self.slots = segments, slots

    def sample(self, rng: np.random.Generator) -> Choice:
        """Segments drawn uniformly over all windows."""
        return tuple(rng.integers(len(self.segments), size=self.slots).tolist())

    def arms(self, point: Choice) -> Choice:
        """The number of each slot's segment: the point itself."""
        return point

    def made_of(self, point: Choice) -> Choice:
        """The same where all of them are the task's own."""
        arms = self.arms(point)
        return arms if max(arms) < self.segments.demonstrated else ()

    def prompt(self, point: Choice) -> Prompt:
        """The segments, one after the other."""
        return self.segments.gather(np.array([self.arms(point)]))

    def describe(self, point: Choice) -> str:
        """Each segment in words."""
        return "; ".join(self.segments.describe(segment) for segment in self.arms(point))

    def restored(self, values: Sequence[int]) -> Choice:
        """As a tuple again."""
        return tuple(values)


class Listed(Choices):
    """Whole prompts out of a list, as choices of one slot: a point is the number of one.

    Args:
        segments: what they are made of.
        choices: `(P, J)` of each prompt.
    """

    def __init__(self, segments: Segments, choices: np.ndarray):
        super().__init__(segments, choices.shape[1])
        self.choices = choices

    @classmethod
    def drawn(cls, segments: Segments, slots: int, count: int, rng: np.random.Generator) -> Self:
        """Random prompts, `count` of them; where prompts are of one segment, all there are."""
        whole = slots == 1
        return cls(
            segments,
            np.arange(len(segments))[:, None] if whole else rng.integers(len(segments), size=(count, slots)),
        )

    def sample(self, rng: np.random.Generator) -> Choice:
        """One of them."""
        return (int(rng.integers(len(self.choices))),)

    def arms(self, point: Choice) -> Choice:
        """In terms of segments, as for others."""
        return tuple(self.choices[point[0]].tolist())


def as_values(prompts: Prompt, model: PromptDecisionTransformer) -> Tensor:
    """`(B, n)` returns-to-go, states and actions of each prompt, in the units that the model normalises by, on CPU."""
    prompts = prompts.to(model.state_mean.device)
    states, actions = model.normalise_states(prompts.states), model.normalise_actions(prompts.actions)
    return torch.cat([part.flatten(1) for part in (prompts.returns_to_go, states, actions)], dim=1).cpu()


def as_prompts(values: Tensor, like: Prompt, model: PromptDecisionTransformer) -> Prompt:
    """The prompts that `as_values` makes such values of, through which gradients pass.

    Args:
        values: `(B, n)` float32, on the CPU.
        like: `B` prompts with their timesteps and mask, and with states of their type.
        model: says what states and actions are normalised by.
    """
    parts = (like.returns_to_go, like.states, like.actions)
    split = values.split([part[0].numel() for part in parts], dim=1)
    to_go, states, actions = (own.view_as(part) for own, part in zip(split, parts, strict=True))
    states = states.to(like.states.dtype) * model.state_std.cpu() + model.state_mean.cpu()
    actions = actions * model.action_half.cpu() + model.action_mid.cpu()
    return Prompt(to_go, states, actions, like.timesteps, like.mask)


class Values(Space):
    """Prompts around one: a point is the vector of their values, each in the units that the model normalises by.

    Values are returns-to-go, states and actions; timesteps and mask are those of the prompt around which they lie.

    Args:
        first: that prompt.
        near: in words, where it comes from.
        model: says what states and actions are normalised by.

    Attributes:
        start: `(n,)` float64 the point of that prompt.
    """

    def __init__(self, first: Prompt, near: str, model: PromptDecisionTransformer):
        self.first, self.near, self.model = first, near, model
        self.start = self.point(first)

    def point(self, prompt: Prompt) -> np.ndarray:
        """`(n,)` float64 of one prompt."""
        return as_values(prompt, self.model)[0].double().numpy()

    def neighbour(self, point: np.ndarray, rng: np.random.Generator, size: float) -> np.ndarray:
        """A point with Gaussian noise of standard deviation `size` on every value."""
        return point + size * rng.standard_normal(len(point))

    def prompt(self, point: np.ndarray) -> Prompt:
        """In the task's own units."""
        return self.of_tensor(torch.from_numpy(point))

    def of_tensor(self, point: Tensor) -> Prompt:
        """The same of a tensor `(n,)` on the CPU, through which gradients pass."""
        return as_prompts(point.float()[None], self.first, self.model)

    def describe(self, point: np.ndarray) -> str:
        """Where they began, and how far away a value is from there (root mean square)."""
        distance = float(np.sqrt(np.square(point - self.start).mean()))
        return f"values {distance:.2f} away from {self.near}" if distance else self.near

    def restored(self, values: Any) -> np.ndarray:
        """As an array again."""
        return np.array(values, np.float64)
