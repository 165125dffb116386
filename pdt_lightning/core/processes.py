"""Worker processes, for collection and rollouts alike."""

import multiprocessing
import os
import signal
import threading
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

import torch


def cores() -> int:
    """CPU cores that this process may use: those that it may run on, and no more than its control group allows."""
    known = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = Path("/sys/fs/cgroup/cpu.max").read_text().split()
        return max(1, min(known, int(int(quota) / int(period))))
    except (OSError, ValueError):  # no such groups, or no limit
        return known


def process_pool(workers: int, first: Callable[..., object] | None = None, *given: Any) -> ProcessPoolExecutor:
    """Spawned workers with one torch thread each, which end with their parent however it ends.

    Each calls `first(*given)` before all else; what is given may be what processes share, such as a
    `multiprocessing.Value`.

    Spawned, because a fork of a process that has used torch threads can hang. One thread, because several of them
    beside other busy processes collapse.
    """
    return ProcessPoolExecutor(
        workers, mp_context=multiprocessing.get_context("spawn"), initializer=begin, initargs=(first, *given)
    )


def begin(first: Callable[..., object] | None = None, *given: Any) -> None:
    """What a worker process does first: one thread, an ear for its parent's end alone; then `first(*given)`."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all of its processes; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()
    if first:
        first(*given)


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a parent that was killed cannot tell its workers to stop, and they would wait for work for ever
        os._exit(1)
