"""The loggers of a run, and where to look at what they write."""

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers import CSVLogger, Logger, TensorBoardLogger


class RunBoard(TensorBoardLogger):
    """TensorBoard in the run's own folder.

    It is the default of `--trainer.logger`, in a list, so that `--trainer.logger+=...` adds to it, as jsonargparse
    appends, and `--trainer.logger=...` replaces it. It takes no options: the folder is only known when the run begins.
    """

    def __init__(self) -> None:
        super().__init__("runs")


DEFAULT = [{"class_path": f"{RunBoard.__module__}.{RunBoard.__name__}"}]


def loggers_of(option: Any, run_folder: Path, purge_step: int | None) -> list[Logger]:
    """Make the loggers of the trainer; ours writes into the run's folder, and others count versions as it does.

    Args:
        option: the trainer's option, instantiated: a logger, several, true or null for ours alone, or false for none.
        run_folder: `.../name/version_N`.
        purge_step: update from which on TensorBoard hides what an earlier process logged there.
    """
    if option is None or option is True:
        option = [RunBoard()]
    instances = option if isinstance(option, Iterable) else [option] if option else []
    home, version = run_folder.parent, int(run_folder.name.removeprefix("version_"))
    loggers: list[Logger] = []
    for logger in instances:
        if isinstance(logger, RunBoard):
            logger = TensorBoardLogger(home.parent, home.name, version, default_hp_metric=False, purge_step=purge_step)
        elif isinstance(logger, CSVLogger | TensorBoardLogger) and logger._version is None:
            logger._version = version  # there is no public way once the logger is there
        loggers.append(logger)
    return loggers


def where_to_look(loggers: Sequence[Logger]) -> list[str]:
    """Say how to look at what each logger writes: by a command, or in a place.

    Without loggers there is one line that says so.
    """
    return [_where(logger) for logger in loggers] or ["no logger writes curves; the table comes at the end"]


def _where(logger: Logger) -> str:
    if isinstance(logger, TensorBoardLogger):
        return f"tensorboard --logdir {logger.log_dir}"
    if isinstance(logger, CSVLogger):
        return f"metrics in {Path(logger.log_dir) / 'metrics.csv'}"
    return f"metrics by {type(logger).__name__}" + (f" in {logger.save_dir}" if logger.save_dir else "")
