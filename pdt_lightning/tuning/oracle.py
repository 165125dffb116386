"""The best found: of random prompts and of all that tuning has tried, by trying again those that did best.

It takes more rollouts than a tuner has, and tells what the transformer does with a better prompt than the one
recommended. It is no limit: where few prompts are good, a hundred random ones may hold none of them.
"""

import math
from collections.abc import Iterable, Sequence

from pdt_lightning.core.seeding import integer
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.failures import counted
from pdt_lightning.rollouts.rollout import Rollout, Row, play_groups
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuners.recommend import worth
from pdt_lightning.tuning.objective import Objective

NAME = "best found"  # in tables and figures


def stages(candidates: int) -> list[tuple[int, int]]:
    """(prompts, times the episodes) of each stage, for so many that were not tried before.

    First every new prompt is tried. Then a quarter as many prompts are, the best of these and of all that were tried
    before. At last a sixteenth as many are, with twice the episodes.

    >>> stages(100)
    [(100, 1), (25, 1), (7, 2)]
    """
    return [(candidates, 1), (math.ceil(candidates / 4), 1), (math.ceil(candidates / 16), 2)]


def planned_rollouts(candidates: int, episodes: int) -> int:
    """Rollouts of one task, where all that was recommended has been tried."""
    return sum(count * episodes * factor for count, factor in stages(candidates))


class Pool:
    """Prompts of one task among which the best is looked for, each with the values of its rollouts so far.

    A value of None says that the rollout failed.

    Args:
        task: with horizon, target and scale settled.
        objective: in whose unit the values are.
    """

    def __init__(self, task: Task, objective: Objective):
        self.task, self.objective = task, objective
        self.prompts: list[Prompt] = []
        self.origins: list[str] = []  # in words, where each comes from
        self.values: list[list[float | None]] = []
        self._numbers: dict[bytes, int] = {}

    def add(self, prompt: Prompt, origin: str, values: Iterable[float | None] = ()) -> None:
        """Add one prompt, or what more is known of one that is there."""
        number = self._numbers.setdefault(prompt.tobytes(), len(self.prompts))
        if number == len(self.prompts):
            self.prompts.append(prompt)
            self.origins.append(origin)
            self.values.append([])
        self.values[number] += values

    def untried(self) -> list[int]:
        """Numbers of those without a rollout."""
        return [number for number, own in enumerate(self.values) if not own]

    def best(self, count: int) -> list[int]:
        """Numbers of so many of the best; of equals those that were added first.

        Each by the mean of its rollouts, drawn towards that of all, as a tuner draws it.
        """
        everything = counted([value for own in self.values for value in own], [self.objective.outlook.worst])
        mean = sum(everything) / max(1, len(everything))
        worst = min([self.objective.outlook.worst, *everything])
        scores = [worth(mean, counted(own, [worst])) for own in self.values]
        return sorted(range(len(scores)), key=lambda number: -scores[number])[:count]


def best_of(
    pools: Sequence[Pool], play: Rollout, candidates: int, episodes: int, seed: int, phase: int
) -> list[tuple[Prompt, str]]:
    """The best prompt of each task, and in words where it comes from.

    Args:
        pools: of each task, with all that was tried and what is to be tried now.
        play: rows → outcomes.
        candidates: how many random prompts are in a pool.
        episodes: of each prompt without rollouts, in the first stage.
        seed: of the episodes, together with `phase`.
        phase: number of the phase.
    """
    first = 0
    for stage, (count, factor) in enumerate(stages(candidates)):
        numbers = range(first, first + factor * episodes)
        first = numbers.stop
        chosen = [pool.best(count) if stage else pool.untried() for pool in pools]
        plan = [
            [
                Row(pool.task, pool.prompts[c], integer(seed, "oracle", phase, pool.task.id, c, n))
                for c in own
                for n in numbers
            ]
            for pool, own in zip(pools, chosen, strict=True)
        ]
        for pool, own, outcomes in zip(pools, chosen, play_groups(play, plan), strict=True):
            for place, outcome in enumerate(outcomes):
                pool.values[own[place // len(numbers)]].append(pool.objective.value(outcome))
    best = [pool.best(1)[0] for pool in pools]
    return [(pool.prompts[number], pool.origins[number]) for pool, number in zip(pools, best, strict=True)]
