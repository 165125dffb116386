"""What the user sees: bars with the time left, tables, lines.

Rich draws them in a terminal; elsewhere they are plain, as a log file can hold them.
"""

import logging
import sys
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich import box, get_console
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

PLAIN_WIDTH = 160  # of tables that are not shown in a terminal
SECONDS_A_LINE = 30.0  # of progress that is not: a log file keeps each line


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


def print_line(text: str) -> None:
    """A line of progress where there is no terminal: on standard error, at once, apart from the results."""
    print(text, file=sys.stderr, flush=True)


def clock(seconds: float) -> str:
    """Minutes and seconds, with hours where there are any.

    >>> clock(125.4), clock(3725)
    ('2:05', '1:02:05')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def progress_line(description: str, done: int, total: int, unit: str, seconds: float) -> str:
    """How far work is after so many seconds, and how long the rest will take at this pace.

    >>> progress_line("Filming", 1, 4, "film", 20.0)
    'Filming: 1/4 films, 25 %, 0:20, 1:00 left'
    """
    share = f"{100 * done / total:.0f} %, " if total else ""
    left = f", {clock(seconds * (total - done) / done)} left" if 0 < done < total else ""
    return f"{description}: {done}/{total} {unit}s, {share}{clock(seconds)}{left}"


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
        begin = last = time.monotonic()
        done = 0

        def advance(count: int) -> None:
            nonlocal done, last
            done += count
            now = time.monotonic()
            if visible and done < total and now - last >= SECONDS_A_LINE:
                last = now
                print_line(progress_line(description, done, total, unit, now - begin))

        try:
            yield advance
        finally:
            if visible:
                print_line(progress_line(description, done, total, unit, time.monotonic() - begin))


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
    # On the handlers, since a filter of a logger does not see what the loggers of its modules say; on the two loggers
    # that say most, for programs with handlers of their own.
    for name in ("", "lightning", "lightning.pytorch", "lightning.fabric"):
        for handler in logging.getLogger(name).handlers:
            handler.addFilter(_worth_saying)
    for module in (
        "pytorch.utilities.rank_zero",
        "fabric.utilities.rank_zero",
        "pytorch.trainer.connectors.checkpoint_connector",
    ):
        logging.getLogger(f"lightning.{module}").addFilter(_worth_saying)


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
