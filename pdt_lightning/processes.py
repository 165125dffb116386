"""Worker processes, for collection and rollouts alike."""

import multiprocessing
import os
import signal
import threading
from concurrent.futures import ProcessPoolExecutor

import torch


def process_pool(workers: int) -> ProcessPoolExecutor:
    """Spawned workers with one torch thread each, which end with their parent however it ends.

    Spawned, because a fork of a process that has used torch threads can hang. One thread, because several of them beside other
    busy processes collapse.
    """
    return ProcessPoolExecutor(workers, mp_context=multiprocessing.get_context("spawn"), initializer=begin)


def begin() -> None:
    """What a worker process does first: one thread, an ear for its parent's end alone."""
    torch.set_num_threads(1)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a terminal sends Ctrl-C to all of its processes; the parent decides
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        parent.join()  # a parent that was killed cannot tell its workers to stop, and they would wait for work for ever
        os._exit(1)
