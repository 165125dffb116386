"""Spaces as flat vectors: observations as the model sees them, their parts in one order whatever order was declared."""

import json
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Space, Tuple
from minari.serialization import deserialize_space, serialize_space

SMALLEST_IMAGE = 32  # pixels on a side, as for Minari; grids of cells are smaller
LARGEST = 1_000_000  # numbers in a vector


def parts_of(space: Space) -> list[tuple[Any, Space]]:
    """Key and space of each part of a Dict, by name, or of a Tuple, by place: the one order of parts everywhere."""
    return sorted(space.spaces.items()) if isinstance(space, Dict) else list(enumerate(space.spaces))


def unsupported(space: Space) -> str | None:
    """Why a space of observations cannot become a flat vector; None where it can."""
    if isinstance(space, Dict | Tuple):
        return next((reason for _, part in parts_of(space) if (reason := unsupported(part))), None)
    if isinstance(space, Box) and space.dtype == np.uint8 and sum(size >= SMALLEST_IMAGE for size in space.shape) >= 2:
        return "images are not supported: wrap the environment in an encoder that makes vectors of them"
    if isinstance(space, Box | Discrete | MultiDiscrete | MultiBinary):
        return too_large(space)
    return "use Box, Discrete, MultiDiscrete or MultiBinary, or a Dict or Tuple of them"


def too_large(space: Space) -> str | None:
    """What is wrong with a space whose vectors would have more than `LARGEST` numbers; None with others."""
    return None if (size := flat_size(space)) <= LARGEST else f"{size:,} numbers are too many: encode them in fewer"


def options_in(space: Discrete | MultiDiscrete) -> list[int]:
    """How many options each number of a set has.

    >>> options_in(Discrete(3, start=5)), options_in(MultiDiscrete([[2], [3]]))
    ([3], [2, 3])
    """
    sizes: Any = space.n if isinstance(space, Discrete) else space.nvec
    return np.reshape(sizes, -1).tolist()


def one_hot(numbers: np.ndarray, options: Sequence[int]) -> np.ndarray:
    """`(..., sum of options)` float64: a one-hot vector for each of `numbers (..., len(options))`, side by side.

    >>> one_hot(np.array([1, 0]), [2, 3]).tolist()
    [0.0, 1.0, 1.0, 0.0, 0.0]
    """
    parts = [numbers[..., [k]] == np.arange(n) for k, n in enumerate(options)]
    return np.concatenate(parts, axis=-1).astype(np.float64)


def flatten(values: Any, space: Space) -> np.ndarray:
    """Observations as `(..., S)`, for any number of leading dimensions.

    Parts come by name, numbers of a set as one-hot vectors; a Box of one dimension stays as it is, dtype included.

    Raises:
        ValueError: on values of another shape than the space's, and on numbers that are not of the set.

    >>> space = Dict(b=Box(-9, 9, (1,)), a=Box(-9, 9, (1, 2)))
    >>> flatten({"b": np.array([3.0]), "a": np.array([[1.0, 2.0]])}, space).tolist()
    [1.0, 2.0, 3.0]
    >>> flatten(np.array([5, 6]), Discrete(3, start=5)).tolist()
    [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0]]
    """
    if isinstance(space, Dict | Tuple):
        return np.concatenate([flatten(values[key], part) for key, part in parts_of(space)], axis=-1)
    array = np.asarray(values)
    shape = space.shape or ()
    leading = array.shape[: array.ndim - len(shape)]
    if array.shape[len(leading) :] != shape:
        raise ValueError(f"values of shape {array.shape} are not of {space}")
    array = array.reshape(*leading, -1)
    if isinstance(space, Discrete | MultiDiscrete):
        options, numbers = options_in(space), array - np.reshape(space.start, -1)
        if not ((numbers >= 0) & (numbers < options) & (numbers == np.rint(numbers))).all():  # NaN too
            raise ValueError(f"values from {array.min()} to {array.max()} are not all of {space}")
        return one_hot(numbers, options)
    return array.astype(np.float64) if isinstance(space, MultiBinary) else array


def flat_size(space: Space) -> int:
    """`S`."""
    return int(gym.spaces.flatdim(space))


def from_gymnasium(space: Space) -> np.ndarray:
    """`(S,)`: where each number of ours stands in the vector that Gymnasium's `FlattenObservation` makes.

    That one takes the parts in the declared order.

    >>> from_gymnasium(Dict([("b", Box(-1, 1, (1,))), ("a", Box(-1, 1, (2,)))])).tolist()
    [1, 2, 0]
    """
    if not isinstance(space, Dict | Tuple):
        return np.arange(flat_size(space))
    declared = list(space.spaces) if isinstance(space, Dict) else list(range(len(space.spaces)))
    starts = np.cumsum([0, *(flat_size(space[key]) for key in declared)])
    return np.concatenate([starts[declared.index(key)] + from_gymnasium(part) for key, part in parts_of(space)])


def to_text(space: Space) -> str:
    """A space as JSON, as Minari writes it, in the declared order."""
    return serialize_space(space)


def from_text(text: str) -> Space:
    """What `to_text` was given; Minari alone would sort the parts."""

    def ordered(space: Space, known: dict[str, Any]) -> Space:
        if isinstance(space, Dict):
            return Dict([(key, ordered(space[key], part)) for key, part in known["subspaces"].items()])
        if isinstance(space, Tuple):
            return Tuple([ordered(part, own) for part, own in zip(space.spaces, known["subspaces"], strict=True)])
        return space

    return ordered(deserialize_space(text), json.loads(text))


class Flat(gym.ObservationWrapper, gym.utils.RecordConstructorArgs):
    """Flat observations of an environment that has others; see `flatten`."""

    def __init__(self, env: gym.Env):
        gym.utils.RecordConstructorArgs.__init__(self)
        gym.ObservationWrapper.__init__(self, env)
        self.observation_space = Box(-np.inf, np.inf, (flat_size(env.observation_space),), np.float64)

    def observation(self, observation: Any) -> np.ndarray:
        """`(S,)`."""
        return flatten(observation, self.env.observation_space)


def flat_observations(env: gym.Env) -> gym.Env:
    """The environment with observations that are vectors; itself where they are."""
    return env if is_flat(env.observation_space) else Flat(env)


def is_flat(space: Space) -> bool:
    """Whether observations of a space are vectors already."""
    return isinstance(space, Box) and len(space.shape) == 1


def difference(recorded: Space, own: Space) -> str | None:
    """What tells two spaces apart that would make their values mean different things; None: nothing.

    Neither the order of parts nor the precision of numbers, nor a bound that only one of them has.

    >>> difference(Dict(x=Box(-1, 1, (1,)), y=Box(-1, 1, (1,))), Dict(x=Box(-1, 1, (1,)), z=Box(-1, 1, (1,))))
    'parts x, y against x, z'
    """
    if isinstance(recorded, Dict | Tuple) and type(recorded) is type(own):
        ours, theirs = dict(parts_of(recorded)), dict(parts_of(own))
        if list(ours) != list(theirs):
            return f"parts {', '.join(map(str, ours))} against {', '.join(map(str, theirs))}"
        reasons = ((key, difference(ours[key], theirs[key])) for key in ours)
        return next((f"in part {key} {reason}" for key, reason in reasons if reason), None)
    same = type(recorded) is type(own) and recorded.shape == own.shape
    if same and isinstance(recorded, Box) and isinstance(own, Box):
        same = (recorded.dtype.kind in "iub") == (own.dtype.kind in "iub")
        for one, two in ((recorded.low, own.low), (recorded.high, own.high)):
            one, two = one.astype(np.float64), two.astype(np.float64)
            both = np.isfinite(one) & np.isfinite(two)
            same = same and bool(np.isclose(one[both], two[both], rtol=1e-3, atol=0).all())
    elif same:
        same = recorded == own
    return None if same else f"{recorded} against {own}"
