"""Runs the package's commands as processes with a watchdog, so that a hang is a failure and not a stuck CI.

They fork from a server that has imported the package once, since importing takes longer than most of them run.
"""

import functools
import multiprocessing
import os
import runpy
import socket
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from multiprocessing.context import ForkServerContext
from pathlib import Path

from pdt_lightning.results import figures

FIGURES = dict(figures.FIGURES)
ROOT = Path(__file__).parents[1]
os.environ["OMP_NUM_THREADS"] = "1"  # of the server: what imported torch with more could not be told to use one
# Of the server, whoever starts it first: rollouts have workers from it too, and have set what these take.
multiprocessing.set_forkserver_preload(
    [
        f"pdt_lightning.{name}"
        for name in ("commands.cli", "callbacks", "results.figures", "results.videos", "rollouts.workers")
    ]
)


def command(module, *flags, limit=240, check=True, bare=False, draws=(), **environment):
    """The finished process; fails if it outlasts `limit` seconds.

    A `bare` one imports everything itself, as a user's does. Of the figures of a phase, which take longer than all the
    rest of it, it `draws` those that are named.
    """
    arguments = [sys.executable, "-m", f"pdt_lightning.{module}", *map(str, flags)]
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    if bare:
        return subprocess.run(
            arguments, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=limit, check=check
        )
    with tempfile.TemporaryDirectory() as folder:
        outputs = [os.path.join(folder, name) for name in ("stdout", "stderr")]
        process = _server().Process(target=_run, args=(arguments, outputs, variables, draws))
        process.start()
        process.join(limit)
        if hangs := process.exitcode is None:
            process.kill()
            process.join()
        done = subprocess.CompletedProcess(arguments, process.exitcode, *(Path(path).read_text() for path in outputs))
    assert not hangs, f"no end after {limit} s: {done.stdout[-3000:]}{done.stderr[-6000:]}"
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done


def ranks(number, *flags, module="fit", **environment):
    """What the finished ranks of a command that is started by torchrun's variables said, in their order.

    They fork as all commands do, where a launcher's would import everything anew.
    """
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    shared = {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port), "TORCHELASTIC_RUN_ID": "tests"}
    shared |= {"WORLD_SIZE": str(number), "LOCAL_WORLD_SIZE": str(number), "GROUP_RANK": "0"}

    def one(rank):
        return command(module, *flags, **environment, **shared, RANK=str(rank), LOCAL_RANK=str(rank))

    with ThreadPoolExecutor(number) as together:
        return list(together.map(one, range(number)))


@functools.cache
def _server() -> ForkServerContext:
    return multiprocessing.get_context("forkserver")


def _run(arguments, outputs, environment, draws):
    """Become `python -m module flags`."""
    for name in figures.FIGURES.keys() - set(draws):
        del figures.FIGURES[name]
    for number, path in enumerate(outputs, start=1):
        os.dup2(os.open(path, os.O_WRONLY | os.O_CREAT), number)
    sys.stdout, sys.stderr = (os.fdopen(number, "w", buffering=1, closefd=False) for number in (1, 2))
    os.environ.clear()
    os.environ.update(environment)
    os.chdir(ROOT)
    sys.argv = arguments[2:]
    sys.path[0:0] = [str(ROOT), *filter(None, environment.get("PYTHONPATH", "").split(os.pathsep))]
    runpy.run_module(arguments[2], run_name="__main__", alter_sys=True)
