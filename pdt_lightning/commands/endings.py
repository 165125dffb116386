"""What `fit` says at its end, and where it was stopped: what to type next."""

import shlex
from collections.abc import Sequence
from pathlib import Path

from pdt_lightning.core.terminal import say


def print_stop(folder: Path, where: str, args: Sequence[str]) -> None:
    """Say where a run stopped, and print the command that goes on; `args` are those of the command that was stopped."""
    checkpoint = folder / "checkpoints" / "last.ckpt"
    arguments = [
        arg for n, arg in enumerate(args) if not (arg.startswith("--ckpt_path") or (n and args[n - 1] == "--ckpt_path"))
    ]
    again = shlex.join([*arguments, "--ckpt_path", str(checkpoint) if checkpoint.is_file() else "last"])
    say(f"\nStopped {where}. What is saved stays. Go on:\npython -m pdt_lightning.fit {again}")


def print_footer(folder: Path, look: Sequence[str]) -> None:
    """Say where everything is and what to type next; `look` says where the curves are, logger by logger."""
    checkpoint, prompts = folder / "checkpoints" / "last.ckpt", folder / "prompts"
    places = [name for name in ("summary.json", "tuning.csv") if (folder / name).is_file()]
    places += [f"{name}/" for name in ("prompts", "figures", "videos", "checkpoints") if (folder / name).is_dir()]
    say(f"\nWritten to {folder}: {', '.join(places) or 'nothing'}.")
    if checkpoint.is_file() and prompts.is_dir():
        say(
            f"Judge the prompts on other episodes:  python -m pdt_lightning.tune --ckpt_path {checkpoint} "
            f"--prompts {prompts} --rounds 0 --verdict_seed 99"
        )
    for place in look:
        say(f"Look at the curves:                   {place}")
