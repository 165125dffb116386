"""Run: the jobs of a comparison in worker processes, with progress, until they are done or somebody wants to stop."""

import multiprocessing
import signal
from collections.abc import Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path

from pdt_lightning.comparison.plan import Job, Plan
from pdt_lightning.comparison.work import work
from pdt_lightning.core.processes import METHOD, process_pool
from pdt_lightning.core.signals import Interrupted, StopRequest
from pdt_lightning.core.terminal import progress_bar, quiet

GRACE = 60.0  # seconds in which a worker gets to its next rollout, before which it does not look whether to stop


def run(plan: Plan, jobs: Sequence[Job], folder: Path, workers: int) -> None:
    """Do jobs in worker processes, and where all others are done then, by whomever, look for the best found too.

    Raises:
        Interrupted: if asked to stop; its text is the number of the signal.
    """
    last = [job for job in plan.oracles() if not job.done(folder)]
    if not jobs and not (last and _all_tried(plan, folder)):
        return
    context, request = multiprocessing.get_context(METHOD), StopRequest()
    count, stop = context.Value("q", 0), context.Value("b", 0)
    total, shown, planned_of_done = sum(plan.rollouts(job) for job in [*jobs, *last]), 0, 0
    request.listen()
    try:
        with (
            process_pool(workers, _share, count, stop, grace=GRACE) as pool,
            progress_bar(f"Comparing {len(plan.names)} tuners", total, "rollout") as advance,
        ):
            waiting = {pool.submit(_work, plan, job, folder) for job in jobs}
            try:
                while waiting or (last and _all_tried(plan, folder)):
                    if not waiting:
                        waiting, last = {pool.submit(_work, plan, job, folder) for job in last}, []
                    done, waiting = wait(waiting, timeout=0.5, return_when=FIRST_COMPLETED)
                    # A job may take fewer rollouts than planned: then it counts as much as was planned once it is done.
                    planned_of_done += sum(job.result() for job in done)
                    now = max(shown, min(total, count.value + planned_of_done))
                    advance(now - shown)
                    shown = now
                    if request.heard and not stop.value:
                        stop.value = 1
            except BaseException:
                stop.value = 1
                raise
    except (Interrupted, BrokenProcessPool):  # a signal to the whole group ends the workers too
        if not request.heard:
            raise
        raise Interrupted(str(int(request.signal or signal.SIGTERM))) from None
    finally:
        request.cease()


def _all_tried(plan: Plan, folder: Path) -> bool:
    return all(job.done(folder) for job in plan.jobs())


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
