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
    """Rollouts of one task.

    A recommended prompt that was never tried takes `episodes` more, which are not counted here.
    """
    return sum(count * episodes * factor for count, factor in stages(candidates))


class TriedPrompts:
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
        return [number for number, outcomes in enumerate(self.values) if not outcomes]

    def best(self, count: int) -> list[int]:
        """Numbers of so many of the best; of equals those that were added first.

        Each by the mean of its rollouts, drawn towards that of all, as a tuner draws it.
        """
        everything = counted([value for outcomes in self.values for value in outcomes], [self.objective.outlook.worst])
        mean = sum(everything) / max(1, len(everything))
        worst = min([self.objective.outlook.worst, *everything])
        scores = [worth(mean, counted(outcomes, [worst])) for outcomes in self.values]
        return sorted(range(len(scores)), key=lambda number: -scores[number])[:count]


def best_of(
    tried: Sequence[TriedPrompts], play: Rollout, candidates: int, episodes: int, seed: int, phase: int
) -> list[tuple[Prompt, str]]:
    """The best prompt of each task, and in words where it comes from.

    Args:
        tried: the prompts of each task, with all that was tried and what is to be tried now.
        play: rows → outcomes.
        candidates: how many random prompts there are for each task.
        episodes: of each prompt without rollouts, in the first stage.
        seed: of the episodes, together with `phase`.
        phase: number of the phase.
    """
    first = 0
    for stage, (count, factor) in enumerate(stages(candidates)):
        numbers = range(first, first + factor * episodes)
        first = numbers.stop
        chosen = [of_task.best(count) if stage else of_task.untried() for of_task in tried]
        plan = [
            [
                Row(of_task.task, of_task.prompts[c], integer(seed, "oracle", phase, of_task.task.id, c, n))
                for c in finalists
                for n in numbers
            ]
            for of_task, finalists in zip(tried, chosen, strict=True)
        ]
        for of_task, finalists, outcomes in zip(tried, chosen, play_groups(play, plan), strict=True):
            for place, outcome in enumerate(outcomes):
                of_task.values[finalists[place // len(numbers)]].append(of_task.objective.value(outcome))
    best = [of_task.best(1)[0] for of_task in tried]
    return [(of_task.prompts[number], of_task.origins[number]) for of_task, number in zip(tried, best, strict=True)]
