"""The half-cheetah of the Prompt-DT papers: run at a given velocity, or forward or backward.

No observation shows which.

Source: Xu et al. 2022 (arXiv 2206.13499), public code, for observations, rewards, splits and horizon; Mitchell et al.
2021 (MACAW) for the tasks.
"""

from typing import Any

import gymnasium as gym
import numpy as np
from gymnasium.envs.mujoco.half_cheetah_v5 import HalfCheetahEnv

from pdt_lightning.tasks.base import Task
from pdt_lightning.tasks.learned import LearnedFamily

VELOCITIES = np.linspace(0.075, 3.0, 40)  # metres per second
DIRECTIONS = (1.0, -1.0)
HELD_OUT_VELOCITIES = (2, 7, 15, 23, 26)
HORIZON = 200
SCALE = 500.0


class HalfCheetahGoalEnv(HalfCheetahEnv):
    """Gymnasium's half-cheetah with the published observation; it never ends early.

    Observation `(20,)`: joint positions without that along the track (8), velocities (9), position of the torso (3).
    """

    def __init__(self, render_mode: str | None = None):
        super().__init__(render_mode=render_mode)
        self._torso = self.model.body("torso").id
        self.observation_space = gym.spaces.Box(-np.inf, np.inf, (20,), np.float64)

    def _get_obs(self) -> np.ndarray:
        return np.concatenate([self.data.qpos[1:], self.data.qvel, self.data.xpos[self._torso]])

    def _get_rew(self, x_velocity: float, action: np.ndarray) -> tuple[float, dict[str, Any]]:
        return self.progress(x_velocity) - 0.05 * float(np.dot(action, action)), {}

    def progress(self, x_velocity: float) -> float:
        """What a step is worth, effort apart, at a velocity along the track in metres per second."""
        raise NotImplementedError

    def acted(self, action: np.ndarray) -> np.ndarray:
        """`(6,)`: an expert's action, as it is."""
        return action

    def set_observed(self, observation: np.ndarray) -> None:
        """Put the simulator into the state of an observation `(20,)`."""
        position = np.concatenate(
            [observation[17:18], observation[:8]]
        )  # the torso's x is the joint's that was left out
        self.set_state(position, observation[8:17])


class HalfCheetahVelocityEnv(HalfCheetahGoalEnv):
    """Reward: minus the distance to the target velocity, minus 0.05 times the squared action.

    Args:
        velocity: to run at, in metres per second.
        render_mode: as Gymnasium has them.
    """

    def __init__(self, velocity: float, render_mode: str | None = None):
        super().__init__(render_mode)
        self.velocity = velocity

    def progress(self, x_velocity: float) -> float:
        """Minus the distance to the target velocity."""
        return -abs(x_velocity - self.velocity)

    def shown(self, observation: np.ndarray) -> np.ndarray:
        """`(21,)`: what an expert sees, the target velocity after the observation."""
        return np.append(observation, self.velocity)


class HalfCheetahDirectionEnv(HalfCheetahGoalEnv):
    """Reward: velocity in the task's direction, minus 0.05 times the squared action.

    Args:
        direction: 1 forward, -1 backward.
        render_mode: as Gymnasium has them.
    """

    def __init__(self, direction: float, render_mode: str | None = None):
        super().__init__(render_mode)
        self.direction = direction

    def progress(self, x_velocity: float) -> float:
        """The velocity in the task's direction."""
        return self.direction * x_velocity

    def shown(self, observation: np.ndarray) -> np.ndarray:
        """`(21,)`: what an expert sees, the direction after the observation."""
        return np.append(observation, self.direction)


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


def direction_task(number: int) -> Task:
    """Task 0, forward, or 1, backward, without demonstrations."""
    return Task(
        id=f"half-cheetah-dir/{number:02d}",
        env_id="pdt-lightning/HalfCheetahDirection-v0",
        env_kwargs={"direction": DIRECTIONS[number]},
        horizon=HORIZON,
        target_return=1500.0,
        return_scale=1000.0,
    )


class HalfCheetahVelocityFamily(LearnedFamily):
    """Forty target velocities from 0.075 to 3 metres per second: 35 to train on, 5 held out."""

    name = "half-cheetah-vel"
    file_prefix = "cheetah_vel"
    splits = LearnedFamily.split_off(len(VELOCITIES), HELD_OUT_VELOCITIES)
    practice_steps = 1_500_000
    bare_task = staticmethod(velocity_task)

    @staticmethod
    def floor(task: Task) -> float:
        """The faster, the more effort it takes, and the longer it takes to get there."""
        return -20.0 - 15.0 * task.env_kwargs["velocity"]


class HalfCheetahDirectionFamily(LearnedFamily):
    """Forward and backward; both are trained on, and both are tuned."""

    name = "half-cheetah-dir"
    file_prefix = "cheetah_dir"
    splits = LearnedFamily.split_off(len(DIRECTIONS), ())
    practice_steps = 1_500_000
    bare_task = staticmethod(direction_task)

    @staticmethod
    def floor(task: Task) -> float:
        """Two and a half metres per second, effort included."""
        return 500.0
