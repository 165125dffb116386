"""What a run leaves: `tuning.csv`, prompts, `summary.json`, and the table on the terminal."""

import csv
import io
import json
import shutil
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.terminal import show
from pdt_lightning.results import figures
from pdt_lightning.results.statistics import Interval, mean_interval, proportion_interval
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuning import oracle
from pdt_lightning.tuning.result import EpisodeStatistics, TaskResult

# Measured: 0.01 to 0.03 where random prompts do as well as the best (half-cheetah velocity, experts alone), and 0.06 to
# 0.57 where tuning gains (pick-place, the sparse point, half-cheetah velocity with a tenth of experts).
HARDLY = 0.05  # of prompt sensitivity
NAMED = 3  # tasks, in a sentence about some
KINDS = ("expert", "untuned", "tuned", "oracle")
COLUMNS = (
    *("phase", "epoch", "task", "tuner", "round", "prompt"),
    *("return", "success", "last_success", "recommended_value", "seed"),
)


def summary_of_episodes(samples: Sequence[EpisodeStatistics | None]) -> dict[str, float | None] | None:
    """Return and success, averaged over tasks, with 95 % intervals over the episodes; None if any task lacks them.

    `last_success` is that of the last step beside the highest of each episode; `failed` counts the episodes that could
    not be played, which are in the means as the worst.

    Ends are None where there is no interval: of one episode a task, and of returns that are all alike.
    """
    if not samples or any(figures is None or not figures.returns for figures in samples):
        return None
    total, low, high = _known(mean_interval([figures.returns for figures in samples if figures]))
    summary: dict[str, float | None] = {
        "return": total,
        "low": low,
        "high": high,
        "success": None,
        "success_low": None,
        "success_high": None,
        "last_success": None,
    }
    summary["failed"] = sum(figures.failed for figures in samples if figures)
    if all(figures and figures.successes for figures in samples):
        success = proportion_interval([figures.successes for figures in samples if figures])
        summary |= dict(zip(("success", "success_low", "success_high"), success, strict=True))
    if all(figures and figures.last_successes for figures in samples):
        summary["last_success"] = float(np.mean([np.mean(figures.last_successes) for figures in samples if figures]))
    return summary


def _known(interval: Interval) -> tuple[float | None, ...]:
    """For JSON, which has no NaN."""
    return tuple(part if np.isfinite(part) else None for part in interval)


def summarise(results: Sequence[TaskResult]) -> dict[str, Any]:
    """The content of `summary.json`, of the given tasks."""
    return {
        "tasks": {
            result.task: {
                **{kind: summary_of_episodes([getattr(result, kind)]) for kind in KINDS},
                "rollouts": len(result.trials),
                "rollouts_at_most": result.budget,
                "rollouts_failed": sum(trial.outcome.failed is not None for trial in result.trials),
                "confidence": None if np.isnan(result.confidence) else result.confidence,
                "prompt_sensitivity": None if np.isnan(result.prompt_sensitivity) else result.prompt_sensitivity,
                "prompt": result.origin,
            }
            for result in results
        },
        "aggregate": {kind: summary_of_episodes([getattr(result, kind) for result in results]) for kind in KINDS},
    }


def tuning_rows(results: Sequence[TaskResult], phase: int, epoch: int, tuner: str) -> list[list[Any]]:
    """A row of `tuning.csv` for every rollout of the tuner; an empty return marks one that failed."""
    return [
        [
            phase,
            epoch,
            result.task,
            tuner,
            trial.candidate.id,
            trial.candidate.origin,
            "" if trial.outcome.failed else repr(trial.outcome.total),
            *(
                "" if trial.outcome.failed or own is None else own
                for own in (trial.outcome.success, trial.outcome.last_success)
            ),
            repr(trial.recommended_value),
            trial.seed,
        ]
        for result in results
        for trial in result.trials
    ]


def append_tuning(path: Path, rows: Sequence[Sequence[Any]], phase: int) -> None:
    """Add the rows of a phase.

    Rows of this phase or later ones, left by a run that was killed and resumed, are dropped.
    """
    kept: list[list[str]] = []
    if path.exists():
        with path.open(newline="") as file:
            kept = [row for row in csv.reader(file) if row[0].isdigit() and int(row[0]) < phase]
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(COLUMNS)
    writer.writerows(kept)
    writer.writerows(rows)
    write_atomically(path, text.getvalue())


def write_prompts(folder: Path, results: Sequence[TaskResult], tasks: Mapping[str, Task]) -> None:
    """`<task>.safetensors` for every task, with what has to be known of it to act; `tasks` by id, settled."""
    for result in results:
        result.prompt.save(folder / f"{result.task}.safetensors", result.origin, **tasks[result.task].facts())


def write_figures(folder: Path, results: Sequence[TaskResult]) -> dict[str, np.ndarray]:
    """What a phase recorded of each task, `<task>.safetensors`, and the figures drawn from it, `<task>_<figure>.png`.

    A figure that cannot be drawn is no reason to end a run: it is left out, with a warning that says why.

    Args:
        folder: of this phase; what an earlier attempt at the phase left there goes.
        results: those without a record are passed over.

    Returns:
        The figures, `(height, width, 3)` uint8, by `<task>_<figure>`.
    """
    shutil.rmtree(folder, ignore_errors=True)
    drawn, failures = {}, []
    for result in results:
        if result.record is None:
            continue
        result.record.save(folder / f"{result.task}.safetensors")
        for name, draw in figures.FIGURES.items():
            try:
                figure = draw(result.record)
                if figure is not None:
                    image = figures.pixels(figure)
                    figures.save_png(image, folder / f"{result.task}_{name}.png")
                    drawn[f"{result.task}_{name}"] = image
            except Exception as error:  # whatever a drawing library raises
                failures.append(f"{name} of {result.task}: {type(error).__name__}: {error}")
    if failures:
        warnings.warn(
            f"{len(failures)} figures could not be drawn and are left out; the first: {failures[0]}", stacklevel=2
        )
    return drawn


def write_phase(
    folder: Path,
    results: Sequence[TaskResult],
    tasks: Mapping[str, Task],
    tuner: str,
    phase: int = 0,
    epoch: int = 0,
    figures: str = "figures",
    **more: Any,
) -> dict[str, np.ndarray]:
    """All files of a phase: `tuning.csv`, `prompts/`, `summary.json` of the held-out tasks, and figures.

    Args:
        folder: of the run, or of the command's results.
        results: of all tasks that were tuned.
        tasks: by id, with horizon, target and scale settled.
        tuner: its name.
        phase: its number.
        epoch: in which it was run.
        figures: folder of the figures, within `folder`.
        **more: what the summary says besides, such as the checkpoint that it is of.

    Returns:
        The figures; see `write_figures`.
    """
    append_tuning(folder / "tuning.csv", tuning_rows(results, phase, epoch, tuner), phase)
    write_prompts(folder / "prompts", results, tasks)
    write_summary(
        folder / "summary.json", [result for result in results if result.held_out], phase=phase, epoch=epoch, **more
    )
    return write_figures(folder / figures, results)


def metrics(results: Sequence[TaskResult]) -> dict[str, float]:
    """The numbers of a phase under the names by which they are logged and may be monitored.

    `tuning/tuned_return`, `tuning/untuned_success` and the like are means over the held-out tasks;
    `tuning_tuned_return/<task>` is of one task. Training tasks that are tuned too come as `tuning_validation/...`.
    """
    found: dict[str, float] = {}
    for group, held_out in (("tuning", True), ("tuning_validation", False)):
        chosen = [result for result in results if result.held_out is held_out]
        if not chosen:
            continue
        summary = summarise(chosen)
        for task, known in {"": summary["aggregate"], **summary["tasks"]}.items():
            for kind in ("untuned", "tuned", "oracle"):
                for key in ("return", "success"):
                    if known[kind] is not None and known[kind][key] is not None:
                        found[f"{group}_{kind}_{key}/{task}" if task else f"{group}/{kind}_{key}"] = known[kind][key]
    return found


def write_summary(path: Path, results: Sequence[TaskResult], **more: Any) -> None:
    """`summary.json`; `more` says which checkpoint and phase it is of."""
    write_atomically(path, json.dumps({**summarise(results), **more}, indent=1) + "\n")


def print_table(results: Sequence[TaskResult], title: str) -> None:
    """The figures of all tasks and their mean."""
    summary = summarise(results)
    caption = (
        "mean on fresh episodes [95 % over the episodes: t for returns, n/a where all are alike, Wilson for success; "
        "the luck of tuning and pretraining is not in it]"
    )
    if failed := sum(own["rollouts_failed"] for own in summary["tasks"].values()):
        tried = sum(own["rollouts"] for own in summary["tasks"].values())
        caption += f"\n{failed} of the {tried} rollouts of the search failed, and counted as the worst"
    if remark := hardly_matters({task: own["prompt_sensitivity"] for task, own in summary["tasks"].items()}):
        caption += f"\n{remark}"
    table = Table(title=title, title_justify="left", caption=caption, caption_justify="left")
    table.add_column("task", no_wrap=True)
    shown = [kind for kind in KINDS if summary["aggregate"][kind] is not None]
    for kind in shown:
        table.add_column(oracle.NAME if kind == "oracle" else kind, justify="right")
    spent = any(result.budget for result in results)
    if spent:
        table.add_column("rollouts", justify="right")
    if any(result.origin for result in results):
        table.add_column("recommended prompt", overflow="fold")
    for result in results:
        own = summary["tasks"][result.task]
        row = [cell(own[kind]) for kind in shown] + [spent_cell(result)] * spent
        table.add_row(result.task, *row, result.origin)
    table.add_section()
    table.add_row("all", *(cell(summary["aggregate"][kind]) for kind in shown))
    show(table)


def hardly_matters(sensitivities: Mapping[str, float | None]) -> str:
    """On which tasks there is next to nothing to choose, in words; nothing where there is none.

    Args:
        sensitivities: prompt sensitivity by task; None where it was not measured.

    >>> hardly_matters({"point/03": 0.004, "point/07": 0.3})
    'which prompt is given hardly matters on point/03: the prompt sensitivity is below 0.05'
    """
    few = [task for task, value in sensitivities.items() if value is not None and value < HARDLY]
    if not few:
        return ""
    every = len(few) == len(sensitivities) > 1
    names = ", ".join(few[:NAMED]) + (f" and {len(few) - NAMED} more" if len(few) > NAMED else "")
    where = "any task" if every else names
    return f"which prompt is given hardly matters on {where}: the prompt sensitivity is below {HARDLY}"


def spent_cell(result: TaskResult) -> str:
    """What tables say of a search: rollouts spent, and how sure it is of its prompt."""
    sure = "" if np.isnan(result.confidence) else f"\nsure to {result.confidence:.2f}"
    return f"{len(result.trials)} of at most {result.budget}{sure}"


def cell(figures: dict[str, float | None] | None) -> str:
    """What tables say of one kind of episodes: lines, with intervals."""
    if figures is None:
        return "-"
    text = f"{figures['failed']} episodes failed\n" if figures["failed"] else ""
    ends = "(n/a)" if figures["low"] is None else f"[{figures['low']:.1f}, {figures['high']:.1f}]"
    text += f"return {figures['return']:.1f} {ends}"
    if figures["success"] is not None:
        same = figures["last_success"] in (None, figures["success"])
        last = "" if same else f"\nat the last step {figures['last_success']:.2f}"
        ends = f"[{figures['success_low']:.2f}, {figures['success_high']:.2f}]"
        text = f"success {figures['success']:.2f} {ends}{last}\n{text}"
    return text
