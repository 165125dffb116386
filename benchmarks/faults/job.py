"""A small run of the sparse point that the scripts start, kill and start again."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import torch

FLAGS = (
    *("--config=conf/point.yaml", "--name=run", "--trainer.accelerator=cpu", "--trainer.precision=32-true"),
    *("--trainer.max_epochs=3", "--trainer.enable_progress_bar=false", "--data.updates_per_epoch=60"),
    *("--data.family_options.training_demonstrations=8", "--data.validation_windows=64", "--data.progress=false"),
    *("--model.dropout=0.1", "--model.warmup_updates=10", "--tuning.every_n_epochs=1", "--tuning.remembered=0.5"),
    *("--tuning.rounds=24", "--tuning.parallel=2", "--tuning.tuner_options.tolerance=0", "--tuning.progress=false"),
    *("--tuning.yardstick_episodes=4", "--tuning.verdict_episodes=10", "--tuning.oracle_candidates=8"),
)
LIMIT = 300.0  # seconds after which a run hangs


def start(folder: Path, ranks: int, *flags: str, log: Path) -> subprocess.Popen:
    """Start the run on so many ranks, in a process group of its own; what it says is added to `log`."""
    several = ["--config=conf/ddp.yaml", f"--trainer.devices={ranks}"] if ranks > 1 else []
    command = [sys.executable, "-m", "pdt_lightning.fit", *FLAGS[:1], *several, *FLAGS[1:]]
    with log.open("a") as said:
        return subprocess.Popen(
            [*command, f"--trainer.default_root_dir={folder}", *flags],
            stdout=said,
            stderr=said,
            start_new_session=True,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )


def members(process: subprocess.Popen) -> list[int]:
    """The ranks of a run, the first one first: processes of its group that run `fit`."""
    found = []
    for path in Path("/proc").glob("[0-9]*"):
        try:
            words = (path / "cmdline").read_bytes().split(b"\0")
            if os.getpgid(int(path.name)) == process.pid and b"pdt_lightning.fit" in b" ".join(words):
                found.append(int(path.name))
        except OSError:  # it has ended
            continue
    return sorted(found)


def kill(process: subprocess.Popen) -> None:
    """End all of a run at once."""
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()


def left(folder: Path) -> dict[str, object]:
    """What a run leaves: weights, rollouts, prompts and summary."""
    version = folder / "run" / "version_0"
    weights = torch.load(version / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
    prompts = {path.name: path.read_bytes() for path in sorted((version / "prompts").rglob("*.safetensors"))}
    summary = json.loads((version / "summary.json").read_text())
    return {
        "weights": {name: values.numpy().tobytes() for name, values in weights.items()},
        "tuning.csv": (version / "tuning.csv").read_bytes(),
        "prompts": prompts,
        "summary": summary["tasks"],
    }
