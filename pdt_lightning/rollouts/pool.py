"""Rollouts in worker processes, whose outcomes are those of this process to the bit."""

import functools
import pickle
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from typing import TYPE_CHECKING

from pdt_lightning.core.processes import process_pool
from pdt_lightning.core.ranges import check_types, number
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.rollouts.environments import Environments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import OnOutcomes, Outcome, Rollout, Row, rollout

if TYPE_CHECKING:
    Workers = int
    Width = int
else:
    Workers = number(int, 0, 1024)
    Width = number(int, 1, 65_536)


class RolloutPool:
    """Worker processes that play blocks of rows; with 0 workers blocks are played here. The outcomes are the same.

    Processes start when first needed, environments are built when first needed, and both stay until `close`, across policies.

    Args:
        workers: processes, each with one torch thread.
        width: rows in a forward pass.
    """

    def __init__(self, workers: Workers = 0, width: Width = 8):
        check_types("tuning", RolloutPool.__init__, locals())
        self.workers, self.width = workers, width
        self._pool: ProcessPoolExecutor | None = None
        self._environments = Environments(2 * width)

    def with_policy(self, policy: Policy, on_outcomes: OnOutcomes = lambda rows, outcomes: None) -> Rollout:
        """A function from rows to outcomes.

        Args:
            policy: must not change while the function is used.
            on_outcomes: given the rows and outcomes of each block when it has been played, and none every second of waiting: for a
                progress bar, and for whoever keeps them or wants to stop.
        """
        here = self.workers == 0 or policy.model.state_mean.device.type != "cpu"
        frozen = b"" if here else pickle.dumps(policy.model)

        def start(block: Sequence[Row]) -> Callable[[], list[Outcome]]:
            if here:
                return functools.partial(rollout, policy, block, self.width, self._environments)
            # Pickled here, so that tensors travel as bytes and not as shared files, of which there are only so many.
            job = pickle.dumps((policy.context_steps, policy.precision, block, self.width))
            return functools.partial(_patiently, self._processes().submit(_play_frozen, frozen, job), on_outcomes)

        def play(rows: Sequence[Row]) -> list[Outcome]:
            blocks = [rows[first : first + self.width] for first in range(0, len(rows), self.width)]
            outcomes: list[Outcome] = []
            for block, result in [(block, start(block)) for block in blocks]:
                own = result()
                on_outcomes(block, own)
                outcomes += own
            return outcomes

        return play

    def _processes(self) -> ProcessPoolExecutor:
        if self._pool is None:
            self._pool = process_pool(self.workers)
        return self._pool

    def close(self) -> None:
        """End the processes and close the environments."""
        self._environments.close()
        if self._pool is not None:
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def _patiently(job: Future[list[Outcome]], on_outcomes: OnOutcomes) -> list[Outcome]:
    while True:
        try:
            return job.result(timeout=1)
        except TimeoutError:
            if job.done():  # it was the job's own
                raise
            on_outcomes([], [])


@functools.lru_cache(maxsize=1)
def _thaw(frozen: bytes) -> PromptDecisionTransformer:
    return pickle.loads(frozen).eval()


@functools.cache
def _workers_environments(limit: int) -> Environments:
    return Environments(limit)


def _play_frozen(frozen: bytes, job: bytes) -> list[Outcome]:
    context_steps, precision, block, width = pickle.loads(job)
    return rollout(Policy(_thaw(frozen), context_steps, precision), block, width, _workers_environments(2 * width))
