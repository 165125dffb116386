"""A point whose simulator goes wrong in the third step of some episodes, in one of four ways, as often as told."""

import os
import time
from pathlib import Path

import gymnasium as gym
import numpy as np

from pdt_lightning.tasks.point import PointEnv

if "Faulty-v0" not in gym.registry:  # tests import modules anew
    gym.register("Faulty-v0", entry_point="tests.guests.faulty:Faulty")
WAYS = ("sound", "raises", "nan", "hangs", "dies")


class Faulty(PointEnv):
    """The way is `WAYS[seed % 10]`, where there is one.

    Args:
        goal: of the point.
        folder: in which each fault leaves a file, so that all processes know how many there were.
        times: how often an episode goes wrong before it goes well.
    """

    def __init__(self, goal: int, folder: str, times: int = 1):
        super().__init__(goal)
        self.folder, self.times, self.seed = Path(folder), times, 0

    def reset(self, *, seed=None, options=None):
        self.seed = seed
        return super().reset(seed=seed, options=options)

    def step(self, action):
        seen = super().step(action)
        way = dict(enumerate(WAYS)).get(self.seed % 10, "sound")
        before = len(list(self.folder.glob(f"{self.seed}-*")))
        if way == "sound" or self.steps != 3 or before >= self.times:
            return seen
        (self.folder / f"{self.seed}-{before}").touch()
        if way == "raises":
            raise ArithmeticError("the simulation is unstable")
        if way == "hangs":
            time.sleep(1000)
        if way == "dies":
            os._exit(7)
        return np.full(2, np.nan), *seen[1:]
