"""What is recorded is what was seen."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from pdt_lightning.data import minari
from pdt_lightning.data.collect import demonstrate
from pdt_lightning.tasks import make_family
from pdt_lightning.tasks.point import PointEnv, walk


class Reusing(PointEnv):
    """Hands out one array at every step, in the type that is recorded, and reports success only when it happens."""

    def __init__(self, **options):
        super().__init__(**options)
        self.observation_space = gym.spaces.Box(-10.0, 10.0, (2,), np.float32)
        self.buffer = np.zeros(2, np.float32)

    def reset(self, **options):
        self.buffer[:] = super().reset(**options)[0]
        return self.buffer, {}

    def step(self, action):
        observation, *rest, info = super().step(action)
        self.buffer[:] = observation
        return self.buffer, *rest, ({"is_success": True} if info["success"] else {})


def reusing(env):
    """An expert that hands out one array too."""
    expert, buffer = walk(env), np.zeros(2, np.float32)

    def act(position):
        buffer[:] = expert(position)
        return buffer

    return act


@pytest.fixture
def environment():
    gym.register("test/Reusing-v0", entry_point="tests.data.test_collect:Reusing")
    yield
    del gym.registry["test/Reusing-v0"]


def test_an_environment_that_reuses_its_arrays_is_recorded_step_by_step(environment):
    recipe = next(iter(make_family("point", {"candidate_demonstrations": 2, "action_noise": 0.0}).recipes.values()))
    task = dataclasses.replace(recipe.task, env_id="test/Reusing-v0", id="reusing/00")
    changed = dataclasses.replace(recipe, task=task, expert=reusing, episodes=2)
    demonstrate(changed)
    for episode in minari.read(changed.dataset_id):
        # Full speed, as the labels say.
        assert np.allclose(np.diff(episode.states, axis=0), 0.1 * episode.labels[:-1], atol=1e-6)
        assert len(np.unique(episode.states, axis=0)) == len(episode.states) > 10
        assert len(np.unique(episode.labels, axis=0)) > 2
        assert episode.success == 1.0
