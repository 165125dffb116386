import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pdt_lightning.tasks import make_family
from pdt_lightning.tasks.point import GOAL_POSITIONS, PointEnv, walk


def test_passes_gymnasiums_checker():
    check_env(PointEnv(3), skip_render_check=True)
    assert PointEnv(3).reset(seed=0)[0].shape == (2,)


def test_split_is_the_documented_one():
    family = make_family("point")
    assert [task.id for task in family.heldout_tasks] == ["point/03", "point/07", "point/11"]
    assert len(family.training_tasks) == 13


@pytest.mark.parametrize("goal", range(16))
def test_the_expert_reaches_the_optimum(goal):
    env = PointEnv(goal)
    state, _ = env.reset(seed=goal)
    expert = walk(env)
    total, done = 0.0, False
    while not done:
        state, reward, terminated, truncated, info = env.step(expert(state))
        total, done = total + reward, terminated or truncated
    assert total == 10.0
    assert info["success"] == 1.0
    assert terminated


def test_touching_another_goal_costs_ten_and_ends():
    env = PointEnv(3)
    env.reset(seed=0)
    env.position = GOAL_POSITIONS[9] - np.array([0.15, 0.0])
    _, reward, terminated, truncated, info = env.step(np.array([1.0, 0.0]))
    assert (reward, terminated, truncated, info["success"]) == (-10.0, True, False, 0.0)


def test_actions_are_held_to_the_unit_disc():
    env = PointEnv(3)
    start, _ = env.reset(seed=0)
    state, *_ = env.step(np.array([1.0, 1.0]))
    assert np.linalg.norm(state - start) == pytest.approx(0.1)


def test_the_horizon_truncates():
    env = PointEnv(3, horizon=2)
    env.reset(seed=0)
    assert env.step(np.zeros(2))[2:4] == (False, False)
    assert env.step(np.zeros(2))[2:4] == (False, True)
