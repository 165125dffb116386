"""The half-cheetah of the Prompt-DT papers: run at a given velocity, which no observation shows.

Source: Xu et al. 2022 (arXiv 2206.13499), public code, for observation and reward; Mitchell et al. 2021 (MACAW) for the tasks.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from pdt_lightning.tasks.base import Task

VELOCITIES = np.linspace(0.075, 3.0, 40)  # metres per second
HORIZON = 200
SCALE = 500.0


class HalfCheetahVelocityEnv(HalfCheetahEnv):
    """Reward: minus the distance to the target velocity, minus 0.05 times the squared action.

    Observation `(20,)`: joint positions without that along the track, velocities, position of the torso.

    Args:
        velocity: to run at, in metres per second.
        render_mode: as Gymnasium has them.
    """

    def __init__(self, velocity: float, render_mode: str | None = None):
        super().__init__(render_mode=render_mode)
        self.velocity = velocity
        self._torso = self.model.body("torso").id
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (20,), np.float64)

    def _get_obs(self) -> np.ndarray:
        return np.concatenate([self.data.qpos[1:], self.data.qvel, self.data.xpos[self._torso]])

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        return -abs(x_velocity - self.velocity) - 0.05 * float(np.dot(action, action)), {}


def velocity_task(number: int) -> Task:
    """Task `number` of the 40, without demonstrations."""
    return Task(
        id=f"half-cheetah-vel/{number:02d}",
        env_id="pdt-lightning/HalfCheetahVelocity-v0",
        env_kwargs={"velocity": float(VELOCITIES[number])},
        horizon=HORIZON,
        target_return=0.0,
        return_scale=SCALE,
    )
