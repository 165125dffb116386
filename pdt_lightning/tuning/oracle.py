"""The oracle: the best of many prompts, tried exhaustively. It tells the transformer's limit apart from the tuner's."""

import math
from collections.abc import Sequence

import numpy as np

from pdt_lightning.core.seeding import integer
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.rollout import Rollout, Row, play_groups
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuning.search import value


def stages(candidates: int) -> list[tuple[int, int]]:
    """(candidates, times the episodes) of each stage: all; then the best quarter; then the best quarter of those, twice as long.

    >>> stages(100)
    [(100, 1), (25, 1), (7, 2)]
    """
    return [(candidates, 1), (math.ceil(candidates / 4), 1), (math.ceil(candidates / 16), 2)]


def planned_rollouts(candidates: int, episodes: int) -> int:
    """Rollouts of one task's oracle."""
    return sum(count * episodes * factor for count, factor in stages(candidates))


def best_of(
    tasks: Sequence[Task], prompts: Sequence[Prompt], play: Rollout, episodes: int, objective: str, seed: int, phase: int
) -> list[int]:
    """The best candidate of every task.

    Args:
        tasks: with horizon, target and scale settled.
        prompts: for each task, its candidates; as many for every task.
        play: rows → outcomes.
        episodes: of each candidate in the first stage.
        objective: see `search.value`; a failed episode counts as the worst one of its stage.
        seed: of the episodes, together with `phase`.
        phase: number of the phase.
    """
    totals = [np.zeros(len(candidates)) for candidates in prompts]
    remaining = [np.arange(len(candidates)) for candidates in prompts]
    tried = 0
    for count, factor in stages(len(prompts[0])):
        remaining = [left[np.argsort(-total[left], kind="stable")[:count]] for left, total in zip(remaining, totals, strict=True)]
        numbers = range(tried, tried + factor * episodes)
        tried = numbers.stop
        plan = [
            [Row(task, own[[int(c)]], integer(seed, "oracle", phase, task.id, int(c), n)) for c in left for n in numbers]
            for task, own, left in zip(tasks, prompts, remaining, strict=True)
        ]
        for task, left, total, outcomes in zip(tasks, remaining, totals, play_groups(play, plan), strict=True):
            values = [value(outcome, objective, task.return_scale or 1.0) for outcome in outcomes]
            worst = min((v for v in values if v is not None), default=0.0)
            total[left] += np.array([worst if v is None else v for v in values]).reshape(len(left), -1).sum(axis=1)
    return [int(left[total[left].argmax()]) for left, total in zip(remaining, totals, strict=True)]
