"""What the user sees: bars with the time left, tables, lines. Rich in a terminal; plain elsewhere, as a log file can hold it."""

import logging
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box, get_console
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from tqdm import tqdm

PLAIN_WIDTH = 160  # of tables that are not shown in a terminal
SECONDS_A_LINE = 10.0  # of a bar that is not: a log file keeps each of its states


def in_terminal() -> bool:
    """Whether standard output is one."""
    return get_console().is_terminal


def say(text: str) -> None:
    """A line, whole however long it is, above the bars that are there."""
    get_console().print(text, soft_wrap=True, highlight=False, markup=False)


def show(table: Table) -> None:
    """A table, in characters that its place can show."""
    table.box = box.HEAVY_HEAD if in_terminal() else box.ASCII
    console = get_console() if in_terminal() else Console(width=PLAIN_WIDTH)
    console.print(table)


@contextmanager
def progress_bar(description: str, total: int, unit: str, visible: bool = True) -> Iterator[Callable[[int], None]]:
    """A bar while it lasts; it may stand below one that is there already, such as Lightning's.

    Args:
        description: what is going on.
        total: units of work.
        unit: its name.
        visible: whether to show anything at all.

    Yields:
        A function to be told of how many units have ended since it was last called; with 0 it moves the clock on.
    """
    console = get_console()  # Lightning's bar is on it too: bars on two consoles would overwrite each other
    if visible and console.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn(f"{unit}s"),
            TimeElapsedColumn(),
            TextColumn("left:"),
            TimeRemainingColumn(),
        )
        with Progress(*columns, console=console, speed_estimate_period=600) as progress:
            task = progress.add_task(description, total=total)
            yield lambda count: progress.update(task, advance=count, refresh=True)
    else:
        options = {"disable": not visible, "mininterval": SECONDS_A_LINE, "miniters": 0, "smoothing": 0}
        with tqdm(total=total, desc=description, unit=unit, **options) as plain:
            yield plain.update


def quiet() -> None:
    """Silence what libraries say on every run, each for a reason."""
    for text in (
        ".*does not have many workers.*",  # batches are made in under a millisecond
        ".*The number of training batches.*",  # short epochs are ours to choose
        ".*isinstance.treespec, LeafSpec.*",  # Lightning's use of torch
        ".*Checkpoint directory .* exists and is not empty.*",  # a resumed run goes on in its own folder
        ".*`weights_only` was not set.*",  # our checkpoints are our own
        ".*Your `IterableDataset` has `__len__` defined.*",  # no workers share it
        ".*a checkpoint that ended before the epoch ended.*",  # a batch follows from the number of its update
    ):
        warnings.filterwarnings("ignore", text)
    for name in ("lightning.pytorch.utilities.rank_zero", "lightning.fabric.utilities.rank_zero"):
        logging.getLogger(name).addFilter(_worth_saying)


def _worth_saying(record: logging.LogRecord) -> bool:
    """Neither an advertisement nor what the bars and the first lines of `fit` say already."""
    said = (
        "Tip:",
        "Loading `train_dataloader`",
        "TPU available",
        "`Trainer.fit` stopped",
        "`weights_only` was not set",
        "Automatic Mixed Precision",
    )
    return not any(text in record.getMessage() for text in said)
