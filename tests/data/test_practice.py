from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.practice import PracticeEnv, network_of, returns_of
from pdt_lightning.tasks.ant import DIRECTIONS, direction_task
from pdt_lightning.tasks.half_cheetah import VELOCITIES, HalfCheetahVelocityEnv, velocity_task
from pdt_lightning.tasks.learned import SHIPPED, Learned


def test_practice_draws_tasks_by_its_seed_and_shows_the_goal():
    tasks = [velocity_task(number) for number in range(40)]
    env, again, other = (PracticeEnv(tasks, seed, 0) for seed in (0, 0, 1))
    starts = [[one.reset()[0] for _ in range(10)] for one in (env, again, other)]
    assert np.array_equal(starts[0], starts[1])
    assert not np.array_equal(starts[0], starts[2])
    goals = np.array(starts[0])[:, -1]
    assert np.isin(goals, VELOCITIES.astype(np.float32)).all()
    assert len(set(goals)) > 5


def test_the_goal_that_is_shown_is_the_one_that_is_rewarded():
    practice = PracticeEnv([direction_task(4)], 0, 0)
    practice.reset()
    assert practice.bare.direction == DIRECTIONS[4]
    start = practice.bare.data.qpos.copy(), practice.bare.data.qvel.copy()
    action = np.linspace(-1, 1, 8).astype(np.float32)
    _, reward, *_ = practice.step(action)
    plain = direction_task(4).make_env().unwrapped
    plain.reset(seed=0)
    plain.set_state(*start)
    assert plain.step(plain.acted(action))[1] == pytest.approx(reward, abs=1e-4)


def test_an_argument_that_the_environment_does_not_keep_is_refused():
    class Forgetful(HalfCheetahVelocityEnv):
        def __init__(self, pace: float):
            super().__init__(pace)

    spec = gym.envs.registration.EnvSpec("forgetful/Env-v0", Forgetful)
    task = replace(velocity_task(3), env_id=spec, env_kwargs={"pace": 1.0})
    with pytest.raises(UserError, match=r"forgetful/Env-v0 has no attribute pace.*self.pace"):
        PracticeEnv([task], 0, 0)


def test_an_episode_of_practice_lasts_to_the_horizon():
    env = PracticeEnv([velocity_task(3)], 0, 0)
    env.reset()
    ends = [env.step(np.zeros(6, np.float32))[2:4] for _ in range(200)]
    assert ends == [(False, False)] * 199 + [(False, True)]


def test_the_network_acts_as_the_policy_that_was_trained():
    from stable_baselines3 import PPO
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    envs = VecNormalize(DummyVecEnv([lambda: PracticeEnv([velocity_task(30)], 0, 0)]))
    model = PPO(
        "MlpPolicy",
        envs,
        n_steps=64,
        batch_size=64,
        n_epochs=1,
        policy_kwargs={"net_arch": [16, 16]},
        seed=0,
        device="cpu",
    )
    model.learn(64)
    network = network_of(model, envs)
    shown = np.random.default_rng(0).normal(0, 3, (20, 21)).astype(np.float32)
    expected, _ = model.predict(envs.normalize_obs(shown), deterministic=True)
    assert np.allclose([network(one) for one in shown], expected, atol=1e-5)
    assert np.ptp(expected) > 0


def test_an_expert_is_judged_on_the_same_starts_each_time():
    path, tasks = SHIPPED / "half-cheetah-vel.safetensors", [velocity_task(5)]
    assert np.array_equal(returns_of(path, "expert", tasks, 1), returns_of(path, "expert", tasks, 1))
    env = tasks[0].make_env()
    observation, _ = env.reset(seed=0)
    action = Learned(str(path))(env)(observation)
    assert action.dtype == np.float32
    assert env.action_space.contains(action)
