"""Checkpoints that a user names: read, or refused by name, and built again into a model and its data."""

import inspect
import textwrap
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from pdt_lightning.core.errors import NotFoundError, UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model import exported
from pdt_lightning.model.guests import transformer_class
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.model.pretrained import located, none_of

EXAMPLE = "runs/<name>/version_0/checkpoints/last.ckpt"
FROM_DATA = ("state_size", "action_size", "max_timesteps", "action_choices")
SIZES = (*FROM_DATA, "width", "layers", "heads", "inner", "use_prompt", "use_return_to_go", "attention", "transformer")

# NumPy's numbers and arrays, which a callback of the user's may keep in its state; Lightning reads them too, when a run
# goes on.
NUMPY: list[Any] = [
    np.ndarray,
    np.dtype,
    *{type(np.dtype(kind)) for kind in "?bhilqBHILQefdgFDG"},
    np.float64(0).__reduce__()[0],
    np.zeros(0).__reduce__()[0],
]
torch.serialization.add_safe_globals(NUMPY)
# Choices came later: a model that does not speak of them has none.
NEEDED = {"hyper_parameters": FROM_DATA[:3], "state_dict": (), "datamodule_hyper_parameters": ("family",)}


def read(path: Path | str, option: str = "ckpt_path", parts: Sequence[str] = tuple(NEEDED)) -> dict[str, Any]:
    """The content of a checkpoint of our model and data, which Lightning or `pdt_lightning.export` wrote.

    Args:
        path: of the file, whose tensors are mapped; of an exported folder; or the name of an installed model.
        option: that names it, for messages.
        parts: what has to be in it.

    Raises:
        NotFoundError: if there is no such file.
        UserError: if it is something else, or not whole.
    """
    path = located(path)
    if exported.is_exported(path):
        return exported.read(path, option)
    if path.is_dir():
        inside = next(iter(sorted(path.rglob("last.ckpt"))), EXAMPLE)
        raise UserError(f"`{option}`={path} is a folder. Name a checkpoint, such as {inside}.")
    if not path.is_file():
        raise NotFoundError(
            f"`{option}`={path}: there is no such file. Name a checkpoint, such as {EXAMPLE}.{none_of(path)}"
        )
    try:
        content = torch.load(path, map_location="cpu", weights_only=True, mmap=True)
    except Exception as error:  # torch raises many kinds, all of them on account of the file
        if strange := _strange(path):
            raise UserError(
                f"`{option}`={path}: a callback has saved {', '.join(strange)} in it, which is not read, since reading "
                "could run code. Let the callback's state_dict hold numbers, strings, lists, dicts, tensors and NumPy "
                "arrays alone."
            ) from error
        raise UserError(
            f"`{option}`={path}: its {path.stat().st_size:,} bytes are no checkpoint, or not the whole of one "
            f"({textwrap.shorten(str(error), 120)}). Name one that pdt_lightning.fit wrote, such as {EXAMPLE}."
        ) from error
    for part in parts:
        if not isinstance(content, dict) or part not in content or not set(NEEDED[part]) <= set(content[part]):
            raise UserError(
                f"`{option}`={path} is not a checkpoint of this package: it has no {part} of ours. Name one that "
                f"pdt_lightning.fit wrote, such as {EXAMPLE}."
            )
    return content


def weights_of(path: Path | str) -> Path:
    """The file that holds the weights of a checkpoint that can be read."""
    place = located(path)
    return place / exported.WEIGHTS if place.is_dir() else place


def results_of(path: Path | str) -> Path:
    """The folder in which the results of a checkpoint lie, its prompts among them: its run's, or the exported one."""
    place = located(path)
    return place if place.is_dir() else place.resolve().parent.parent


def _strange(path: Path) -> list[str]:
    """Names of what a whole checkpoint holds that is neither plain nor of torch or NumPy."""
    try:
        return sorted(torch.serialization.get_unsafe_globals_in_checkpoint(path))
    except Exception:  # it is no checkpoint, or not the whole of one
        return []


def load_module(path: Path | str, option: str = "ckpt_path") -> LitPDT:
    """The module of a checkpoint, on the CPU.

    Raises:
        UserError: if the file is no checkpoint of ours, or its weights are not those that its own options ask for.
    """
    content = read(path, option, ("hyper_parameters", "state_dict"))
    options = {name: value for name, value in content["hyper_parameters"].items() if name != "_instantiator"}
    transformer_class(options.get("transformer", "pdt"))  # whose package may be missing here
    try:
        # Not through Lightning, which would have its command line's parser build the module.
        module = LitPDT(**options)
        module.load_state_dict(content["state_dict"])
    except (RuntimeError, TypeError, ValueError) as error:  # torch's, on weights; Python's and ours, on options
        raise unfit(path, option) from error
    return module


def load(path: Path | str, family_options: Mapping[str, Any] | None = None) -> tuple[LitPDT, MultiTaskDataModule]:
    """Model and data module of a checkpoint, to tune its held-out tasks, or those of other options of the family.

    Raises:
        UserError: if the file is no checkpoint of ours, or does not fit the options.
    """
    module = load_module(path)
    content = read(path)
    saved = dict(content["datamodule_hyper_parameters"])
    saved.pop("_instantiator", None)
    if not saved.keys() <= inspect.signature(MultiTaskDataModule).parameters.keys():
        raise unfit(path)
    options = {**(saved.get("family_options") or {}), **(family_options or {})}
    data = MultiTaskDataModule(**{**saved, "family_options": options or None, "tuned_training_tasks": None})
    data.facts.saved = content.get(MultiTaskDataModule.__qualname__, {}).get("facts", {})  # none before version 0.2
    for name in ("state_size", "action_size", "action_choices"):
        if getattr(data, name) != module.hparams[name]:
            raise UserError(
                f"{path} was trained on tasks with a {name} of {module.hparams[name]}, not of {getattr(data, name)}, "
                f"as those of `data.family_options`={options} have. Choose tasks whose observations and actions it "
                "knows."
            )
    return module, data


def start_from(module: LitPDT, path: Path | str, option: str = "init_from") -> None:
    """Begin new training of a module with the weights of a checkpoint, and with the statistics of their training.

    Args:
        module: of the same sizes; learning rate, schedule and data may be others.
        path: of the checkpoint.
        option: that names it, for messages.

    Raises:
        UserError: if the file is no checkpoint of ours, or of a model of other sizes.
    """
    content = read(path, option, ("hyper_parameters", "state_dict"))
    saved = {"action_choices": None, **content["hyper_parameters"]}
    try:
        if saved["action_choices"] != module.hparams["action_choices"]:
            raise RuntimeError("actions of another kind may have weights of the same sizes")
        module.load_state_dict(content["state_dict"])
    except RuntimeError as error:  # torch's, which lists every weight
        other = [
            name for name, value in module.hparams.items() if name in SIZES and name in saved and saved[name] != value
        ]
        sizes = (
            "; ".join(f"{name} is {module.hparams[name]}, there {saved[name]}" for name in other)
            or "its weights have other sizes"
        )
        raise UserError(f"`{option}`={path} is of another model: {sizes}. Give the options of that model.") from error
    module.keeps_statistics = True


def unfit(path: Path | str, option: str = "ckpt_path") -> UserError:
    """The error of a checkpoint whose weights or options are not those that this package writes together."""
    return UserError(f"`{option}`={path}: its weights do not fit its own options. Name another one, such as {EXAMPLE}.")
