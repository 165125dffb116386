"""Demonstrations larger than memory: flat arrays mapped from a file that is made once of Minari's datasets.

A process that opens them reads what it uses and no more, and processes of one machine share what they have read.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.terminal import progress_bar
from pdt_lightning.data import minari
from pdt_lightning.data.episodes import Episodes, Index, step_rows


def open_episodes(
    tasks: Sequence[Sequence[str]],
    use_expert_actions: bool = True,
    progress: bool = False,
    horizons: Sequence[int | None] | None = None,
) -> Episodes:
    """The episodes of each task's datasets, mapped; made first where they are not there or a dataset has changed since.

    Args:
        tasks: for each task, Minari ids.
        use_expert_actions: see `minari.read`.
        progress: show a bar while they are made.
        horizons: for each task, steps after which its episodes are cut; None: they are taken as they are.

    Raises:
        NotFoundError: if a dataset is not on this machine.
        UserError: if a dataset is empty, holds what is not finite, or has spaces unlike those of the first.
    """
    names = [name for task in tasks for name in task]
    cut = [horizon for task, horizon in zip(tasks, horizons or [None] * len(tasks), strict=True) for _ in task]
    source = [use_expert_actions, *(cache.mark(name) for name in names), *([cut] if any(cut) else [])]
    place = cache.keep("episodes", source, lambda folder: _make(folder, names, use_expert_actions, progress, cut))
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in place.glob("*.npy")}
    dataset = arrays.pop("dataset")
    steps = np.memmap(place / "steps.float32", np.float32, "r").reshape(int(arrays["offsets"][-1]), -1)
    task_of_dataset = np.repeat(np.arange(len(tasks)), [len(task) for task in tasks])
    return Episodes(steps, Index(**arrays), task_of_dataset[dataset], np.ones(len(tasks), np.float32))


def _make(folder: Path, names: Sequence[str], use_expert_actions: bool, progress: bool, cut: Sequence[int | None]) -> None:
    parts: list[Index] = []
    with (
        (folder / "steps.float32").open("wb") as file,
        progress_bar("Reading demonstrations", len(names), "dataset", progress) as advance,
    ):
        for name, horizon in zip(names, cut, strict=True):
            parts.append(_append(file, name, use_expert_actions, horizon))
            sizes = [(part.moments.shape[-1], part.ranges.shape[-1]) for part in (parts[0], parts[-1])]
            for kind, first, own in zip(("observations", "actions"), *sizes, strict=True):
                if first != own:
                    raise UserError(
                        f"{name} has {kind} of size {own}, but those of {names[0]} have {first}. All tasks of a run share one size."
                    )
            advance(1)
    lengths = np.concatenate([np.diff(part.offsets) for part in parts])
    np.save(folder / "offsets.npy", np.concatenate([[0], lengths.cumsum()]).astype(np.int64))
    np.save(folder / "dataset.npy", np.repeat(np.arange(len(parts)), [len(part.returns) for part in parts]))
    for field in ("returns", "successes", "moments", "ranges"):
        np.save(folder / f"{field}.npy", np.concatenate([getattr(part, field) for part in parts]))


def _append(file: BinaryIO, name: str, use_expert_actions: bool, horizon: int | None) -> Index:
    """Write a dataset's steps, an episode at a time."""
    episodes = []
    for episode in minari.read(name, use_expert_actions, horizon):
        step_rows(episode).tofile(file)
        episodes.append(Index.of([episode]))
    return Index(
        np.concatenate([[0], np.cumsum([part.offsets[-1] for part in episodes])]),
        *(np.concatenate([getattr(part, field) for part in episodes]) for field in ("returns", "successes", "moments", "ranges")),
    )
