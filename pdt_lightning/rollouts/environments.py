"""Environments on loan: built once, kept for the next episode of the same task, and asked what they report."""

import pickle

import gymnasium as gym

from pdt_lightning.tasks.base import Task
from pdt_lightning.tasks.success import of_step


class Environments:
    """Environments that are lent to episodes: built when first needed, kept for the next episode of the same task.

    Args:
        limit: how many there are at most, unless more are lent at once. Where another one is needed the one idle for longest is
            closed first, which hands on the simulator of families that share them.
    """

    def __init__(self, limit: int):
        self.limit = limit
        self._idle: list[tuple[bytes, gym.Env]] = []
        self._lent = 0

    def lend(self, task: Task) -> gym.Env:
        """An environment of the task, to be reset by the borrower."""
        self._lent += 1
        key = self._key(task)
        for place, (known, env) in enumerate(self._idle):
            if known == key:
                del self._idle[place]
                return env
        if self._idle and len(self._idle) + self._lent > self.limit:
            self._idle.pop(0)[1].close()
        return task.make_env()

    def take_back(self, task: Task, env: gym.Env, sound: bool = True) -> None:
        """Keep it for the next episode, or close it if it raised."""
        self._lent -= 1
        if sound:
            self._idle.append((self._key(task), env))
        else:
            env.close()

    def close(self) -> None:
        """Close the idle ones."""
        while self._idle:
            self._idle.pop()[1].close()

    @staticmethod
    def _key(task: Task) -> bytes:
        return pickle.dumps((task.env_id, sorted(task.env_kwargs.items()), task.horizon, task.reset_options))


def reports_success(task: Task) -> bool:
    """Whether the task's environment says in its info whether it succeeded, found out by an episode of random actions."""
    env = task.make_env()
    try:
        env.reset(seed=0)
        env.action_space.seed(0)
        for _ in range(task.horizon or 1000):
            _, _, terminated, truncated, info = env.step(env.action_space.sample())
            if of_step(info) is not None:
                return True
            if terminated or truncated:
                break
        return False
    finally:
        env.close()
