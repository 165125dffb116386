"""Worker processes, for collection and rollouts alike."""

import math
import multiprocessing
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from multiprocessing.connection import wait
from pathlib import Path
from typing import Any

import torch

# Whatever has used torch's threads must not be forked, since the fork can hang. What is forked instead is a server that
# has imported what workers need, once for all of them, and done nothing else.
METHOD = "forkserver" if "forkserver" in multiprocessing.get_all_start_methods() else "spawn"


def cores() -> int:
    """CPU cores that this process may use: those that it may run on, and no more than its control group allows."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(known, int(int(quota) / int(period))))
    except (OSError, ValueError):  # no such groups, or no limit
        return known


def cores_of_rank(ranks: int = 1) -> int:
    """This process's share of the cores, at least one.

    Args:
        ranks: processes that share them, where no launcher such as `torchrun` has said how many it started here.
    """
    return max(1, cores() // max(1, int(os.environ.get("LOCAL_WORLD_SIZE", ranks))))


@contextmanager
def process_pool(
    workers: int, first: Callable[..., object] | None = None, *given: Any, grace: float = 0.0
) -> Iterator[ProcessPoolExecutor]:
    """Workers with one torch thread each, of which none is left at the end of the `with` block.

    The block's end waits for all work. Where it is left by an exception, what waits is cancelled, and what is at work
    is ended. Workers end with their parent however it ends, and have its environment variables as they are now. They
    have one thread, because several of them beside other busy processes collapse.

    Args:
        workers: how many.
        first: called by each worker before all else.
        *given: what it is called with; may be what processes share, such as a `multiprocessing.Value`.
        grace: seconds that work has after an exception to end by itself; none after a `KeyboardInterrupt`, which also
            cuts them short.
    """
    context = multiprocessing.get_context(METHOD)
    pool = ProcessPoolExecutor(
        workers, mp_context=context, initializer=begin_in, initargs=(dict(os.environ), first, *given)
    )
    try:
        for _ in range(workers):
            # Starts one. The pool's thread lists the workers whose end it looks for when it has a result, but one that
            # was started later, at need, may die before it is listed, and its work would be waited for for ever.
            pool.submit(bool)
        yield pool
    except BaseException as error:
        _end(pool, 0.0 if isinstance(error, KeyboardInterrupt) else grace, cancel=True)
        raise
    _end(pool, math.inf)


def _end(pool: ProcessPoolExecutor, seconds: float, cancel: bool = False) -> None:
    """End a pool whose work has so many seconds left, and return when nothing of the pool is left.

    Its thread is not left to the interpreter's exit, as `shutdown(wait=False)` alone would do: there it may close its
    pipe just when Python writes to it, which prints "OSError: Bad file descriptor". Nor is it waited for while work
    goes on, as `shutdown` would do: before Python 3.13 an interrupted `Thread.join` takes a thread for ended which is
    not. Python 3.14 has `kill_workers`.
    """
    workers = list((pool._processes or {}).values())
    thread: Any = pool._executor_manager_thread  # the stub has another type
    pool.shutdown(wait=False, cancel_futures=cancel)
    running, until = {worker.sentinel for worker in workers}, time.monotonic() + seconds
    try:
        while running and (left := until - time.monotonic()) > 0:
            running.difference_update(wait(running, min(left, 60.0)))
    finally:
        for worker in workers:
            worker.kill()  # does nothing to one that has ended
        if thread is not None:  # a worker was started
            thread.join()


def begin(first: Callable[..., object] | None = None, *given: Any) -> None:
    """What a worker process does first: one thread, an ear for its parent's end alone; then `first(*given)`."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all of its processes; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if first:
        first(*given)


def begin_in(environment: Mapping[str, str], first: Callable[..., object] | None = None, *given: Any) -> None:
    """`begin`, with the environment variables of whoever wants the work, as the server may have older ones."""
    os.environ.clear()
    os.environ.update(environment)
    begin(first, *given)


def end_with_parent() -> None:
    """End this process within a second or two of the one that started it, however that ends.

    A process that another program has started is told of no end of that, and may wait for it for hours.
    """
    parent = os.getppid()

    def look() -> None:
        while os.getppid() == parent:
            time.sleep(1)
        os._exit(1)

    threading.Thread(target=look, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a parent that was killed cannot tell its workers to stop, and they would wait for work for ever
        os._exit(1)
