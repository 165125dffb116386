"""Rollouts in worker processes, whose outcomes are those of this process to the bit, and those of a clean simulator."""

import copy
import dataclasses
import pickle
from collections import Counter, deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait
from typing import TYPE_CHECKING

from pdt_lightning.core.ranges import check_types, number
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import OnOutcomes, Outcome, Rollout, Row, rollout
from pdt_lightning.rollouts.workers import Frozen, Worker

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


class RolloutPool:
    """Worker processes that play blocks of rows; with 0 workers blocks are played here. The outcomes are the same.

    Processes start when first needed, environments are built when first needed, and both stay until `close`, across
    policies.

    An episode whose environment raises, returns what is not finite, hangs, or takes its worker with it, is played
    again, in a fresh environment and at last in a fresh worker. An episode that goes wrong `TRIES` times has failed.
    With 0 workers, a simulator that hangs cannot be stopped, and one that crashes ends this process.

    Args:
        workers: processes, each with one torch thread.
        width: rows in a forward pass.
        step_timeout: seconds after which an environment hangs that a worker waits for; None: it may take as long as it
            likes.
    """

    def __init__(self, workers: Workers = 0, width: Width = 8, step_timeout: StepTimeout | None = 300.0):
        check_types("tuning", RolloutPool.__init__, locals())
        self.workers, self.width, self.step_timeout = workers, width, step_timeout
        self.faults: Counter[str] = Counter()  # tries that went wrong, by how
        self._pool: list[Worker] = []
        self._environments = Environments(2 * width)

    def with_policy(self, policy: Policy, on_outcomes: OnOutcomes = lambda rows, outcomes: None) -> Rollout:
        """A function from rows to outcomes.

        Args:
            policy: must not change while the function is used. Workers play with it on the CPU, wherever it is.
            on_outcomes: called with the rows and outcomes of each block when it has been played and, with workers, with
                empty lists at least once a second while waiting. Progress bars, the journal and requests to stop use
                it.
        """
        frozen = None
        if self.workers:
            on_cpu = policy.model.state_mean.device.type == "cpu"
            model = policy.model if on_cpu else copy.deepcopy(policy.model).cpu()
            frozen = (pickle.dumps(model), policy.context_steps, policy.precision)
        self.faults.clear()

        def play(rows: Sequence[Row]) -> list[Outcome]:
            return self._play(policy, frozen, rows, on_outcomes)

        return play

    def report(self) -> str:
        """What went wrong with this policy's episodes so far, and what became of it."""
        kinds = ", ".join(f"{count} x {kind}" for kind, count in sorted(self.faults.items()))
        return f"Episodes went wrong and were played again, each at most {TRIES - 1} times: {kinds}."

    def _play(
        self, policy: Policy, frozen: Frozen | None, rows: Sequence[Row], on_outcomes: OnOutcomes
    ) -> list[Outcome]:
        """The outcome of every row, each tried until it is over."""
        tries = Tries()

        def over(numbers: Sequence[int]) -> None:
            on_outcomes([rows[n] for n in numbers], [tries.outcomes[n] for n in numbers])

        while waiting := [n for n in range(len(rows)) if n not in tries.outcomes]:
            if any(tries.failures[n] == TRIES - 1 for n in waiting):  # the last try is in fresh workers
                self.close()
            for numbers, played in self._played(policy, frozen, rows, waiting):
                ended = [n for n, outcome in zip(numbers, played, strict=True) if tries.ended(n, outcome)]
                self.faults.update(outcome.failed.partition(":")[0] for outcome in played if outcome and outcome.failed)
                over(ended)
        return [tries.outcomes[n] for n in range(len(rows))]

    def _played(
        self, policy: Policy, frozen: Frozen | None, rows: Sequence[Row], waiting: Sequence[int]
    ) -> Iterator[Played]:
        """Each block when it has been played, and empty lists at least once a second while waiting for workers."""
        blocks = deque(list(waiting[first : first + self.width]) for first in range(0, len(waiting), self.width))
        if frozen is None:
            for numbers in blocks:
                yield numbers, list(rollout(policy, [rows[n] for n in numbers], self.width, self._environments))
            return
        at_work: dict[Worker, list[int]] = {}
        try:
            while blocks or at_work:
                while blocks and len(at_work) < self.workers:
                    worker = self._idle_worker()
                    at_work[worker] = blocks.popleft()
                    worker.start(frozen, [rows[n] for n in at_work[worker]])
                wait([waitable for worker in at_work for waitable in worker.waitables], timeout=1)
                yield [], []
                for worker, numbers in list(at_work.items()):
                    ended = worker.poll(self.step_timeout)
                    if isinstance(ended, list):
                        yield at_work.pop(worker), list(ended)
                    elif ended is not None:
                        self._end(worker)
                        culprit, how = ended
                        failed = Outcome(0.0, None, 0, how)
                        yield (
                            at_work.pop(worker),
                            [failed if culprit in (None, place) else None for place in range(len(numbers))],
                        )
        finally:
            for worker in at_work:  # whoever asked wants no more
                self._end(worker)

    def _idle_worker(self) -> Worker:
        idle = next((worker for worker in self._pool if not worker.busy), None)
        if idle is None:
            idle = Worker(self.width)
            self._pool.append(idle)
        return idle

    def _end(self, worker: Worker) -> None:
        self._pool.remove(worker)
        worker.end()

    def close(self) -> None:
        """End the processes and close the environments."""
        self._environments.close()
        while self._pool:
            self._pool.pop().end()
