"""What actions are to the model: how its last numbers become predictions and actions, and their distance to labels."""

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor
from torch.nn import functional


class Actions(Protocol):
    """One kind of action; `A` numbers each."""

    def predicted(self, outputs: Tensor, mid: Tensor, half: Tensor) -> Tensor:
        """`(..., A)` predictions from the head's `outputs (..., A)`; `mid` and `half` `(A,)` are the action box."""

    def decided(self, predicted: Tensor) -> Tensor:
        """`(..., A)` the actions to take, in the environment's unit, or one-hot."""

    def as_labels(self, predicted: Tensor) -> Tensor:
        """`(..., A)` predictions as labels, of which other predictions are the farther the more they differ."""

    def errors(self, predicted: Tensor, labels: Tensor, half: Tensor) -> Tensor:
        """`(...)` float32: how far predictions are from `labels (..., A)`; it is what training lowers."""


class BoxActions:
    """Actions in a box."""

    def predicted(self, outputs: Tensor, mid: Tensor, half: Tensor) -> Tensor:
        """The actions themselves."""
        return torch.tanh(outputs) * half + mid

    def decided(self, predicted: Tensor) -> Tensor:
        """As predicted."""
        return predicted

    def as_labels(self, predicted: Tensor) -> Tensor:
        """As predicted."""
        return predicted

    def errors(self, predicted: Tensor, labels: Tensor, half: Tensor) -> Tensor:
        """Squared error in half-widths of the box, mean over coordinates."""
        return ((predicted - labels) / half).float().square().mean(-1)


class DiscreteActions:
    """One-hot vectors side by side, each of a choice.

    Args:
        options: of each choice, how many there are.
    """

    def __init__(self, options: Sequence[int]):
        self.options = list(options)

    def predicted(self, outputs: Tensor, mid: Tensor, half: Tensor) -> Tensor:
        """Logarithms of the options' probabilities."""
        return torch.cat([part.log_softmax(-1) for part in outputs.float().split(self.options, -1)], -1)

    def decided(self, predicted: Tensor) -> Tensor:
        """The most probable options; not a number where a prediction is none."""
        parts = predicted.split(self.options, -1)
        chosen = [functional.one_hot(part.argmax(-1), part.shape[-1]) for part in parts]
        return torch.cat(chosen, -1) + 0.0 * predicted

    def as_labels(self, predicted: Tensor) -> Tensor:
        """The probabilities of the options."""
        return predicted.exp()

    def errors(self, predicted: Tensor, labels: Tensor, half: Tensor) -> Tensor:
        """Cross-entropy in nats, summed over the choices."""
        return -(labels * predicted).sum(-1)

    def chosen(self, vectors: Tensor) -> Tensor:
        """`(..., choices)` number of the largest of each choice's numbers, of predictions or labels `(..., A)`."""
        return torch.stack([part.argmax(-1) for part in vectors.split(self.options, -1)], -1)


def actions_of(choices: Sequence[int]) -> Actions:
    """The kind of action: of `choices`, options of each, or where there are none in a box."""
    return DiscreteActions(choices) if choices else BoxActions()
