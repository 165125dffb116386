"""Demonstrations larger than memory: flat arrays mapped from a file that is made once of Minari's datasets.

A process that opens them reads what it uses and no more, and processes of one machine share what they have read.
"""

from collections.abc import Iterator, Sequence
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
        horizons: of each task, at which its episodes are cut; None: they are not.
        progress: show a bar while they are made.

    Raises:
        NotFoundError: if a dataset is not on this machine.
        UserError: if a dataset is empty, holds what is not finite, or has spaces unlike those of the first.
    """
    cuts = horizons or [None] * len(tasks)
    wanted = [(name, cut) for task, cut in zip(tasks, cuts, strict=True) for name in task]
    source = [use_expert_actions, *([*cache.mark(name), cut] for name, cut in wanted)]
    place = cache.keep("episodes", source, lambda folder: _make(folder, wanted, use_expert_actions, progress))
    arrays = {path.stem: np.load(path, mmap_mode="r") for path in place.glob("*.npy")}
    dataset = arrays.pop("dataset")
    steps = np.memmap(place / "steps.float32", np.float32, "r").reshape(int(arrays["offsets"][-1]), -1)
    task_of_dataset = np.repeat(np.arange(len(tasks)), [len(task) for task in tasks])
    return Episodes(steps, Index(**arrays), task_of_dataset[dataset], np.ones(len(tasks), np.float32))


def _make(folder: Path, wanted: Sequence[tuple[str, int | None]], use_expert_actions: bool, progress: bool) -> None:
    parts: list[Index] = []
    with (
        (folder / "steps.float32").open("wb") as file,
        progress_bar("Reading demonstrations", len(wanted), "dataset", progress) as advance,
    ):
        for name, cut in wanted:
            parts.append(_append(file, minari.read(name, use_expert_actions, cut)))
            sizes = [(part.moments.shape[-1], part.ranges.shape[-1]) for part in (parts[0], parts[-1])]
            for kind, first, own in zip(("observations", "actions"), *sizes, strict=True):
                if first != own:
                    raise UserError(
                        f"{name} has {kind} of size {own}, but those of {wanted[0][0]} have {first}. All tasks of a "
                        "run share one size."
                    )
            advance(1)
    index = Index.joined(parts)
    if index.needs_more_than_float32():
        with (folder / "steps.float32").open("wb") as file:
            for name, cut in wanted:
                _append(file, minari.read(name, use_expert_actions, cut), fine=True)
    np.save(folder / "dataset.npy", np.repeat(np.arange(len(parts)), [len(part.returns) for part in parts]))
    for name, values in vars(index).items():
        np.save(folder / f"{name}.npy", values)


def _append(file: BinaryIO, demonstrations: Iterator[minari.Demonstration], fine: bool = False) -> Index:
    """Write a dataset's steps, an episode at a time."""
    episodes = []
    for episode in demonstrations:
        step_rows(episode, fine).tofile(file)
        episodes.append(Index.of([episode]))
    return Index.joined(episodes)
