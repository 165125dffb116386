"""What the user sees: bars with the time left, tables, lines. Rich in a terminal; plain elsewhere, as a log file can hold it."""

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
