"""Run: the jobs of a comparison in worker processes, with progress, until they are done or somebody wants to stop."""

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from pdt_lightning.comparison.plan import ORACLE, Job, Plan
from pdt_lightning.comparison.work import work
from pdt_lightning.core.processes import process_pool
from pdt_lightning.core.signals import Interrupted, StopRequest
from pdt_lightning.core.terminal import progress_bar, quiet
from pdt_lightning.tuning import oracle


def run(plan: Plan, jobs: Sequence[Job], folder: Path, workers: int) -> None:
    """Do jobs in worker processes.

    Raises:
        Interrupted: if asked to stop; its text is the number of the signal.
    """
    if not jobs:
        return
    context, request = multiprocessing.get_context("spawn"), StopRequest()
    count, stop = context.Value("q", 0), context.Value("b", 0)
    total, shown, planned_of_done = sum(plan.rollouts(job) for job in jobs), 0, 0
    doing = f"Looking for the {oracle.NAME}" if all(job.name == ORACLE for job in jobs) else f"Comparing {len(plan.names)} tuners"
    request.listen()
    try:
        with (
            process_pool(workers, _share, count, stop) as pool,
            progress_bar(doing, total, "rollout") as advance,
        ):
            waiting = {pool.submit(_work, plan, job, folder) for job in jobs}
            try:
                while waiting:
                    done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    # A job may take fewer rollouts than planned: then it counts as much as was planned once it is done.
                    planned_of_done += sum(job.result() for job in done)
                    now = min(total, count.value + planned_of_done)
                    advance(now - shown)
                    shown = now
                    if request.heard and not stop.value:
                        stop.value = 1
            except BaseException:
                stop.value = 1
                pool.shutdown(wait=False, cancel_futures=True)
                raise
    except (Interrupted, BrokenProcessPool):  # a signal to the whole group ends the workers too
        if not request.heard:
            raise
        raise Interrupted(str(int(request.signal or signal.SIGTERM))) from None
    finally:
        request.cease()


class _Shared:
    """In a worker process, what it shares with its parent: rollouts so far, and whether to stop."""

    count: Synchronized
    stop: Synchronized


def _share(count: Synchronized, stop: Synchronized) -> None:
    _Shared.count, _Shared.stop = count, stop


def _work(plan: Plan, job: Job, folder: Path) -> int:
    """Do a job; how many rollouts fewer than planned it took."""
    quiet()
    own = 0

    def count(number: int) -> None:
        nonlocal own
        own += number
        with _Shared.count.get_lock():
            _Shared.count.value += number
        if _Shared.stop.value:
            raise Interrupted

    if _Shared.stop.value:
        raise Interrupted
    work(plan, job, folder, count)
    return plan.rollouts(job) - own
