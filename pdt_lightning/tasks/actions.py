"""Actions as the model sees them: flat vectors, those of a box as they are, choices as one-hot vectors side by side."""

from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Discrete, MultiBinary, MultiDiscrete, Space

from pdt_lightning.tasks.spaces import flatten, is_flat, one_hot, options_in, too_large


class OneHot(Box):
    """Choices as vectors: a one-hot vector for each, side by side, in a box from -1 to 1.

    Whatever lies in the box stands for the options of its largest numbers, so that vectors drawn uniformly are uniform
    choices, and a choice with noise on it is a choice.

    Args:
        choices: number of options of each choice.
    """

    def __init__(self, choices: Sequence[int]):
        super().__init__(-1.0, 1.0, (sum(choices),), np.float32)
        self.choices = tuple(choices)

    def chosen(self, vectors: np.ndarray) -> np.ndarray:
        """`(..., choices)`: the option of each choice that `vectors (..., A)` stand for, from 0."""
        parts = np.split(vectors, np.cumsum(self.choices)[:-1], axis=-1)
        return np.stack([part.argmax(axis=-1) for part in parts], axis=-1)


def unsupported(space: Space) -> str | None:
    """Why actions of a space cannot be learned; None where they can."""
    if isinstance(space, Box | Discrete | MultiDiscrete | MultiBinary):
        return too_large(space)
    return "use Box, Discrete, MultiDiscrete or MultiBinary, such as by a gymnasium.ActionWrapper"


def flat_space(space: Space) -> Box:
    """The box of actions as vectors `(A,)`: a Box of one dimension itself, and of choices `OneHot`.

    >>> flat_space(MultiDiscrete([2, 3])).choices, flat_space(Box(-1, 1, (2, 3))).shape
    ((2, 3), (6,))
    """
    if isinstance(space, Box):
        kind: Any = space.dtype
        return space if is_flat(space) else Box(space.low.reshape(-1), space.high.reshape(-1), dtype=kind)
    return OneHot(options_in(_numbers(space)))


def choices_of(space: Space) -> tuple[int, ...]:
    """Number of options of each choice that an action of a space consists of; none where it is of a box."""
    flat = flat_space(space)
    return flat.choices if isinstance(flat, OneHot) else ()


def encode(actions: Any, space: Space) -> np.ndarray:
    """Actions of a space as `(..., A)`, for any number of leading dimensions; numbers of a box in their own type.

    Raises:
        ValueError: if they are not of the space; where numbers of a box lie is not looked at.

    >>> encode([6, 5], Discrete(3, start=5)).tolist()
    [[0.0, 1.0, 0.0], [1.0, 0.0, 0.0]]
    """
    return flatten(actions, space if isinstance(space, Box) else _numbers(space))


def as_action(vectors: np.ndarray, space: Space) -> Any:
    """The actions that `(..., A)` vectors stand for, in shape and type of the space.

    Numbers of a box are clipped, and rounded where they are whole; a choice is the largest of its numbers.

    >>> as_action(np.array([6.7, 99.0], np.float32), Box(0, 10, (2,), np.int64))
    array([ 7, 10])
    >>> int(as_action(np.array([0.1, 0.7, 0.2]), Discrete(3, start=5)))
    6
    """
    flat, kind, shape = flat_space(space), np.dtype(space.dtype), (*vectors.shape[:-1], *(space.shape or ()))
    if isinstance(space, OneHot):
        return one_hot(space.chosen(vectors), space.choices).astype(kind)
    if isinstance(flat, OneHot):
        numbers = flat.chosen(vectors).reshape(shape) + getattr(space, "start", 0)
        return numbers.astype(kind)[()]  # a single number of a single choice
    # In their own precision: NumPy's bounds of float32 leave float32 values float32.
    return as_type(np.clip(vectors, flat.low, flat.high), flat).reshape(shape)


def as_type(bounded: np.ndarray, space: Box) -> np.ndarray:
    """Values within an action box in its type; whole numbers are rounded."""
    kind = np.dtype(space.dtype)
    return (np.rint(bounded) if kind.kind in "iub" else bounded).astype(kind, copy=False)


class FlatActions(gym.ActionWrapper, gym.utils.RecordConstructorArgs):
    """An environment that takes its actions as vectors; see `as_action`."""

    def __init__(self, env: gym.Env):
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ActionWrapper.__init__(self, env)
        self.action_space = flat_space(env.action_space)

    def action(self, action: np.ndarray) -> Any:
        """What the environment takes."""
        return as_action(action, self.env.action_space)


def flat_actions(env: gym.Env) -> gym.Env:
    """The environment with actions that are vectors; itself where they are."""
    return env if is_flat(env.action_space) else FlatActions(env)


def _numbers(space: Space) -> Discrete | MultiDiscrete:
    """Choices as numbers of a set: those of a MultiBinary have two options each."""
    if isinstance(space, MultiBinary):
        return MultiDiscrete(np.full(space.shape, 2))
    assert isinstance(space, Discrete | MultiDiscrete)
    return space
