"""Rollouts in worker processes, whose outcomes are those of this process to the bit, and those of a clean simulator."""

import copy
import pickle
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import wait

from pdt_lightning.rollouts.engine import Played, RolloutEngine, StepTimeout, Width, Workers
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import OnOutcomes, Outcome, Rollout, Row, rollout
from pdt_lightning.rollouts.workers import Frozen, Worker


class RolloutPool(RolloutEngine):
    """Worker processes that play blocks of rows; with 0 workers blocks are played here. The outcomes are the same.

    Processes start when first needed, environments are built when first needed, and both stay until `close`, across
    policies.

    An episode whose environment raises, returns what is not finite, hangs, or takes its worker with it, is played
    again, in a fresh environment and at last in a fresh worker. With 0 workers, a simulator that hangs cannot be
    stopped, and one that crashes ends this process.

    Args:
        workers: processes, each with one torch thread, which play on the CPU wherever the policy is.
        width: rows in a forward pass.
        step_timeout: seconds after which an environment hangs that a worker waits for; None: it may take as long as it
            likes.
    """

    def __init__(self, workers: Workers = 0, width: Width = 8, step_timeout: StepTimeout | None = 300.0):
        super().__init__(workers, width, step_timeout)
        self._pool: list[Worker] = []
        self._environments = Environments(2 * width)
        self._frozen: tuple[Policy, Frozen] | None = None  # the newest policy, as it travels

    def with_policy(self, policy: Policy, on_outcomes: OnOutcomes = lambda rows, outcomes: None) -> Rollout:
        """As every engine does; the policy travels to the workers once."""
        self._frozen = None
        return super().with_policy(policy, on_outcomes)

    def blocks(self, policy: Policy, rows: Sequence[Row]) -> Iterator[Played]:
        """Each block when it has been played, and empty lists at least once a second while waiting for workers."""
        blocks = deque(
            list(range(first, min(first + self.width, len(rows)))) for first in range(0, len(rows), self.width)
        )
        if not self.workers:
            for numbers in blocks:
                yield numbers, list(rollout(policy, [rows[n] for n in numbers], self.width, self._environments))
            return
        frozen, at_work = self._as_it_travels(policy), dict[Worker, list[int]]()
        try:
            while blocks or at_work:
                while blocks and len(at_work) < self.workers:
                    worker = self._idle_worker()
                    at_work[worker] = blocks.popleft()
                    worker.start(frozen, [rows[n] for n in at_work[worker]])
                patience = min(worker.patience(self.step_timeout) for worker in at_work)
                wait([waitable for worker in at_work for waitable in worker.waitables], timeout=patience)
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

    def _as_it_travels(self, policy: Policy) -> Frozen:
        """The policy as workers get it, once for as long as it is the same."""
        if self._frozen is None or self._frozen[0] is not policy:
            on_cpu = policy.model.state_mean.device.type == "cpu"
            model = policy.model if on_cpu else copy.deepcopy(policy.model).cpu()
            self._frozen = (policy, (pickle.dumps(model), policy.settings))
        return self._frozen[1]

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
        self._frozen = None
        self._environments.close()
        while self._pool:
            self._pool.pop().end()
