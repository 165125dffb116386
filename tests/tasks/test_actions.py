"""Actions as vectors and back, and what no vector can be made of."""

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary, MultiDiscrete, Text, Tuple
from hypothesis import given, settings
from hypothesis import strategies as st

from pdt_lightning.tasks.actions import OneHot, as_action, choices_of, encode, flat_space, unsupported

SPACES = [
    (Discrete(4), (4,)),
    (Discrete(3, start=-7), (3,)),
    (MultiDiscrete([2, 5]), (2, 5)),
    (MultiDiscrete([[3, 2], [2, 4]], start=[[1, -1], [0, 9]]), (3, 2, 2, 4)),
    (MultiDiscrete([3, 3], dtype=np.int8), (3, 3)),
    (MultiBinary(3), (2, 2, 2)),
    (MultiBinary([2, 2]), (2, 2, 2, 2)),
    (Box(-2, 3, (2, 3), np.float32), ()),
    (Box(-2, 3, (4,), np.float64), ()),
    (Box(0, 9, (2, 1), np.int64), ()),
]


@pytest.mark.parametrize(("space", "choices"), SPACES, ids=lambda value: str(value).replace("\n", ""))
@settings(deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 4))
def test_what_is_encoded_is_acted(space, choices, seed, count):
    assert choices_of(space) == choices == choices_of(flat_space(space))
    space.seed(seed)
    actions = np.array([space.sample() for _ in range(count)])
    vectors = encode(actions, space)
    assert vectors.shape == (count, *flat_space(space).shape)
    if choices:
        assert vectors.sum(axis=1).tolist() == [len(choices)] * count
        assert set(np.unique(vectors)) <= {0.0, 1.0}
    again, one = as_action(vectors, space), as_action(vectors[0], space)
    assert np.array_equal(again, actions)
    assert np.array_equal(one, actions[0])
    assert space.contains(one)
    assert again.dtype == space.dtype
    assert np.array_equal(as_action(vectors, flat_space(space)), vectors)


def test_an_environment_gets_its_own_kind_of_action():
    """FrozenLake looks actions up by number."""
    action = as_action(np.array([0.1, 0.3, 0.9, 0.2]), Discrete(4))
    assert (action, type(action), action.shape) == (2, np.int64, ())
    assert {2: "right"}[action] == "right"


def test_noise_and_uniform_vectors_choose_evenly():
    drawn = np.random.default_rng(0).uniform(-1, 1, (9000, 5))
    counts = as_action(drawn, OneHot([2, 3])).mean(axis=0)
    assert counts == pytest.approx([1 / 2] * 2 + [1 / 3] * 3, abs=0.02)


@pytest.mark.parametrize(
    ("actions", "space", "words"),
    [
        ([0, 4], Discrete(4), r"from 0 to 4 are not all of Discrete\(4\)"),
        ([-1], Discrete(4), "from -1 to -1"),
        ([0.5], Discrete(4), "from 0.5 to 0.5"),
        ([np.nan], Discrete(4), "from nan"),
        ([[0, 3]], MultiDiscrete([2, 3]), "from 0 to 3"),
        ([[0, 2]], MultiBinary(2), "from 0 to 2"),
        ([[0, 1, 1]], MultiDiscrete([2, 3]), r"of shape \(1, 3\) are not of"),
        ([[0.0, 1.0]], Box(-1, 1, (2, 2)), r"of shape \(1, 2\) are not of"),
    ],
)
def test_what_is_not_of_the_space_is_refused(actions, space, words):
    with pytest.raises(ValueError, match=words):
        encode(actions, space)


@pytest.mark.parametrize("space", [Dict(a=Discrete(2)), Tuple([Discrete(2), Box(-1, 1, (1,))]), Text(3)])
def test_other_spaces_are_named(space):
    assert "use Box, Discrete, MultiDiscrete or MultiBinary" in unsupported(space)


def test_more_options_than_a_vector_holds_are_named():
    assert unsupported(Discrete(2_000_000)) == "2,000,000 numbers are too many: encode them in fewer"
    assert unsupported(gym.spaces.Discrete(500)) is None
