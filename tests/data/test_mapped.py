import shutil

import gymnasium as gym
import numpy as np
import pytest

from pdt_lightning.core import cache
from pdt_lightning.data import mapped, minari
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.mapped import open_episodes
from tests.data.test_minari import episode, write


def same(one, other):
    assert np.array_equal(one.steps, other.steps)
    assert np.array_equal(one.task, other.task)
    for name, values in vars(one.index).items():
        assert np.array_equal(values, getattr(other.index, name), equal_nan=True), name


def test_what_is_mapped_is_what_the_datasets_hold():
    parts = {
        "test/mapped-a-v0": [episode(4), episode(6, success=None)],
        "test/mapped-b-v0": [episode(3)],
        "test/mapped-c-v0": [episode(7)],
    }
    for name, episodes in parts.items():
        write(name, episodes)
    one, two, three = parts.values()
    opened = open_episodes([["test/mapped-a-v0", "test/mapped-b-v0"], ["test/mapped-c-v0"]])
    same(opened, Episodes.build([[*one, *two], three], [1.0, 1.0]))
    assert isinstance(opened.steps, np.memmap)
    assert not opened.steps.flags.writeable
    executed = open_episodes([["test/mapped-c-v0"]], use_expert_actions=False)
    assert np.array_equal(executed.steps[:, 4:6], three[0].actions)


def test_it_is_made_once_and_again_when_a_dataset_changes(monkeypatch):
    made = []
    monkeypatch.setattr(mapped, "_make", lambda *args, make=mapped._make: made.append(1) or make(*args))
    write("test/changing-v0", [episode(4)])
    first = open_episodes([["test/changing-v0"]])
    open_episodes([["test/changing-v0"]])
    assert len(made) == 1
    shutil.rmtree(minari.path_of("test/changing-v0"))
    write("test/changing-v0", [episode(9)])
    assert len(open_episodes([["test/changing-v0"]]).steps) == 9
    assert len(made) == 2
    # Who has it open still reads the old one.
    assert np.array_equal(first.steps, Episodes.build([[episode(4)]], [1.0]).steps)
    monkeypatch.setattr(cache, "VERSION", cache.VERSION + 1)
    open_episodes([["test/changing-v0"]])
    assert len(made) == 3


def test_datasets_that_do_not_fit_together_are_named():
    write("test/fits-v0", [episode(4)])
    env = gym.make("pdt-lightning/HalfCheetahVelocity-v0", velocity=1.0)
    wide = minari.Demonstration(np.zeros((3, 20), np.float32), *(np.zeros((3, 6), np.float32),) * 2, np.zeros(3))
    minari.write("test/wide-v0", [wide], [np.zeros(20)], env, [False], "test")
    with pytest.raises(ValueError, match="test/wide-v0 has observations of size 20, but those of test/fits-v0 have 2"):
        open_episodes([["test/fits-v0"], ["test/wide-v0"]])
    with pytest.raises(FileNotFoundError, match="minari download test/none-v0"):
        open_episodes([["test/none-v0"]])
