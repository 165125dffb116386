import warnings

import numpy as np
import pytest
from gymnasium.utils.env_checker import check_env

from pdt_lightning.tasks import make_family
from pdt_lightning.tasks.metaworld import HAND_PLANE, ML1Env, goals, scripted

POSITIONS = (-0.09, 0.61, 0.02, 0.04, 0.856, 0.053)


def play(env, seed, actions):
    states = [env.reset(seed=seed)[0]]
    for action in actions:
        states.append(env.step(action)[0])
    return np.array(states)


@pytest.fixture
def actions():
    return np.random.default_rng(0).uniform(-1, 1, (20, 4)).astype(np.float32)


def test_passes_gymnasiums_checker():
    env = ML1Env("pick-place-v3", POSITIONS)
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message=".*observation space (minimum|maximum) value|.*Box observation space")
        check_env(env, skip_render_check=True)
    assert env.reset(seed=0)[0].shape == (39,)
    env.close()


def test_the_goal_is_hidden_and_the_seed_moves_the_object_alone():
    env = ML1Env("pick-place-v3", POSITIONS, start_noise=0.01)
    first, second, again = (env.reset(seed=seed)[0] for seed in (0, 1, 0))
    assert np.array_equal(first, again)
    assert np.array_equal(first[-3:], np.zeros(3))
    assert 0 < np.abs(first[4:6] - second[4:6]).max() < 0.02
    assert np.allclose(env.goal, POSITIONS[3:])
    still = ML1Env("pick-place-v3", POSITIONS, start_noise=0.0)
    assert np.array_equal(still.reset(seed=0)[0], still.reset(seed=1)[0])


def test_figures_draw_demonstrations_along_the_hands_path(actions):
    env = ML1Env("pick-place-v3", POSITIONS)
    sideways, height = play(env, 0, actions)[-1][[number for number, _ in HAND_PLANE]]
    assert np.allclose([sideways, height], env.simulator.get_endeff_pos()[[0, 2]])


def test_a_simulator_used_before_plays_like_a_fresh_one(actions):
    fresh = ML1Env("pick-place-v3", POSITIONS)
    expected = play(fresh, 5, actions)
    used = ML1Env("pick-place-v3", (0.05, 0.65, 0.02, -0.05, 0.83, 0.2))
    play(used, 1, actions[:7])
    simulator = used.simulator
    used.close()
    reused = ML1Env("pick-place-v3", POSITIONS)
    assert reused.simulator is simulator
    assert np.array_equal(play(reused, 5, actions), expected)


def test_the_script_succeeds_within_the_horizon_and_the_horizon_truncates():
    env = ML1Env("pick-place-v3", POSITIONS, horizon=100)
    state, _ = env.reset(seed=0)
    expert = scripted(env)
    for step in range(100):
        state, _, terminated, truncated, info = env.step(expert(state))
        assert not terminated
        assert truncated == (step == 99)
    assert info["success"] == 1.0


def test_splits_and_options():
    published = make_family("metaworld", {"extra_goal_seeds": []})
    assert [task.id for task in published.heldout_tasks] == [f"pick-place-v3/{n}" for n in (11, 17, 25, 36, 41)]
    assert len(published.training_tasks) == 45
    assert len(make_family("metaworld").training_tasks) == 195
    positions = [task.env_kwargs["positions"] for task in make_family("metaworld").tasks]
    assert len(set(positions)) == 200


def test_another_environment_by_name():
    family = make_family("metaworld", {"env_name": "reach-v3", "extra_goal_seeds": [], "horizon": 30})
    env = family.heldout_tasks[0].make_env()
    assert env.reset(seed=0)[0].shape == (39,)
    env.close()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"env_name": "pick-plaice-v3"}, "env_name`=pick-plaice-v3.*pick-place-v3"),
        ({"horizon": 501}, "horizon`=501"),
        ({"start_noise": -0.1}, "start_noise`=-0.1"),
        ({"extra_demonstrations": 2}, "extra_demonstrations`=2"),
        ({"extra_goal_seeds": [1]}, "extra_goal_seeds"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_family("metaworld", options)


def test_goals_do_not_touch_the_global_generator():
    goals.cache_clear()
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    goals("reach-v3", 1)
    assert np.random.random() == expected  # noqa: NPY002
