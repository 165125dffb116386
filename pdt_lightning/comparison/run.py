"""Run: the jobs of a comparison in worker processes, with progress, until they are done or somebody wants to stop."""

import multiprocessing
import signal
import time
from concurrent.futures import FIRST_COMPLETED, Future, wait
from concurrent.futures.process import BrokenProcessPool
from multiprocessing.sharedctypes import Synchronized
from pathlib import Path
from typing import IO

from pdt_lightning.comparison.plan import Job, Plan
from pdt_lightning.comparison.work import work
from pdt_lightning.core.files import lock
from pdt_lightning.core.processes import METHOD, process_pool
from pdt_lightning.core.signals import Interrupted, StopRequest
from pdt_lightning.core.terminal import progress_bar, quiet

POLL = 0.5  # seconds between two looks at what others have done
GRACE = 60.0  # seconds in which a worker gets to its next rollout, before which it does not look whether to stop


def run(plan: Plan, folder: Path, workers: int) -> None:
    """Do all jobs in worker processes; other processes may do so at the same time, on the same folder.

    Each job is done by whoever is the first to lock its file, and by another one where that process ends before. Nobody
    leaves before all are done.

    Raises:
        Interrupted: if asked to stop; its text is the number of the signal.
    """
    left = [job for job in plan.jobs() if not job.done(folder)]
    if not left:
        return
    context, request = multiprocessing.get_context(METHOD), StopRequest()
    count, stop = context.Value("q", 0), context.Value("b", 0)
    total, shown, unspent = sum(plan.rollouts(job) for job in left), 0, 0
    at_work: dict[Future[int], tuple[Job, IO[str]]] = {}
    request.listen()
    try:
        with (
            process_pool(min(workers, len(left)), _share, count, stop, grace=GRACE) as pool,
            progress_bar(f"Comparing {len(plan.names)} tuners", total, "rollout") as advance,
        ):
            try:
                while left or at_work:
                    for job in list(left):
                        if len(at_work) < workers and plan.ready(job, folder) and (held := lock(_lock(job, folder))):
                            left.remove(job)
                            if job.done(folder):  # by another process, meanwhile
                                held.close()
                                unspent += plan.rollouts(job)
                            else:
                                at_work[pool.submit(_work, plan, job, folder)] = job, held
                    done, _ = wait(at_work, timeout=POLL, return_when=FIRST_COMPLETED)
                    for future in done:
                        # A job may take fewer rollouts than planned: then it counts as much as was planned.
                        unspent += future.result()
                        at_work.pop(future)[1].close()
                    now = max(shown, min(total, count.value + unspent))
                    advance(now - shown)
                    shown = now
                    if request.heard:
                        stop.value = 1
                        if not at_work:
                            raise Interrupted
                    if left and not at_work and not done:  # all that is left is done by others
                        time.sleep(POLL)
            except BaseException:
                stop.value = 1
                raise
    except (Interrupted, BrokenProcessPool):  # a signal to the whole group ends the workers too
        if not request.heard:
            raise
        raise Interrupted(str(int(request.signal or signal.SIGTERM))) from None
    finally:
        request.cease()
        for _, held in at_work.values():
            held.close()


def _lock(job: Job, folder: Path) -> Path:
    file = job.file(folder)
    return file.with_name(f".{file.stem}.lock")


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
