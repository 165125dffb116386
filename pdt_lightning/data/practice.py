"""Learned experts: one network for all tasks of a family.

It is trained by PPO with the goal in sight, checked and written to a file.

Source: Schulman et al. 2017 (arXiv 1707.06347), as Stable-Baselines3 has it, which is needed here and nowhere else.
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np
import torch
from safetensors.numpy import save

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.extras import extras_for
from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.seeding import generator, integer
from pdt_lightning.core.terminal import progress_bar
from pdt_lightning.tasks.base import Task
from pdt_lightning.tasks.learned import CLIP, Learned, LearnedFamily, Network

ENVIRONMENTS = 8  # side by side
MEDIUM = 0.15  # share of the training after which the medium expert is taken
FIRST_RATE, LAST_RATE = 3e-4, 2e-5  # learning rate, which falls linearly
SETTINGS: dict[str, Any] = {"n_steps": 512, "batch_size": 512, "n_epochs": 10, "gamma": 0.99}
POLICY: dict[str, Any] = {"net_arch": [256, 256], "log_std_init": -0.5}
EPISODES = 3  # of each task, to judge an expert by


class PracticeEnv(gym.Env):
    """All tasks of a family in turn, drawn by the seed, with what experts see for an observation.

    Args:
        tasks: of one environment, whose arguments may be changed between episodes.
        seed: of the draws and the starts.
        number: of this environment among those side by side.

    Raises:
        UserError: if the environment has no attribute of an argument's name, so that changing it would change nothing.
    """

    def __init__(self, tasks: Sequence[Task], seed: int, number: int):
        self.tasks = tasks
        self.env = tasks[0].make_env()
        self.bare: Any = self.env.unwrapped
        for name in sorted({name for task in tasks for name in task.env_kwargs}):
            if not hasattr(self.bare, name):
                raise UserError(
                    f"Experts cannot be trained: {tasks[0].env_name} has no attribute {name}, though its tasks differ "
                    f"in that argument. Keep it as self.{name}, and read it at each step."
                )
        self.action_space = self.env.action_space
        features = self.bare.shown(self.env.reset(seed=0)[0])
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, features.shape, np.float32)
        self.rng = generator(seed, "practice", number)
        self.steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[np.ndarray, dict[str, Any]]:
        """Start an episode of a task drawn by the generator; `seed` is of no account."""
        self.task = self.tasks[int(self.rng.integers(len(self.tasks)))]
        for name, value in self.task.env_kwargs.items():
            setattr(self.bare, name, value)
        observation, _ = self.env.reset(seed=int(self.rng.integers(2**31)))
        self.steps = 0
        return self.bare.shown(observation).astype(np.float32), {}

    def step(self, action: np.ndarray) -> tuple[np.ndarray, float, bool, bool, dict[str, Any]]:
        """One step of an expert's."""
        observation, reward, terminated, truncated, _ = self.env.step(self.bare.acted(action))
        self.steps += 1
        over = truncated or self.steps >= (self.task.horizon or 0)
        return self.bare.shown(observation).astype(np.float32), float(reward), terminated, over, {}

    def close(self) -> None:
        """Close the environment within."""
        self.env.close()


def require() -> None:
    """Refuse to begin where Stable-Baselines3 is not installed."""
    with extras_for("Training experts", otherwise=", or use the experts that ship with the package"):
        import stable_baselines3  # noqa: F401


def practised(family: type[LearnedFamily]) -> list[Task]:
    """The tasks of all splits of a family, held-out ones too: an expert is to demonstrate them."""
    numbers = sorted({number for split in family.splits.values() for group in split for number in group})
    return [family.bare_task(number) for number in numbers]


def train(family: type[LearnedFamily], path: Path, steps: int, seed: int, command: str, progress: bool = True) -> None:
    """Train the experts of a family and write them to a file, with an earlier stage of them as the medium expert.

    Stable-Baselines3 seeds the global generators of Python, NumPy and torch; they follow from `seed` too.

    Args:
        family: whose tasks are practised, all of them.
        path: of the file.
        steps: of the environment.
        seed: of everything.
        command: that does this, which the file keeps, with the seed and the steps.
        progress: show a bar with the time left.

    Raises:
        UserError: if Stable-Baselines3 is not installed.
    """
    require()
    from stable_baselines3 import PPO
    from stable_baselines3.common.callbacks import BaseCallback
    from stable_baselines3.common.monitor import Monitor
    from stable_baselines3.common.vec_env import DummyVecEnv, VecNormalize

    torch.set_num_threads(1)
    tasks = practised(family)
    side_by_side = DummyVecEnv([lambda n=n: Monitor(PracticeEnv(tasks, seed, n)) for n in range(ENVIRONMENTS)])
    envs = VecNormalize(side_by_side, clip_obs=CLIP, gamma=SETTINGS["gamma"])
    options = {
        **SETTINGS,
        "learning_rate": learning_rate,
        "policy_kwargs": POLICY,
        "seed": integer(seed, "ppo"),
        "device": "cpu",
    }
    model = PPO("MlpPolicy", envs, **options)
    tensors: dict[str, np.ndarray] = {}

    class Watch(BaseCallback):
        """Moves the bar, and takes the medium expert."""

        def _on_step(self) -> bool:
            advance(ENVIRONMENTS)
            if not tensors and self.num_timesteps >= MEDIUM * steps:
                tensors.update(network_of(model, envs).tensors("medium"))
            return True

    with progress_bar("Training experts", steps, "step", progress) as advance:
        model.learn(steps, Watch())
    tensors |= network_of(model, envs).tensors("expert")
    envs.close()
    about = {"family": family.name, "command": command, "seed": seed, "steps": steps}
    # One entry: of several, the order in the file varies.
    write_atomically(path, save(tensors, {"about": json.dumps(about)}))


def learning_rate(left: float) -> float:
    """The rate when the share `left` of the training is still to come; below 0 in the last round, played whole."""
    return LAST_RATE + max(left, 0.0) * (FIRST_RATE - LAST_RATE)


def network_of(model: Any, envs: Any) -> Network:
    """The mean of a PPO policy's actions, with the normalisation of its inputs."""
    parts = [*model.policy.mlp_extractor.policy_net, model.policy.action_net]
    linear = [part for part in parts if isinstance(part, torch.nn.Linear)]
    layers = tuple((part.weight.detach().numpy().copy(), part.bias.detach().numpy().copy()) for part in linear)
    known = envs.obs_rms
    return Network(known.mean.astype(np.float32), np.sqrt(known.var + envs.epsilon).astype(np.float32), layers)


def returns_of(path: Path | str, stage: str, tasks: Sequence[Task], episodes: int = EPISODES) -> np.ndarray:
    """`(tasks,)`: mean return of an expert in each task, without action noise, on starts of its own."""
    maker, means = Learned(str(path), stage), []
    for task in tasks:
        env, totals = task.make_env(), []
        for episode in range(episodes):
            observation, _ = env.reset(seed=integer(episode, "examination", task.id))
            expert, total = maker(env), 0.0
            for _ in range(task.horizon or 0):
                observation, reward, over, truncated, _ = env.step(expert(observation))
                total += float(reward)
                if over or truncated:
                    break
            totals.append(total)
        env.close()
        means.append(np.mean(totals))
    return np.array(means)
