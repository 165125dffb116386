"""What plays episodes: a base class for all engines, which plays what goes wrong again; ours is `pool.RolloutPool`."""

import dataclasses
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from pdt_lightning.core.ranges import check_types, number
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import OnOutcomes, Outcome, Rollout, Row

TRIES = 3  # of an episode, before it has failed

Played = tuple[list[int], list[Outcome | None]]  # numbers of rows and their outcomes; None: lost

if TYPE_CHECKING:
    Workers = int
    Width = int
    StepTimeout = float
else:
    Workers = number(int, 0, 1024)
    Width = number(int, 1, 65_536)
    StepTimeout = number(float, 0, above=True)


class RolloutEngine(ABC):
    """Plays rows of (task, prompt, seed) with a frozen policy.

    A subclass says in `blocks` how. One that is to find the same as ours, for any number of processes and after any
    stop, has to let an outcome depend on its row alone; `rollout.rollout` does, for a `width`.

    An episode that failed is played again; one that goes wrong `TRIES` times has failed.

    Args:
        workers: processes, or whatever else plays side by side; 0: the caller.
        width: rows in a forward pass.
        step_timeout: seconds after which an environment hangs; None: it may take as long as it likes.

    Attributes:
        faults: tries that went wrong with the present policy, by how.
    """

    def __init__(self, workers: Workers = 0, width: Width = 8, step_timeout: StepTimeout | None = 300.0):
        check_types("tuning", RolloutEngine.__init__, locals())
        self.workers, self.width, self.step_timeout = workers, width, step_timeout
        self.faults: Counter[str] = Counter()

    @abstractmethod
    def blocks(self, policy: Policy, rows: Sequence[Row]) -> Iterator[Played]:
        """Play rows, each once, in any order and any number of them at a time.

        Args:
            policy: does not change. It is the same object as long as its weights are the same.
            rows: to play.

        Yields:
            Numbers of rows and their outcomes, as they end; None is the outcome of a row that was lost through no fault
            of its own. Empty lists, at least once a second where there is something to wait for: whoever waits then
            moves a progress bar on, or wants no more and closes the generator.
        """

    @abstractmethod
    def close(self) -> None:
        """End processes and close environments; the next rows get fresh ones. It is called before a last try too."""

    def with_policy(self, policy: Policy, on_outcomes: OnOutcomes = lambda rows, outcomes: None) -> Rollout:
        """A function from rows to outcomes.

        Args:
            policy: must not change while the function is used.
            on_outcomes: called with the rows and outcomes that are over, and with empty lists while waiting. Progress
                bars, the journal and requests to stop use it.
        """
        self.faults.clear()

        def play(rows: Sequence[Row]) -> list[Outcome]:
            return self._play(policy, rows, on_outcomes)

        return play

    def report(self) -> str:
        """What went wrong with this policy's episodes so far, and what became of it."""
        kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.faults.items()))
        return f"Episodes went wrong and were played again, each at most {TRIES - 1} times: {kinds}."

    def _play(self, policy: Policy, rows: Sequence[Row], on_outcomes: OnOutcomes) -> list[Outcome]:
        """The outcome of every row, each tried until it is over."""
        tries = Tries()
        on_outcomes([], [])  # whoever plays nothing here may be asked to stop too
        while waiting := [n for n in range(len(rows)) if n not in tries.outcomes]:
            if any(tries.failures[n] == TRIES - 1 for n in waiting):
                self.close()
            seen = 0
            for places, played in self.blocks(policy, [rows[n] for n in waiting]):
                seen += len(places)
                numbers = [waiting[place] for place in places]
                ended = [n for n, outcome in zip(numbers, played, strict=True) if tries.ended(n, outcome)]
                self.faults.update(outcome.failed.partition(":")[0] for outcome in played if outcome and outcome.failed)
                on_outcomes([rows[n] for n in ended], [tries.outcomes[n] for n in ended])
            if not seen:
                raise RuntimeError(f"{type(self).__name__}.blocks has played none of the rows that it was given.")
        return [tries.outcomes[n] for n in range(len(rows))]


class Tries:
    """What has become of rows, by number: an episode that failed is tried again, `TRIES` times in all."""

    def __init__(self) -> None:
        self.outcomes: dict[int, Outcome] = {}  # of the rows that are over
        self.failures: Counter[int] = Counter()

    def ended(self, number: int, outcome: Outcome | None) -> bool:
        """Record how a try ended, and return whether the row is finished.

        `outcome` is None if the try was lost because another row of the same block stopped the worker.
        """
        failed = outcome is not None and outcome.failed is not None
        self.failures[number] += failed
        if outcome is None or (failed and self.failures[number] < TRIES):
            return False
        self.outcomes[number] = dataclasses.replace(outcome, replays=self.failures[number] - failed)
        return True
