"""How much faster several processes tune and compare than one: `python -m benchmarks.ranks`, on two idle cores.

Each row runs one command of the package with one process and with several, each with one thread, from its start to its
end, in turn, and gives the ratio of the times. The models are the pretrained ones in `models/`. Both have to find the
same.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

MODELS = Path(__file__).parents[1] / "models" / "pdt_lightning_models"
CHEETAH = (
    f"--ckpt_path={MODELS / 'half_cheetah_vel'}",
    "--tasks=[half-cheetah-vel/02,half-cheetah-vel/07]",
    "--width=8",
)
TUNE = (
    *CHEETAH,
    "--rounds=256",
    "--parallel=8",
    "--tuner_options.tolerance=0",
    "--verdict_episodes=256",
    "--workers=0",
)
COMPARE = (
    *("--ckpt_path", *[str(MODELS / "point")] * 4, "--tuners", "structured", "flat", "random_search"),
    *("--rounds=50", "--seeds=6", "--parallel=1", "--verdict_episodes=60", "--oracle_candidates=50", "--workers=1"),
)


def tuned(folder: Path, ranks: int) -> list[bytes]:
    """Tune on so many ranks; what is found."""
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={ranks}"]
    run([*torchrun, "-m", "pdt_lightning.tune", *TUNE, f"--out={folder}"])
    return [path.read_bytes() for path in (folder / "tuning.csv", *sorted(folder.glob("prompts/**/*.safetensors")))]


def compared(folder: Path, processes: int) -> list[bytes]:
    """Compare in so many processes; what is found."""
    command = [sys.executable, "-m", "pdt_lightning.compare", *COMPARE, f"--out={folder}"]
    with ThreadPoolExecutor(processes) as together:
        list(together.map(run, [command] * processes))
    return [(folder / name).read_bytes() for name in ("results.csv", "recommended.csv")]


def run(command: Sequence[str]) -> None:
    """Run a command with one thread."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(command, check=True, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


ROWS = {
    "tune, two tasks of half-cheetah, 2 ranks": (tuned, 2),
    "tune, two tasks of half-cheetah, 4 ranks": (tuned, 4),
    "compare, four checkpoints of the point, 2 processes": (compared, 2),
}


def main(args: list[str] | None = None) -> dict[str, list[float]]:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args(args)
    ratios: dict[str, list[float]] = {name: [] for name in ROWS}
    for _ in range(options.repeats):
        for name, (work, several) in ROWS.items():
            with tempfile.TemporaryDirectory() as place:
                seconds, found = [], []
                for number in (1, several):
                    begin = time.perf_counter()
                    found.append(work(Path(place) / str(number), number))
                    seconds.append(time.perf_counter() - begin)
            same = "the same results" if found[0] == found[1] else "OTHER RESULTS"
            ratios[name].append(seconds[0] / seconds[1])
            print(f"{name}: {seconds[0]:.0f} s, {seconds[1]:.0f} s, {ratios[name][-1]:.2f} times; {same}", flush=True)
    return ratios


if __name__ == "__main__":
    main()
