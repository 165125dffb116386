"""Many cells of (task, tuner) advanced in lockstep: ask → one full batch of rollouts → tell.

Knows nothing of Lightning.
"""

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

from pdt_lightning.core.seeding import Key, integer
from pdt_lightning.rollouts.rollout import Outcome, Rollout, Row
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuners.base import Candidate, Tuner
from pdt_lightning.tuning.objective import Objective


class TaskGivenUp(RuntimeError):
    """Every rollout of a task's search, or every episode of one of its evaluations, failed.

    Args:
        task: its id.
        why: as a clause.
    """

    def __init__(self, task: str, why: str):
        super().__init__(why)
        self.task = task


@dataclass(frozen=True)
class Trial:
    """One rollout of a search.

    Args:
        candidate: what was tried; its id is the number of the rollout within its cell, from 0.
        outcome: what came of it.
        recommended_value: what the tuner then thought its recommendation worth, in the objective's unit.
        seed: of the episode.
    """

    candidate: Candidate
    outcome: Outcome
    recommended_value: float
    seed: int


@dataclass
class Cell:
    """A tuner at work on one task.

    Args:
        task: with horizon, target and scale settled.
        tuner: chooses.
        key: by which the episodes' seeds are drawn; distinct for each cell of a study.
        objective: what the tuner is told of an outcome.
        trials: what was tried so far.
        seconds: that the tuner's own arithmetic took so far.
    """

    task: Task
    tuner: Tuner
    key: tuple[Key, ...]
    objective: Objective = field(default_factory=Objective)
    trials: list[Trial] = field(default_factory=list)
    seconds: float = 0.0

    def __post_init__(self) -> None:
        self.tuner.outlook = self.objective.outlook

    def tell(self, outcomes: Sequence[tuple[Candidate, Outcome]]) -> None:
        """Tell the tuner how candidates did, and where it wants that, what was seen and done."""
        values = [(candidate.id, self.objective.value(outcome)) for candidate, outcome in outcomes]
        if self.tuner.wants_episodes:
            self.tuner.tell(values, {one.id: outcome.episode for one, outcome in outcomes if outcome.episode})
        else:
            self.tuner.tell(values)

    @contextmanager
    def timed(self) -> Iterator[None]:
        """Count the seconds while it lasts."""
        start = time.perf_counter()
        yield
        self.seconds += time.perf_counter() - start


def search(
    cells: Sequence[Cell],
    play: Rollout,
    seed: int,
    parallel: int = 1,
) -> None:
    """Advance all cells until no tuner asks any more: its budget is spent, or it is sure of its prompt.

    Args:
        cells: their `trials` are appended to.
        play: rows → outcomes.
        seed: of the episodes.
        parallel: candidates that each cell tries in one round.

    Raises:
        TaskGivenUp: if all rollouts of a cell failed.
    """
    while True:
        asked = []
        for cell in cells:
            with cell.timed():
                asked += [(cell, candidate) for candidate in cell.tuner.ask(parallel)]
        if not asked:
            break
        rows = [
            Row(
                cell.task,
                candidate.prompt,
                integer(seed, "search", *cell.key, candidate.id),
                cell.tuner.wants_episodes,
            )
            for cell, candidate in asked
        ]
        outcomes = play(rows)
        played: dict[int, list[tuple[Candidate, Row, Outcome]]] = {}
        for (cell, candidate), row, outcome in zip(asked, rows, outcomes, strict=True):
            played.setdefault(id(cell), []).append((candidate, row, outcome))
        active = [cell for cell in cells if id(cell) in played]
        for cell in active:
            with cell.timed():
                cell.tell([(candidate, outcome) for candidate, _, outcome in played[id(cell)]])
        for kind in dict.fromkeys(type(cell.tuner) for cell in active):
            same_kind = [cell for cell in active if type(cell.tuner) is kind]
            start = time.perf_counter()
            kind.prepare([cell.tuner for cell in same_kind])
            for cell in same_kind:
                cell.seconds += (time.perf_counter() - start) / len(same_kind)
        for cell in active:
            with cell.timed():
                value = cell.tuner.best_value()
            cell.trials += [  # of which an episode is no part: only the tuner keeps what it needs of it
                Trial(candidate, replace(outcome, episode=None), value, row.seed)
                for candidate, row, outcome in played[id(cell)]
            ]
    for cell in cells:
        if cell.trials and all(trial.outcome.failed for trial in cell.trials):
            last = cell.trials[-1].outcome.failed
            raise TaskGivenUp(cell.task.id, f"every rollout of {cell.task.id} failed; the last one: {last}")
