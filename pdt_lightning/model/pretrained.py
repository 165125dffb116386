"""Pretrained models by name: exported folders that installed packages bring.

A package brings them by an entry point of the group `pdt_lightning.models`, whose value is a package of its own in
which every folder with an exported model is one of that name.
"""

from importlib.metadata import entry_points
from importlib.resources import files
from pathlib import Path

from pdt_lightning.core.errors import suggestion
from pdt_lightning.model.exported import is_exported

GROUP = "pdt_lightning.models"
PACKAGE = "pdt-lightning-models"


def installed() -> dict[str, Path]:
    """The folders of the installed models, by name."""
    found: dict[str, Path] = {}
    for entry in sorted(entry_points(group=GROUP), key=lambda entry: entry.name):
        for folder in sorted(map(Path, map(str, files(entry.value).iterdir()))):
            if is_exported(folder):
                found.setdefault(folder.name, folder)
    return found


def located(path: Path | str) -> Path:
    """The file or folder that is meant: one that is there, or else the installed model of that name.

    A path that is neither stays as it is.
    """
    path = Path(path)
    return path if path.is_file() or is_exported(path) else installed().get(str(path), path)


def none_of(name: Path | str) -> str:
    """What a message adds where neither a file nor a pretrained model is called so; empty where it is no name."""
    name = str(name)
    if Path(name).name != name or Path(name).suffix:
        return ""
    if names := list(installed()):
        return f" The pretrained models that are installed are {', '.join(names)}.{suggestion(name, names)}"
    return (
        f" Nor is any pretrained model installed: install them with pip install {PACKAGE}, or with pip install "
        "./models in a checkout."
    )
