"""What is recorded is what was seen."""

import dataclasses

import gymnasium as gym
import minari as upstream
import numpy as np
import pytest

from pdt_lightning.data import minari
from pdt_lightning.data.collect import demonstrate
from pdt_lightning.tasks import Task, make_family
from pdt_lightning.tasks.base import Recipe
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


def by_number(env):
    """Goes right on a frozen lake, which is number 2."""
    return lambda observation: 2


def test_actions_of_an_expert_may_be_numbers(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    task = Task("lake/0", "FrozenLake-v1", {"is_slippery": False, "desc": ["SFFF", "FFFG"]}, horizon=6)
    recipe = Recipe(task, "training", 8, by_number, action_noise=0.5, expert_share=0.5)
    demonstrate(recipe)
    assert upstream.load_dataset(recipe.dataset_id).action_space == gym.spaces.Discrete(4)
    episodes = list(minari.read(recipe.dataset_id))
    for episode in episodes:
        assert (episode.states.shape[1], episode.actions.shape[1]) == (8, 4)
        assert (episode.actions.sum(axis=1) == 1).all()
    assert all((episode.labels == [0, 0, 1, 0]).all() for episode in episodes[:4])
    shares = [np.concatenate([one.actions for one in some]).mean(axis=0) for some in (episodes[:4], episodes[4:])]
    assert 0.6 < shares[0][2] < 1  # noise changes some
    assert shares[1][2] < 0.6  # of random ones a quarter
    env = task.make_env()
    assert env.reset(seed=0)[0].shape == (8,)
