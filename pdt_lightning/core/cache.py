"""What was computed once and is kept for the next process.

It lies beside the demonstrations, in a folder that may go at any time.
"""

import functools
import hashlib
import json
import os
import re
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from minari.storage import get_dataset_path

from pdt_lightning.core.errors import NotFoundError, UserError

VERSION = 2  # of everything kept; raise it with any change to what is written
DAY = 86_400.0  # seconds
IMPORTED = "prompt-dt/"  # begins the ids of what was imported from Prompt-DT's files


def dataset_path(dataset_id: str = "") -> Path:
    """Folder of a dataset, whether or not it exists; of all datasets without an id. `MINARI_DATASETS_PATH` is honoured.

    Raises:
        UserError: if the folder of all datasets can be neither found nor made.
    """
    try:
        return Path(get_dataset_path(dataset_id))
    except OSError as error:
        raise UserError(
            f"MINARI_DATASETS_PATH: {error.filename} is no folder and cannot be made: {error.strerror}. Set it to "
            "another folder."
        ) from error


def folder() -> Path:
    """`PDT_LIGHTNING_CACHE`, or `.pdt-lightning` among Minari's datasets.

    `MINARI_DATASETS_PATH` may place these elsewhere.
    """
    given = os.environ.get("PDT_LIGHTNING_CACHE")
    return Path(given) if given else dataset_path() / ".pdt-lightning"


def not_found(dataset_id: str) -> NotFoundError:
    """The error that says where the dataset was looked for, and what to do."""
    if dataset_id.startswith(IMPORTED):
        return NotFoundError(
            f"Minari dataset {dataset_id} is not under {dataset_path()}. Import the published files: python -m "
            f"pdt_lightning.collect import-prompt-dt DIR --family {dataset_id.split('/')[1]}"
        )
    way_out = f"Run `minari download {dataset_id}`, or correct the id."
    if versions := sorted(path.name for path in dataset_path(dataset_id).parent.glob(f"{Path(dataset_id).name}-v*")):
        namespace = dataset_id.rpartition("/")[0]
        there = ", ".join(f"{namespace}/{name}" if namespace else name for name in versions)
        way_out = f"There is {there}: give the id with its version."
    return NotFoundError(f"Minari dataset {dataset_id} is not under {dataset_path()}. {way_out}")


def unreadable(dataset_id: str, error: Exception) -> UserError:
    """The error of a dataset that is there and that Minari does not read.

    Its reason is what the dataset lacks, or that it is broken.
    """
    way_out = f"Remove {dataset_path(dataset_id)} and download or collect it again."
    if isinstance(error, ImportError):
        way_out = "It is there; install what reads it, and try again."
    elif "does not support the dataset" in str(error):
        way_out = "Install the Minari that it was made with, or make it again with this one."
    return UserError(f"Minari dataset {dataset_id} cannot be read: {str(error) or type(error).__name__}. {way_out}")


def empty(dataset_id: str) -> UserError:
    """The error of a dataset without a step in it."""
    return UserError(f"Minari dataset {dataset_id} has no episode with a step in it. Leave it out of the list.")


def mark(dataset_id: str) -> list:
    """What changes when a dataset does: its id, and names, sizes and times of its files.

    Raises:
        NotFoundError: if it is not on this machine.
    """
    try:
        with os.scandir(dataset_path(dataset_id) / "data") as files:
            status = [(file.name, file.stat()) for file in files if file.is_file()]
    except FileNotFoundError:
        raise not_found(dataset_id) from None
    return [dataset_id, *sorted([name, known.st_size, known.st_mtime_ns] for name, known in status)]


@contextmanager
def appearing(place: Path, within: Path, part: str = "") -> Iterator[Path]:
    """A hidden folder to write into, which becomes `place` by one rename at the end, so that what is there is whole.

    Where another process was faster, its folder stays; where the block raises, nothing is left.

    Args:
        place: of the folder to come.
        within: where the hidden folder stands, on the same disk.
        part: what to rename, within the hidden folder; empty: all of it.
    """
    hidden = within / f".partial-{uuid.uuid4().hex}"
    hidden.mkdir(parents=True)
    try:
        yield hidden
        place.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(hidden / part, place)
        except OSError:
            if not place.exists():
                raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)


def keep(kind: str, source: object, make: Callable[[Path], object]) -> Path:
    """A folder made of `source`: the one that is there, or a new one.

    The name follows from the source, so that a folder is made once and never changes, and processes cannot get in each
    other's way.

    Args:
        kind: begins the name.
        source: what the content follows from, as JSON can write it.
        make: writes into the empty folder that it is given, which then gets its place by a rename, so that what is
            there is whole.

    Returns:
        The folder in its place. Where another process was faster, its folder.

    Raises:
        UserError: if nothing can be written there; it names the way out.
    """
    digest = hashlib.blake2b(json.dumps([VERSION, source]).encode(), digest_size=10).hexdigest()
    place = folder() / f"{re.sub(r'[^A-Za-z0-9.-]+', '-', kind)}-{digest}"
    if place.exists():
        with suppress(OSError):  # of a folder that may not be written
            os.utime(place)  # in use
        return place
    try:
        folder().mkdir(parents=True, exist_ok=True)
        if not os.access(folder(), os.W_OK):
            raise PermissionError("no permission to write")
    except OSError as error:
        raise UserError(
            f"{folder()} cannot be written: {error}. Set PDT_LIGHTNING_CACHE to a folder that can; what it holds may "
            "be deleted."
        ) from error
    with appearing(place, folder()) as hidden:
        make(hidden)
    _sweep(folder())
    return place


@functools.cache  # once in a process: to look through hundreds of folders for each of them would take seconds
def _sweep(within: Path) -> None:
    """Remove what processes that were killed have left half made, and what nobody has asked for in a month."""
    for left in within.iterdir():
        with suppress(FileNotFoundError):  # another process was faster
            if time.time() - left.stat().st_mtime > (DAY if left.name.startswith(".partial-") else 30 * DAY):
                shutil.rmtree(left, ignore_errors=True)
