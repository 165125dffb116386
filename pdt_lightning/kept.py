"""What was computed once and is kept for the next process: beside the demonstrations, in a folder that may go at any time."""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from minari.storage import get_dataset_path


def folder() -> Path:
    """`.pdt-lightning` among Minari's datasets, which `MINARI_DATASETS_PATH` may place elsewhere."""
    return Path(get_dataset_path("")) / ".pdt-lightning"


def mark(place: Path) -> list:
    """What changes when a folder's files do: their names, sizes and times.

    Raises:
        FileNotFoundError: if there is no such folder.
    """
    with os.scandir(place) as files:
        status = [(file.name, file.stat()) for file in files if file.is_file()]
    return sorted([name, known.st_size, known.st_mtime_ns] for name, known in status)


def keep(name: str, source: object, make: Callable[[Path], object]) -> Path:
    """A folder made of `source`: the one that is there, or a new one.

    Args:
        name: of the folder.
        source: what its content follows from, as JSON can write it; a folder made of something else is replaced.
        make: writes into the empty folder that it is given. The folder is put in its place by a rename, so that what is there is
            whole.

    Returns:
        The folder in its place. Where another process was faster, its folder.
    """
    place, text = folder() / name, json.dumps(source)
    if _made_of(place, text):
        return place
    hidden = folder() / f".partial-{uuid.uuid4().hex}"
    hidden.mkdir(parents=True)
    replaced = hidden.with_name(f"{hidden.name}-replaced")
    try:
        make(hidden)
        (hidden / "source.json").write_text(text)
        if place.exists() and not _made_of(place, text):
            os.replace(place, replaced)  # who reads the old one goes on doing so: its files live until they are closed
        try:
            os.replace(hidden, place)
        except OSError:
            if not _made_of(place, text):
                raise
    finally:
        shutil.rmtree(hidden, ignore_errors=True)
        shutil.rmtree(replaced, ignore_errors=True)
    return place


def _made_of(place: Path, source: str) -> bool:
    try:
        return (place / "source.json").read_text() == source
    except FileNotFoundError:
        return False
