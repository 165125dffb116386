import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pdt_lightning.tasks import check_family, make_family
from pdt_lightning.tasks.half_cheetah import (
    VELOCITIES,
    HalfCheetahDirectionEnv,
    HalfCheetahVelocityEnv,
    direction_task,
    velocity_task,
)


@pytest.mark.parametrize("make", [HalfCheetahVelocityEnv, HalfCheetahDirectionEnv])
def test_passes_gymnasiums_checker(make):
    env = make(1.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*observation space (minimum|maximum) value|.*Box observation space")
        check_env(env, skip_render_check=True)
    env.close()


def test_the_tasks_are_the_published_ones():
    assert len(VELOCITIES) == 40
    assert np.allclose(VELOCITIES[[0, 2, 39]], [0.075, 0.225, 3.0])
    env = velocity_task(26).make_env()
    assert isinstance(env.unwrapped, HalfCheetahVelocityEnv)
    assert env.unwrapped.velocity == VELOCITIES[26]


def test_the_reward_is_for_the_targets_velocity_and_against_effort():
    env, plain = velocity_task(10).make_env(), gym.make("HalfCheetah-v5")
    env.reset(seed=3)
    plain.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        expected, _, _, _, info = plain.step(action)
        assert np.allclose(observation[:17], expected)
        assert np.isclose(reward, -abs(info["x_velocity"] - VELOCITIES[10]) - 0.05 * np.square(action).sum())
        assert not terminated
        assert not truncated
    assert observation[17] > -5  # the torso's x, from where it started
    assert np.isclose(observation[18], 0)  # the cheetah runs in a plane


@pytest.mark.parametrize("number", [0, 1])
def test_the_reward_is_for_the_direction(number):
    env, plain = direction_task(number).make_env(), gym.make("HalfCheetah-v5")
    env.reset(seed=3)
    plain.reset(seed=3)
    rng = np.random.default_rng(0)
    for _ in range(5):
        action = rng.uniform(-1, 1, 6).astype(np.float32)
        _, reward, *_ = env.step(action)
        *_, info = plain.step(action)
        assert np.isclose(reward, (1, -1)[number] * info["x_velocity"] - 0.05 * np.square(action).sum())


def test_an_episode_goes_on_from_what_was_observed():
    env, other = velocity_task(10).make_env(), velocity_task(10).make_env()
    env.reset(seed=0)
    other.reset(seed=1)
    action = np.full(6, 0.3, np.float32)
    for _ in range(5):
        observation, *_ = env.step(action)
    expected, reward, *_ = env.step(action)
    other.unwrapped.set_observed(observation)
    again, reward_again, *_ = other.unwrapped.step(action)
    assert np.allclose(again[:17], expected[:17], atol=1e-3)
    assert np.isclose(reward_again, reward, atol=1e-3)


def test_splits():
    family = make_family("half-cheetah-vel")
    assert [task.id for task in family.heldout_tasks] == [f"half-cheetah-vel/{n:02d}" for n in (2, 7, 15, 23, 26)]
    assert len(family.training_tasks) == 35
    assert not {task.id for task in family.training_tasks} & {task.id for task in family.heldout_tasks}
    assert {(task.horizon, task.target_return, task.return_scale) for task in family.tasks} == {(200, 0, 500)}
    itself = make_family("half-cheetah-vel", {"split": "training"})
    assert itself.heldout_tasks == itself.training_tasks
    assert itself.heldout_tasks[0].prompt_data != itself.heldout_tasks[0].training_data
    both = make_family("half-cheetah-dir")
    assert both.training_tasks == both.heldout_tasks == both.tasks
    assert [task.env_kwargs["direction"] for task in both.tasks] == [1, -1]
    assert {(task.horizon, task.target_return, task.return_scale) for task in both.tasks} == {(200, 1500, 1000)}


@pytest.mark.parametrize("name", ["half-cheetah-vel", "half-cheetah-dir"])
def test_the_family_keeps_the_contract(name):
    check_family(make_family(name))
