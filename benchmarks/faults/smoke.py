"""Short runs on two ranks, one after the other: none hangs, and all end with the same weights.

python -m benchmarks.faults.smoke --runs 100
"""

import argparse
import hashlib
import subprocess
import tempfile
import time
from collections import Counter
from pathlib import Path

from benchmarks.faults.job import LIMIT, kill, left, start

SHORT = (
    *("--trainer.max_epochs=1", "--data.updates_per_epoch=4", "--tuning.rounds=4", "--tuning.yardstick_episodes=2"),
    *("--tuning.verdict_episodes=2", "--tuning.oracle_candidates=0", "--trainer.logger=false"),
)


def main(args: list[str] | None = None) -> bool:
    """Run and count."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--ranks", type=int, default=2)
    options = parser.parse_args(args)
    ways: Counter[str] = Counter()
    begin = time.perf_counter()
    for number in range(options.runs):
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            process = start(folder, options.ranks, *SHORT, log=folder / "said.txt")
            try:
                code = process.wait(LIMIT)
                how = f"exit code {code}" if code else f"exit code 0, weights {_digest(folder)}"
            except subprocess.TimeoutExpired:
                kill(process)
                how = "hung"
            ways[how] += 1
            if not how.startswith("exit code 0"):
                print((folder / "said.txt").read_text()[-2000:])
        print(f"{number + 1} of {options.runs} runs: {dict(ways)}", flush=True)
    seconds = (time.perf_counter() - begin) / options.runs
    print(f"{options.ranks} ranks, {options.runs} runs, {seconds:.1f} s each: {dict(ways)}")
    return len(ways) == 1 and next(iter(ways)).startswith("exit code 0")


def _digest(folder: Path) -> str:
    weights = left(folder)["weights"]
    assert isinstance(weights, dict)
    return hashlib.blake2b(b"".join(weights[name] for name in sorted(weights)), digest_size=4).hexdigest()


if __name__ == "__main__":
    raise SystemExit(0 if main() else 1)
