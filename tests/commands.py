"""Runs the package's commands as processes with a watchdog, so that a hang is a failure and not a stuck CI."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[1]


def command(module, *flags, limit=240, check=True, **environment):
    """The finished process; fails if it outlasts `limit` seconds."""
    variables = {**os.environ, "OMP_NUM_THREADS": "1", **environment}
    arguments = [sys.executable, "-m", f"pdt_lightning.{module}", *map(str, flags)]
    done = subprocess.run(arguments, cwd=ROOT, env=variables, capture_output=True, text=True, timeout=limit, check=False)
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-6000:]
    return done
