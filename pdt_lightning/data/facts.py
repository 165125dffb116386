"""One set of facts for each task: horizon, target and scale of its returns.

They are resolved here and kept in checkpoints and prompts.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from pdt_lightning.data.episodes import Episodes
from pdt_lightning.tasks.base import Task

NAMES = ("horizon", "target_return", "return_scale")
SMALL = 0.01  # no return in a unit that anybody chose on purpose is smaller: the scale follows the unit


class Facts:
    """What tasks leave open, decided by the demonstrations that they are trained on, in this run or in a checkpoint's.

    For a task that is not trained on, the demonstrations that its prompts are taken from decide. Horizon: the longest
    episode. Target: the highest demonstrated return of a whole episode, cut to the horizon. Scale: the absolute value
    of the target, but at least 1. If all demonstrated returns are below 0.01 in size, the largest of them takes the
    place of 1.

    Args:
        saved: by task, what a checkpoint keeps: `known` of its run.
    """

    def __init__(self, saved: Mapping[str, Mapping[str, Any]] | None = None):
        self.saved = saved or {}
        self.known: dict[
            str, dict[str, Any]
        ] = {}  # by task, the three by name, whether it was trained on, and the ids of the data

    def resolve(
        self, tasks: Sequence[Task], kind: str, opened: Callable[[Sequence[Task], str], Episodes]
    ) -> tuple[list[Task], Episodes]:
        """The tasks with nothing left open, and their episodes with the tasks' scales.

        Args:
            tasks: of a family.
            kind: `training_data`, which comes first, or `prompt_data`.
            opened: gives the episodes, cut to the horizon of tasks that have one.
        """
        tasks = [self._settled(task, kind) for task in tasks]
        episodes = opened(tasks, kind)
        resolved = []
        for number, task in enumerate(tasks):
            task_episodes = episodes.of_task(number)
            horizon = task.horizon or int(task_episodes.lengths.max())
            returns = task_episodes.index.returns[task_episodes.whole(horizon)]
            target = float(returns.max()) if task.target_return is None else task.target_return
            largest = float(np.abs(returns).max())
            least = largest if 0 < largest < SMALL else 1.0
            scale = task.return_scale or max(least, abs(target))
            resolved.append(replace(task, horizon=horizon, target_return=target, return_scale=scale))
            settings = {name: getattr(resolved[-1], name) for name in NAMES}
            self.known.setdefault(
                task.id, {**settings, "trained": kind == "training_data", "of": list(getattr(task, kind))}
            )
        return resolved, replace(episodes, scales=np.array([task.return_scale for task in resolved], np.float32))

    def _settled(self, task: Task, kind: str) -> Task:
        """The task with horizon, target and scale filled in, if they are known and it is opened for its prompts.

        They are known from this run, or from a checkpoint that trained on the task or had the same candidates.
        """
        saved = self.saved.get(task.id)
        still_hold = saved is not None and (saved["trained"] or saved["of"] == list(task.prompt_data))
        settings = self.known.get(task.id) or (saved if still_hold else None)
        if settings is None or kind == "training_data":
            return task
        return replace(task, **{name: settings[name] for name in NAMES if getattr(task, name) is None})
