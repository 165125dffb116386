import warnings

import gymnasium as gym
import numpy as np
from gymnasium.utils.env_checker import check_env

from pdt_lightning.tasks.half_cheetah import VELOCITIES, HalfCheetahVelocityEnv, velocity_task


def test_passes_gymnasiums_checker():
    env = HalfCheetahVelocityEnv(1.0)
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
