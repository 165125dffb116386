"""Where a run lives: `<root>/<name>/version_N`.

One process makes the folder and passes it on to all others; `last` and Slurm find it again.
"""

import json
import os
import socket
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from pdt_lightning.core.errors import LostRank, NotFoundError, UserError
from pdt_lightning.core.files import lock, write_atomically
from pdt_lightning.core.terminal import say
from pdt_lightning.model.checkpoints import read

# Environment variable that passes the run's folder from a process to the processes that it starts.
RUN_VARIABLE = "PDT_LIGHTNING_RUN"
LOCK_FILE = ".held"  # in a run's folder: who works in it
JOB_FILE = "slurm_job.json"  # in a run's folder: the Slurm job that it belongs to


def versions(home: Path) -> list[Path]:
    """Folders of all runs of one name, the newest last."""
    found = [path for path in home.glob("version_*") if path.name[8:].isdigit()] if home.is_dir() else []
    return sorted(found, key=lambda path: int(path.name[8:]))


def checkpoint_of(folder: Path) -> tuple[Path | None, str]:
    """The checkpoint that a run goes on from: `last.ckpt`, or, where that cannot be read, the newest one that can.

    Returns:
        The checkpoint, None where there is none; and, where it is not `last.ckpt`, why, else nothing.
    """
    last, why = folder / "checkpoints" / "last.ckpt", ""
    others = sorted(folder.glob("checkpoints/*.ckpt"), key=lambda path: path.stat().st_mtime, reverse=True)
    for path in dict.fromkeys([*([last] if last.is_file() else []), *others]):
        try:
            read(path)
        except UserError as error:
            why = why or str(error)
        else:
            return path, why
    return None, why


def find_run(home: Path, ckpt_path: str | None) -> tuple[Path | None, Path | None, str]:
    """The folder of the run, the checkpoint to go on from, and why it is not the one that one would expect.

    Args:
        home: folder of all runs of this name.
        ckpt_path: None: a new run. `last`: the newest run that has a checkpoint that can be read, or, where none has,
            the newest one, from the start. A path goes on in the run that the checkpoint lies in, or in a new one where
            it lies in none.

    Returns:
        The folder, None for one that is still to be made; the checkpoint, None to begin from the start; the reason,
        mostly empty.

    Raises:
        NotFoundError: if there is nothing to go on from.
        UserError: if there are checkpoints, and none can be read.
    """
    if ckpt_path is None:
        return None, None, ""
    if ckpt_path != "last":
        path = Path(ckpt_path)
        inside = path.parent.name == "checkpoints" and path.parent.parent.name.startswith("version_")
        return (path.parent.parent if inside else None), path, ""
    folders = versions(home)
    if not folders:
        raise NotFoundError(f"--ckpt_path=last: there is no run under {home}. Leave --ckpt_path out to start one.")
    reasons = []
    for folder in reversed(folders):
        checkpoint, why = checkpoint_of(folder)
        reasons += [why] if why else []
        if checkpoint:
            return folder, checkpoint, " ".join(reasons)
    if reasons:
        raise UserError(f"--ckpt_path=last: no checkpoint under {home} can be read. {' '.join(reasons)}")
    return folders[-1], None, ""


def make_version(home: Path) -> Path:
    """A new folder for a run, the next number that is free.

    Of several processes that ask at once each gets one of its own.

    Raises:
        UserError: if nothing can be made there.
    """
    while True:
        folders = versions(home)
        folder = home / f"version_{int(folders[-1].name[8:]) + 1 if folders else 0}"
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            if home.exists() and not home.is_dir():
                raise UserError(f"--trainer.default_root_dir: {home} is a file. Name another folder.") from None
        except OSError as error:
            raise UserError(
                f"--trainer.default_root_dir: {folder} cannot be made: {error.strerror}. Name another folder."
            ) from error


def lock_run_folder(folder: Path) -> IO[str]:
    """Lock a run's folder for this process, until the file that comes back is closed or the process ends.

    Raises:
        UserError: if another process has the folder.
    """
    file = lock(folder / LOCK_FILE)
    if file is None:
        holder = (folder / LOCK_FILE).read_text().strip() or "another process"
        raise UserError(
            f"--ckpt_path: {folder} is in use by {holder}. Wait for that run's end, or leave --ckpt_path out to begin "
            "another."
        )
    file.truncate(0)
    file.write(f"process {os.getpid()} on {socket.gethostname()}\n")
    file.flush()
    return file


def export_run_folder(folder: Path, checkpoint: Path | None) -> None:
    """Pass the run's folder, and the checkpoint that it goes on from, to the processes that this one starts."""
    os.environ[RUN_VARIABLE] = json.dumps([os.getpid(), str(folder), checkpoint and str(checkpoint)])


def inherited_run_folder() -> tuple[Path, Path | None] | None:
    """The folder and checkpoint that the parent process of the same run passed on; None if a user started this one.

    Raises:
        LostRank: if that process has ended already.
    """
    pid, folder, checkpoint = json.loads(os.environ.get(RUN_VARIABLE, "[null, null, null]"))
    if pid in (None, os.getpid()) or "LOCAL_RANK" not in os.environ or "TORCHELASTIC_RUN_ID" in os.environ:
        return None
    if pid != os.getppid():  # it was, or there would be no such variables
        raise LostRank("the first rank, which has started this one, has ended.")
    return Path(folder), checkpoint and Path(checkpoint)


def slurm_job() -> str | None:
    """The job that this process belongs to, as `scontrol requeue` names it; None outside of Slurm."""
    array = os.environ.get("SLURM_ARRAY_JOB_ID")
    return f"{array}_{os.environ['SLURM_ARRAY_TASK_ID']}" if array else os.environ.get("SLURM_JOB_ID")


def requeued(home: Path, args: Sequence[str]) -> Path | None:
    """The folder in which this command of this job ran before Slurm started the job again; None where it did not."""
    job = slurm_job()
    if job is None or not int(os.environ.get("SLURM_RESTART_COUNT", "0")):
        return None
    for folder in reversed(versions(home)):
        if (folder / JOB_FILE).is_file() and json.loads((folder / JOB_FILE).read_text()) == [job, list(args)]:
            return folder
    return None


def record_slurm_job(folder: Path, args: Sequence[str]) -> None:
    """Write into the folder which command of which Slurm job runs there, for `requeued`; nothing outside of Slurm."""
    job = slurm_job()
    if job is not None:
        write_atomically(folder / JOB_FILE, json.dumps([job, list(args)]) + "\n")


def requeue() -> None:
    """Ask Slurm to queue this job again, after its signal that the time limit is near."""
    job = slurm_job()
    if job is None:
        return
    try:
        done = subprocess.run(["scontrol", "requeue", job], capture_output=True, text=True, check=False)
        problem = done.stderr.strip() or f"exit code {done.returncode}" if done.returncode else ""
    except OSError as error:
        problem = str(error)
    say(f"Slurm job {job} {f'could not be requeued: {problem}' if problem else 'is requeued, and goes on from there'}.")
