"""What was computed once and is kept for the next process: beside the demonstrations, in a folder that may go at any time."""

import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from minari.storage import get_dataset_path


def folder() -> Path:
    """`.pdt-lightning` among Minari's datasets, which `MINARI_DATASETS_PATH` may place elsewhere."""
    return Path(get_dataset_path("")) / ".pdt-lightning"


def keep(name: str, make: Callable[[Path], object]) -> Path:
    """Make a folder's content and put it in its place by a rename, so that what is there is whole.

    Args:
        name: of the folder; what stands there already is replaced.
        make: writes into the empty folder that it is given.

    Returns:
        The folder in its place. Where another process was faster, its folder.
    """
    place = folder() / name
    hidden = folder() / f".partial-{uuid.uuid4().hex}"
    hidden.mkdir(parents=True)
    try:
        make(hidden)
        if place.exists():  # a process that still reads the old one goes on doing so: its files live until it closes them
            os.replace(place, folder() / f"{hidden.name}-replaced")
        try:
            os.replace(hidden, place)
        except OSError:
            if not place.exists():
                raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        shutil.rmtree(folder() / f"{hidden.name}-replaced", ignore_errors=True)
    return place
