"""What the transfer of prompts leaves: a table in three forms, a heat map, and overlap against transfer."""

import csv
import io
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from pdt_lightning.comparison.report import interval
from pdt_lightning.comparison.transfer import RANDOM, correlation, is_own
from pdt_lightning.core.files import write_atomically
from pdt_lightning.results.figures import DPI, TUNED, pixels, save_png
from pdt_lightning.results.markdown import markdown_table

MOST = 16  # rows and columns of a heat map that has its numbers written in it
Rows = Sequence[Mapping[str, Any]]


def write(rows: Rows, checkpoints: Sequence[str], command: str, folder: Path) -> str:
    """Write `transfer.csv`, `summary.json`, `summary.md` and the figures; what the correlation says is handed back.

    Args:
        rows: of `transfer.transferred`.
        checkpoints: their paths.
        command: that made them.
        folder: for the files.
    """
    found = correlation(rows)
    text = io.StringIO()
    writer = csv.DictWriter(text, list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    write_atomically(folder / "transfer.csv", text.getvalue())
    summary = {"checkpoints": list(checkpoints), "correlation": found, "pairs": list(rows), "command": command}
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_atomically(folder / "summary.md", markdown(rows, checkpoints, found, command))
    save_png(pixels(heat_map(rows)), folder / "figures" / "transfer.png")
    if any(row["overlap"] is not None for row in rows):
        save_png(pixels(overlap(rows, found)), folder / "figures" / "overlap.png")
    return sentence(found)


def labels(rows: Rows) -> tuple[list[str], list[str]]:
    """Of the prompts and of the places where they were played; the checkpoint's number is left out if there is one."""
    several = len({row["checkpoint"] for row in rows}) > 1
    prompts = [_label(row["from_checkpoint"], row["prompt_of"], several) for row in rows if row["prompt_of"] != RANDOM]
    places = [_label(row["checkpoint"], row["task"], several) for row in rows]
    return [*dict.fromkeys(prompts), "random prompts of its own"], list(dict.fromkeys(places))


def _label(checkpoint: int, task: str, several: bool) -> str:
    return f"{checkpoint}: {task}" if several else task


def table(rows: Rows) -> list[list[Mapping[str, Any]]]:
    """Pairs as a matrix: a row for each prompt, the random ones last, and a column for each place."""
    prompts, places = labels(rows)
    return [[rows[column * len(prompts) + row] for column in range(len(places))] for row in range(len(prompts))]


def by_success(rows: Rows) -> bool:
    """Whether success is what is shown: where all environments report it."""
    return all(row["success"] is not None for row in rows)


def markdown(rows: Rows, checkpoints: Sequence[str], found: Mapping[str, Any], command: str) -> str:
    """The matrix with 95 % intervals over episodes, and what foretells it."""
    prompts, places = labels(rows)
    names = ("success", "success_low", "success_high") if by_success(rows) else ("return", "low", "high")
    lines = (
        [name, *(interval(*(row[part] for part in names)) for row in cells)]
        for name, cells in zip(prompts, table(rows), strict=True)
    )
    text = markdown_table(["prompt of", *places], lines)
    caption = (
        f"A row is a prompt, a column a task on which it was played: mean {names[0]} over {rows[0]['episodes']} fresh "
        "episodes [95 % interval over them]. An episode that could not be played counts as the worst."
    )
    numbered = [f"Checkpoint {number} is `{path}`." for number, path in enumerate(checkpoints)] * (len(checkpoints) > 1)
    return "\n\n".join([text, caption, *numbered, sentence(found), f"```console\n{command}\n```\n"])


def sentence(found: Mapping[str, Any]) -> str:
    """What the correlation says, in words."""
    if found["mean"] is None:
        return "Whether the overlap of activations foretells transfer cannot be said: nothing differs, or too little."
    return (
        "Overlap of activations against transfer: Spearman's rank correlation is "
        f"{interval(found['mean'], found['low'], found['high'])}, the mean over {found['tasks']} tasks "
        f"[95 % t interval over them], from {found['pairs']} pairs."
    )


def heat_map(rows: Rows) -> Figure:
    """Each prompt on each task: in colour how far it falls short of the task's own one, in numbers what it brought."""
    prompts, places = labels(rows)
    cells, name = table(rows), "success" if by_success(rows) else "return"
    transfer = np.array([[row["transfer"] for row in own] for own in cells])
    size = (3.4 + 0.75 * len(places), 1.9 + 0.45 * len(prompts))
    figure = Figure(figsize=size, dpi=DPI, facecolor="white", layout="constrained")
    axis = figure.subplots()
    most = max(1e-9, float(np.abs(transfer).max()))
    image = axis.imshow(transfer, cmap="RdBu", vmin=-most, vmax=most, aspect="auto")
    axis.set_xticks(range(len(places)), places, rotation=40, ha="right")
    axis.set_yticks(range(len(prompts)), prompts)
    axis.set_xlabel("played on")
    axis.set_ylabel("prompt of")
    axis.axhline(len(prompts) - 1.5, color="black", lw=1)
    if max(len(prompts) - 1, len(places)) <= MOST:
        for (row, column), value in np.ndenumerate(transfer):
            cell, colour = cells[row][column], "white" if abs(value) > 0.6 * most else "black"
            weight = "bold" if is_own(cell) else "normal"
            axis.text(
                column, row, f"{cell[name]:.3g}", ha="center", va="center", fontsize=8, color=colour, weight=weight
            )
    unit = "success" if name == "success" else "return, in the task's scale"
    figure.colorbar(image, ax=axis, label=f"{unit}, minus that of the task's own prompt")
    figure.suptitle(f"Prompts on other tasks: mean {name}; bold: the task's own prompt", fontsize=10)
    return figure


def overlap(rows: Rows, found: Mapping[str, Any]) -> Figure:
    """Overlap of activations with the task's own prompt, against how much better or worse than that one a prompt is."""
    figure = Figure(figsize=(6.0, 4.4), dpi=DPI, facecolor="white", layout="constrained")
    axis = figure.subplots()
    known = [row for row in rows if row["overlap"] is not None and not is_own(row)]
    several = len({row["checkpoint"] for row in rows}) > 1
    for same, marker, label in ((True, "o", "prompts of the checkpoint"), (False, "^", "prompts of other checkpoints")):
        points = [row for row in known if (row["from_checkpoint"] == row["checkpoint"]) == same]
        if points:
            axis.plot(
                [row["overlap"] for row in points],
                [row["transfer"] for row in points],
                marker,
                color=TUNED,
                alpha=0.6,
                mew=0,
                mfc=TUNED if same else "#0072b2",
                label=label if several else None,
            )
    axis.axhline(0, color="#7f7f7f", lw=1)
    axis.set_xlabel("overlap of the active units with those of the task's own prompt (cosine)")
    unit = "success" if by_success(rows) else "return, in the task's scale"
    axis.set_ylabel(f"{unit}, minus that of its own prompt")
    if several:
        axis.legend(fontsize=8)
    mean = found["mean"]
    figure.suptitle(
        "Does overlap foretell transfer?" + ("" if mean is None else f" Rank correlation {mean:.2f}"), fontsize=10
    )
    return figure
