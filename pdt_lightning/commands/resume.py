"""Going on from a checkpoint: with the options that it was trained with, or not at all."""

import inspect
import textwrap
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.plain import plain
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.checkpoints import FROM_DATA, read, unfit
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.tasks.base import options_of

# These decide nothing of what is learned: who collects demonstrations, what is tuned besides, how the model is
# computed.
MAY_DIFFER = {
    "data": ("collection_workers", "progress", "tuned_training_tasks"),
    "model": ("compile", "skip_not_finite"),
}
# What another option sets, or what is compared by itself.
FOLLOW = {"data": ("attention", "seed", "family_options"), "model": ("context_steps",)}


def check_same(path: Path | str, model: LitPDT, data: MultiTaskDataModule, found: Collection[str] = ()) -> None:
    """Refuse to go on from a checkpoint with other options than it was trained with.

    All options of the model and the data have to be the same, since they decide what the weights mean, what is trained
    on, or, like the learning rate, would be overruled by the state of the optimiser without a word.
    `data.updates_per_epoch` too: the epochs that are over had so many. May differ: `name` and all of `trainer`
    (hardware, and when to stop) and `tuning` (a phase starts afresh), `model.compile`, `model.skip_not_finite`,
    `data.collection_workers` and `data.progress`.

    Args:
        path: of the checkpoint.
        model: as the options say it.
        data: likewise.
        found: options of the model that are not as they were given, but as Lightning has found them.

    Raises:
        UserError: naming the options that differ, with both values.
    """
    content = read(path)
    if "optimizer_states" not in content:
        raise UserError(
            f"--ckpt_path={path} holds no state of training, from which a run could go on. Begin new training with its "
            f"weights: --init_from={path}."
        )
    shapes = [
        {name: tuple(values.shape) for name, values in weights.items()}
        for weights in (content["state_dict"], model.state_dict())
    ]
    saved, now = content[MultiTaskDataModule.CHECKPOINT_HYPER_PARAMS_KEY], data.hparams
    different: list[str] = []
    if saved["family"] != now["family"]:
        different.append(_difference("data.family", saved["family"], now["family"]))  # all else follows from it
    else:
        before, options = (options_of(now["family"], part.get("family_options")) for part in (saved, now))
        different += _differences("data.family_options", before, options)
        different += _differences(
            "data", _compared("data", MultiTaskDataModule, saved), _compared("data", MultiTaskDataModule, now)
        )
        saved = content[LitPDT.CHECKPOINT_HYPER_PARAMS_KEY]
        before, options = (_compared("model", LitPDT, part) for part in (saved, model.hparams))
        different += _differences("model", before, {**options, **{name: before[name] for name in found}})
    if different:
        raise UserError(
            f"--ckpt_path={path} was trained with other options: {'; '.join(different[:5])}. Give what it was trained "
            "with, or leave --ckpt_path out to begin a new run."
        )
    if shapes[0] != shapes[1]:
        raise unfit(path)


def _compared(part: str, kind: type, given: Mapping[str, Any]) -> dict[str, Any]:
    """Those options that have to be the same; what a checkpoint of an earlier version lacks is the default."""
    left_out = (*MAY_DIFFER[part], *FOLLOW[part])
    known = inspect.signature(kind).parameters
    return {name: given.get(name, parameter.default) for name, parameter in known.items() if name not in left_out}


def _differences(option: str, before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    return [
        _difference(f"{option}.{name}", before.get(name), now.get(name))
        for name in dict.fromkeys([*before, *now])
        if plain(before.get(name)) != plain(now.get(name))
    ]


def _difference(option: str, before: Any, now: Any) -> str:
    name = option.removeprefix("model.")
    shown = f"{name} (of the data)" if name in FROM_DATA else f"--{'seed' if name == 'seed' else option}"
    was, is_now = (textwrap.shorten(str(value), 100) for value in (before, now))
    return f"{shown}={was}, now {is_now}"
