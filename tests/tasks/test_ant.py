import warnings

import gymnasium as gym
import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pdt_lightning.tasks import check_family, make_family
from pdt_lightning.tasks.ant import (
    ANKLE_SIGNS,
    DIRECTIONS,
    LEGS,
    QUARTER,
    AntDirectionEnv,
    _about_z,
    _rotated,
    direction_task,
)


def test_passes_gymnasiums_checker():
    env = AntDirectionEnv(1.0)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*observation space (minimum|maximum) value|.*Box observation space")
        check_env(env, skip_render_check=True)
    env.close()


def test_the_tasks_are_the_published_ones():
    assert len(DIRECTIONS) == 50
    assert (DIRECTIONS[0], DIRECTIONS[6], DIRECTIONS[49]) == (
        1.2033605945679715,
        0.2454395410534735,
        0.1831988121347493,
    )
    family = make_family("ant-dir")
    assert [task.id for task in family.heldout_tasks] == [f"ant-dir/{n:02d}" for n in (6, 17, 23, 30, 41)]
    assert len(family.training_tasks) == 45
    assert {(task.horizon, task.target_return, task.return_scale) for task in family.tasks} == {(200, 500, 500)}
    apart = make_family("ant-dir", {"split": "ood"})
    assert [int(task.id[-2:]) for task in apart.training_tasks] == [8, 13, 16, 20, 22, 26, 32, 37]
    assert [int(task.id[-2:]) for task in apart.heldout_tasks] == [1, 4, 41]


def test_observation_and_reward_are_the_published_ones():
    env, plain = direction_task(4).make_env(), gym.make("Ant-v5", include_cfrc_ext_in_observation=False)
    assert np.array_equal(env.reset(seed=3)[0], plain.reset(seed=3)[0])
    way = np.array([np.cos(DIRECTIONS[4]), np.sin(DIRECTIONS[4])])
    rng = np.random.default_rng(0)
    for _ in range(20):
        action = rng.uniform(-1, 1, 8).astype(np.float32)
        observation, reward, terminated, truncated, _ = env.step(action)
        expected, _, _, _, info = plain.step(action)
        assert np.array_equal(observation, expected)
        assert observation.shape == (27,)
        velocity = np.array([info["x_velocity"], info["y_velocity"]]) @ way
        contact = 5e-4 * np.square(np.clip(env.unwrapped.data.cfrc_ext, -1, 1)).sum()
        assert np.isclose(reward, velocity - 0.5 * np.square(action).sum() - contact + 1)
        assert not terminated
        assert not truncated


@pytest.mark.parametrize(("height", "over"), [(0.19, True), (0.75, False), (1.1, True)])
def test_it_ends_when_the_torso_is_too_low_or_too_high(height, over):
    env = AntDirectionEnv(0.0)
    observation, _ = env.reset(seed=0)
    observation[0], observation[13:] = height, 0.0
    env.set_observed(observation)
    assert env.is_healthy == (not over)
    assert env.step(np.zeros(8))[2] == (height > 1)  # the ground has pushed the low one up again


def quarter_turned(observation, turns):
    """The same ant, turned with the world around it: legs in each other's places."""
    turned, legs = observation.copy(), (LEGS - turns) % 4
    signs = np.stack([np.ones(4), ANKLE_SIGNS * ANKLE_SIGNS[legs]], axis=-1)
    turned[1:5] = _about_z(turns * QUARTER, _about_z(-turns * QUARTER, observation[1:5], own=True))
    turned[5:13] = (observation[5:13].reshape(4, 2)[legs] * signs).ravel()
    turned[19:] = (observation[19:].reshape(4, 2)[legs] * signs).ravel()
    turned[13:16], turned[16:19] = (
        _rotated(observation[part], turns * QUARTER) for part in (slice(13, 16), slice(16, 19))
    )
    return turned


@pytest.mark.parametrize("turns", [1, 2, 3])
def test_an_expert_sees_and_does_the_same_after_a_quarter_turn_of_everything(turns):
    env, turned = AntDirectionEnv(0.3), AntDirectionEnv(0.3 + turns * QUARTER)
    rng = np.random.default_rng(0)
    observation, _ = env.reset(seed=0)
    turned.reset(seed=0)
    for _ in range(5):
        observation, *_ = env.step(rng.uniform(-1, 1, 8))
    env.set_observed(observation)
    turned.set_observed(quarter_turned(observation, turns))
    for _ in range(5):
        action = rng.uniform(-1, 1, 8)
        one, reward, *_ = env.step(env.acted(action))
        other, reward_there, *_ = turned.step(turned.acted(action))
        assert np.allclose(env.shown(one), turned.shown(other), atol=1e-8)
        assert np.isclose(reward, reward_there)


def test_the_family_keeps_the_contract():
    check_family(make_family("ant-dir"))


def test_each_step_is_shown_in_a_window_only():
    env, shown = AntDirectionEnv(1.0), []
    env.render = lambda: shown.append(env.render_mode)
    env.reset(seed=0)
    for env.render_mode in (None, "rgb_array", "human"):
        env.step(np.zeros(8, np.float32))
    assert shown == ["human"]
