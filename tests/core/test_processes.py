"""Worker processes: however a pool's block is left, none of them and no thread of the pool is left behind."""

import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
from concurrent.futures.process import BrokenProcessPool
from pathlib import Path

import pytest

from pdt_lightning.core.processes import process_pool
from tests.processes import ROOT

# One worker is at work and work waits, and it is told when that is so.
# Ctrl-C is heard as in a terminal, also where the tests run in the background of a shell, which has them ignore it.
SCRIPT = """
import signal
import time
from pdt_lightning.core.processes import process_pool

if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.default_int_handler)
    with process_pool(1) as pool:
        pool.submit(int).result()
        work = [pool.submit(time.sleep, 600) for _ in range(3)]
        print("at work", flush=True)
        work[-1].result()
"""


def fail():
    """As a program does that finds something wrong."""
    raise ZeroDivisionError


class Shared:
    stop = None


def share(stop):
    Shared.stop = stop


def until_told():
    while not Shared.stop.value:
        time.sleep(0.01)
    return "ended by itself"


@pytest.fixture(autouse=True)
def _nothing_left():
    """Nor does what is left depend on chance: the interpreter's exit meets no thread that may be closing its pipe."""
    processes, threads = set(multiprocessing.active_children()), set(threading.enumerate())
    yield
    assert set(multiprocessing.active_children()) <= processes
    assert {one for one in threading.enumerate() if one.name != "QueueFeederThread"} <= threads


def slow(number):
    time.sleep(0.5)
    return -number


@pytest.fixture
def ctrl_c_soon():
    """Once work is running, lets Ctrl-C reach this process half a second later."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    timer = threading.Timer(0.5, os.kill, (os.getpid(), signal.SIGINT))

    def start(work):
        while not work.running():
            time.sleep(0.01)
        timer.start()

    yield start
    if timer.is_alive():
        timer.join()
    signal.signal(signal.SIGINT, before)


def test_a_block_that_ends_waits_for_its_work():
    with process_pool(1) as pool:
        work = [pool.submit(slow, number) for number in (1, 2)]
    assert [one.result() for one in work] == [-1, -2]


def test_a_pool_without_work_has_nothing_to_end():
    with pytest.raises(ZeroDivisionError), process_pool(1):
        fail()


def test_an_exception_ends_what_hangs_and_cancels_what_waits():
    with pytest.raises(ZeroDivisionError), process_pool(1) as pool:  # noqa: PT012
        pool.submit(int).result()
        work = [pool.submit(time.sleep, 600) for _ in range(5)]
        while not work[0].running():
            time.sleep(0.01)
        start = time.monotonic()
        fail()
    assert time.monotonic() - start < 10
    assert work[-1].cancelled()
    assert isinstance(work[0].exception(), BrokenProcessPool)


def test_work_that_is_told_to_stop_has_time_for_it():
    stop = multiprocessing.get_context("spawn").Value("b", 0)
    with pytest.raises(ZeroDivisionError), process_pool(1, share, stop, grace=60) as pool:  # noqa: PT012
        work = pool.submit(until_told)
        while not work.running():
            time.sleep(0.01)
        stop.value = 1
        fail()
    assert work.result() == "ended by itself"


def test_work_that_does_not_stop_is_ended_when_its_time_is_over():
    start = time.monotonic()
    with pytest.raises(ZeroDivisionError), process_pool(1, grace=1) as pool:  # noqa: PT012
        work = pool.submit(time.sleep, 600)
        while not work.running():  # what waits would be cancelled
            time.sleep(0.01)
        fail()
    assert 1 < time.monotonic() - start < 30


def test_ctrl_c_ends_at_once_what_would_have_had_time(ctrl_c_soon):
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process_pool(1, grace=600) as pool:  # noqa: PT012
        work = pool.submit(time.sleep, 600)
        ctrl_c_soon(work)
        work.result()
    assert time.monotonic() - start < 30


def test_ctrl_c_at_the_end_of_the_block_ends_what_it_waits_for(ctrl_c_soon):
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process_pool(1) as pool:
        ctrl_c_soon(pool.submit(time.sleep, 600))
    assert time.monotonic() - start < 30


def test_ctrl_c_while_work_has_time_to_end_ends_it_at_once(ctrl_c_soon):
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt), process_pool(1, grace=600) as pool:  # noqa: PT012
        ctrl_c_soon(pool.submit(time.sleep, 600))
        fail()
    assert time.monotonic() - start < 30


def test_a_worker_that_dies_takes_its_pool_with_it():
    with pytest.raises(BrokenProcessPool), process_pool(2, grace=600) as pool:  # noqa: PT012
        pool.submit(time.sleep, 600)
        pool.submit(os._exit, 3).result()


def test_an_interrupted_program_says_nothing_but_that(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT)
    program = subprocess.Popen([sys.executable, script], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert program.stdout.readline() == "at work\n"
    program.send_signal(signal.SIGINT)
    _, errors = program.communicate(timeout=60)
    assert program.returncode == -signal.SIGINT
    assert errors.strip().endswith("KeyboardInterrupt")
    assert "OSError" not in errors


STARTS = """
import subprocess
import sys
import time

child = "import time; from pdt_lightning.core.processes import end_with_parent as end; end(); print(1, flush=True); "
process = subprocess.Popen([sys.executable, "-c", child + "time.sleep(600)"], stdout=subprocess.PIPE)
process.stdout.readline()
print(process.pid, flush=True)
time.sleep(600)
"""


def test_a_process_that_a_program_has_started_ends_with_it():
    with subprocess.Popen([sys.executable, "-c", STARTS], stdout=subprocess.PIPE, cwd=ROOT) as program:
        child = int(program.stdout.readline())
        program.kill()
    until = time.monotonic() + 30
    while running(child) and time.monotonic() < until:
        time.sleep(0.1)
    assert not running(child)


def running(pid):
    """Whether a process is there that has not ended."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
