"""Exported models: a folder of plain files, which can be read anywhere and hold nothing that could run.

`config.yaml` has the options of model, data and tuning and the facts of the tasks; `model.safetensors` has the weights
and the statistics by which states and actions are normalised. Prompts, figures and a model card lie beside them.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml
from safetensors.torch import load_file, save

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.plain import plain

CONFIG, WEIGHTS = "config.yaml", "model.safetensors"
FORMAT = 1  # of the folder; a change that earlier versions cannot read raises it
# What the configuration calls a part, and where a checkpoint of Lightning's has it.
OPTIONS = {"model": "hyper_parameters", "data": "datamodule_hyper_parameters"}
FACTS, TUNING = "MultiTaskDataModule", "PromptTuning"  # whose state a checkpoint keeps


def is_exported(path: Path) -> bool:
    """Whether a folder is an exported model."""
    return (path / CONFIG).is_file() and (path / WEIGHTS).is_file()


def tuning_options(content: Mapping[str, Any]) -> Mapping[str, Any]:
    """The options that the run of a checkpoint tuned prompts with; none of a run without tuning."""
    callbacks = content.get("callbacks", {}).items()
    return next((state["options"] for name, state in callbacks if name.startswith(TUNING)), {})


def write(folder: Path, content: Mapping[str, Any]) -> dict[str, Any]:
    """Write weights and configuration of a checkpoint.

    Args:
        folder: to write them to.
        content: of the checkpoint, as `checkpoints.read` gives it.

    Returns:
        The configuration.
    """
    config = {
        "format": FORMAT,
        "updates": content.get("global_step", 0),
        **{
            part: {name: value for name, value in content[key].items() if name != "_instantiator"}
            for part, key in OPTIONS.items()
        },
        "tuning": tuning_options(content),
        "facts": content.get(FACTS, {}).get("facts", {}),
    }
    weights = {name: values.contiguous() for name, values in content["state_dict"].items()}
    write_atomically(folder / WEIGHTS, save(weights))
    write_atomically(folder / CONFIG, yaml.safe_dump(plain(config), sort_keys=False, allow_unicode=True, width=120))
    return config


def read(folder: Path, option: str) -> dict[str, Any]:
    """What `write` wrote, as a checkpoint has it, so that whatever reads a checkpoint reads it too.

    Args:
        folder: that `is_exported`.
        option: that names it, for messages.

    Raises:
        UserError: if a file is broken, or of a later version.
    """
    try:
        config = yaml.safe_load((folder / CONFIG).read_text())
        if config["format"] > FORMAT:
            raise UserError(
                f"`{option}`={folder} has format {config['format']}, but this version reads formats up to {FORMAT}. "
                "Install a newer version of pdt-lightning."
            )
        return {
            **{key: config[part] for part, key in OPTIONS.items()},
            "state_dict": load_file(folder / WEIGHTS),
            "callbacks": {TUNING: {"options": config["tuning"]}},
            FACTS: {"facts": config["facts"]},
            "global_step": config["updates"],
        }
    except UserError:
        raise
    except Exception as error:  # of YAML's and safetensors' own kinds, all of them on account of the files
        raise UserError(
            f"`{option}`={folder}: {CONFIG} or {WEIGHTS} is not what pdt_lightning.export wrote "
            f"({type(error).__name__}: {error}). Export the model again, or copy the folder again."
        ) from error
