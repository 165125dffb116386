"""Tasks of which nothing can be played are given up, so that nobody waits for all of their episodes to fail."""

from collections import Counter
from collections.abc import Sequence

from pdt_lightning.rollouts.rollout import Outcome, Rollout, Row

GIVEN_UP = 3  # episodes of a task that failed one after the other, before it is given up


class GivingUp:
    """Rollouts that end for a task after `GIVEN_UP` failed episodes in a row: its next ones fail without being played.

    It has to see all outcomes of a task, also those that a journal knows, so that the same tasks are given up whoever
    plays and however often it was stopped.

    Args:
        play: rows → outcomes.
    """

    def __init__(self, play: Rollout):
        self.play = play
        self.given_up: dict[str, str] = {}  # tasks, and why
        self._failing: Counter[str] = Counter()  # episodes of a task that have failed one after the other

    def __call__(self, rows: Sequence[Row]) -> list[Outcome]:
        """The outcome of every row."""
        hopeful = [row for row in rows if row.task.id not in self.given_up]
        played = iter(self.play(hopeful))
        outcomes = [
            Outcome(0.0, None, 0, f"{row.task.id} was given up: {self.given_up[row.task.id]}")
            if row.task.id in self.given_up
            else next(played)
            for row in rows
        ]
        for row, outcome in zip(rows, outcomes, strict=True):
            if row.task.id not in self.given_up:
                self._count(row.task.id, outcome.failed)
        return outcomes

    def _count(self, task: str, failed: str | None) -> None:
        """Count the task's failed episodes, and give it up where there is no hope."""
        self._failing[task] = self._failing[task] + 1 if failed else 0
        if failed and self._failing[task] == GIVEN_UP:
            self.given_up[task] = f"{GIVEN_UP} episodes failed one after the other; the last one: {failed}"
