"""What a task leaves open and its demonstrations decide: horizon, target and scale of its returns."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from pdt_lightning.data.episodes import Episodes
from pdt_lightning.tasks.base import Task

SMALL = 0.01  # no return in a unit that anybody chose on purpose is smaller: the scale follows the unit


def resolve(tasks: Sequence[Task], episodes: Episodes) -> tuple[list[Task], Episodes]:
    """The tasks with what they left open taken from their demonstrations, and the episodes with the tasks' scales.

    Horizon: the longest episode. Target: the highest demonstrated return of a whole episode. Scale: the target's size, at least 1,
    or as much as the largest demonstrated return where even that is below 0.01.
    """
    resolved = []
    for number, task in enumerate(tasks):
        own = episodes.of_task(number)
        horizon = task.horizon or int(own.lengths.max())
        returns = own.index.returns[own.whole(horizon)]
        target = float(returns.max()) if task.target_return is None else task.target_return
        largest = float(np.abs(returns).max())
        least = largest if 0 < largest < SMALL else 1.0
        scale = task.return_scale or max(least, abs(target))
        resolved.append(dataclasses.replace(task, horizon=horizon, target_return=target, return_scale=scale))
    return resolved, dataclasses.replace(episodes, scales=np.array([task.return_scale for task in resolved], np.float32))
