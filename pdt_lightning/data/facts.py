"""What a task leaves open and its demonstrations decide: horizon, target and scale of its returns."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pdt_lightning.data.episodes import Episodes
from pdt_lightning.tasks.base import Task


def resolve(tasks: Sequence[Task], episodes: Episodes) -> tuple[list[Task], Episodes]:
    """The tasks with what they left open taken from their demonstrations, and the episodes with the tasks' scales.

    Horizon: the longest episode. Target: the highest demonstrated return. Scale: the target's size, at least 1.
    """
    resolved = []
    for number, task in enumerate(tasks):
        own = slice(*np.searchsorted(episodes.task, [number, number + 1]))
        target = float(episodes.index.returns[own].max()) if task.target_return is None else task.target_return
        horizon = task.horizon or int(episodes.lengths[own].max())
        scale = task.return_scale or max(1.0, abs(target))
        resolved.append(dataclasses.replace(task, horizon=horizon, target_return=target, return_scale=scale))
    return resolved, dataclasses.replace(episodes, scales=np.array([task.return_scale for task in resolved], np.float32))
