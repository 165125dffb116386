"""Environments on loan: built once, kept for the next episode of the same task, and asked what they report."""

import pickle
from collections.abc import Sequence
from contextlib import suppress

import gymnasium as gym
import numpy as np

from pdt_lightning.tasks.actions import as_action
from pdt_lightning.tasks.base import Task
from pdt_lightning.tasks.success import of_step


class Environments:
    """Environments that are lent to episodes: built when first needed, kept for the next episode of the same task.

    Args:
        limit: how many there are at most, unless more are lent at once. Where another one is needed the one idle for
            longest is closed first, which hands on the simulator of families that share them.
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
        try:
            return task.make_env()
        except Exception:
            self._lent -= 1
            raise

    def take_back(self, task: Task, env: gym.Env, sound: bool = True) -> None:
        """Keep it for the next episode, or, if something went wrong in it, do away with it.

        An environment that hands its simulator on when it is closed has a method `discard` that does not.
        """
        self._lent -= 1
        if sound:
            self._idle.append((self._key(task), env))
        else:
            with suppress(Exception):  # what is broken may not even close
                getattr(getattr(env, "unwrapped", env), "discard", env.close)()

    def close(self) -> None:
        """Close the idle ones."""
        while self._idle:
            self._idle.pop()[1].close()

    @staticmethod
    def _key(task: Task) -> bytes:
        return pickle.dumps((task.env_id, sorted(task.env_kwargs.items()), task.horizon, task.reset_options))


def reports_success(task: Task, demonstrated: Sequence[np.ndarray] = ()) -> bool:
    """Whether the task's environment reports success, in an episode of random or of demonstrated actions.

    An environment that raises reports none: rollouts will meet that too.

    Args:
        task: whose environment is asked.
        demonstrated: `(T, A)` actions of episodes, where success may be reported only when it happens.
    """
    env = task.make_env()
    try:
        env.action_space.seed(0)
        random = np.array([env.action_space.sample() for _ in range(task.horizon or 1000)])
        return _reports(env, random) or any(_reports(env, actions) for actions in demonstrated)
    finally:
        env.close()


def _reports(env: gym.Env, actions: np.ndarray) -> bool:
    try:
        _, info = env.reset(seed=0)
        for action in actions:
            if of_step(info) is not None:
                return True
            _, _, terminated, truncated, info = env.step(as_action(action, env.action_space))
            if terminated or truncated:
                break
        return of_step(info) is not None
    except Exception:  # whatever a simulator raises
        return False
