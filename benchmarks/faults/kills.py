"""Runs that are killed at random moments and started again leave what a run leaves that was never stopped.

python -m benchmarks.faults.kills --runs 30 --ranks 1 2

Of a run on several ranks, one alone is killed half of the times: the others have to end by themselves. The script
counts kills, and the checkpoints from which runs went on.
"""

import argparse
import os
import re
import signal
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

import numpy as np

from benchmarks.faults.job import LIMIT, kill, left, members, start
from pdt_lightning.core.seeding import generator

MOST = 6  # times that a run is killed
PATIENCE = 60.0  # seconds in which the others have to end when a rank is killed


def killed_run(folder: Path, ranks: int, seconds: float, rng: np.random.Generator) -> Counter[str]:
    """A run that is killed until it ends before its moment comes.

    Args:
        folder: of the run.
        ranks: how many.
        seconds: that a run takes which is not stopped.
        rng: draws the moments.

    Returns:
        How often it was killed, how often one rank alone was, from how many checkpoints it went on, and how often it
        hung.
    """
    counted: Counter[str] = Counter()
    log = folder / "said.txt"
    while True:
        again = ["--ckpt_path=last"] if (folder / "run").exists() else []
        process, last = start(folder, ranks, *again, log=log), counted["killed"] == MOST
        try:
            process.wait(LIMIT if last else rng.uniform(0.2, 1.0) * seconds)
            break
        except subprocess.TimeoutExpired:
            if last:
                kill(process)
                counted["hung"] += 1
                counted["failed"] += 1
                return counted
            counted["killed"] += 1
        alone = members(process) if ranks > 1 and rng.random() < 0.5 else []
        if len(alone) == ranks:
            counted["one rank alone"] += 1
            os.kill(alone[int(rng.integers(ranks))], signal.SIGKILL)
            until = time.monotonic() + PATIENCE
            while members(process) and time.monotonic() < until:
                time.sleep(0.2)
            counted["hung"] += bool(members(process))
        if members(process):
            kill(process)
        process.wait()
    counted["failed"] += process.returncode != 0
    counted["went on"] = len(set(re.findall(r", after update ([\d,]+) in epoch (\d+)", log.read_text())))
    return counted


def main(args: list[str] | None = None) -> bool:
    """Kill and compare."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=30)
    parser.add_argument("--ranks", type=int, nargs="+", default=[1, 2])
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args(args)
    sound = True
    for ranks in options.ranks:
        with tempfile.TemporaryDirectory() as place:
            whole, begin = Path(place) / "whole", time.perf_counter()
            whole.mkdir()
            if start(whole, ranks, log=whole / "said.txt").wait(LIMIT):
                raise RuntimeError((whole / "said.txt").read_text()[-3000:])
            seconds, expected = time.perf_counter() - begin, left(whole)
            total: Counter[str] = Counter()
            for number in range(options.runs):
                folder = Path(place) / str(number)
                folder.mkdir()
                counted = killed_run(folder, ranks, seconds, generator(options.seed, "kills", ranks, number))
                found = left(folder) if not counted["failed"] else {}
                other = [name for name in expected if found.get(name) != expected[name]]
                counted["not equal"] += bool(other)
                total += counted
                print(f"{ranks} ranks, run {number}: {dict(counted)} {other or 'equal'}", flush=True)
            ways = ", ".join(f"{total[name]} {name}" for name in ("killed", "one rank alone", "went on"))
            faults = ", ".join(f"{total[name]} {name}" for name in ("not equal", "hung", "failed"))
            print(f"{ranks} ranks, {options.runs} runs of {seconds:.0f} s: {ways}; {faults}", flush=True)
            sound &= not (total["not equal"] or total["hung"] or total["failed"])
    return sound


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
