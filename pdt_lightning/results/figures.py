"""Figures of a record, as pure functions without display or pyplot.

The pixels are the same in a run, in a command and in a notebook.

Shapes as in `Record`: `R` rollouts, `J` slots, `N` segments of `H` steps, `E` demonstrations.
"""

import dataclasses
import io
import math
import textwrap
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.cm import ScalarMappable
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from PIL import Image

from pdt_lightning.core.files import write_atomically
from pdt_lightning.results.demonstration_plots import (
    CHOSEN,
    SCORES,
    UNKNOWN,
    draw_plane,
    draw_strips,
    to_be_drawn,
    worth_of_segments,
)
from pdt_lightning.results.generated_plots import draw_generated
from pdt_lightning.results.statistics import Interval, mean_interval, proportion_interval
from pdt_lightning.tuning import oracle
from pdt_lightning.tuning.record import Record

DPI = 100
# Told apart by those who do not see all colours (Okabe and Ito 2008), and from the map of the estimates.
UNTUNED, TUNED, ORACLE, RECOMMENDED = "#7f7f7f", "#d55e00", "#009e73", "#0072b2"
THOUGHT = "what the tuner thinks its recommended prompt is worth"
SUCCESS = (-0.06, 1.06)  # from 0 to 1, with room for the points that lie at both ends
SUCCESS_TICKS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
LEAST_FOR_MEANS = 15  # predictions, below which averages would be of two or three rollouts


def pixels(figure: Figure) -> np.ndarray:
    """`(height, width, 3)` uint8."""
    canvas = FigureCanvasAgg(figure)
    canvas.draw()
    return np.asarray(canvas.buffer_rgba())[..., :3].copy()


def save_png(image: np.ndarray, path: Path) -> None:
    """Write `(height, width, 3)` uint8, atomically."""
    content = io.BytesIO()
    Image.fromarray(image).save(content, "PNG")
    write_atomically(path, content.getvalue())


def whiskers(value: float, low: float | None, high: float | None) -> list[list[float]] | None:
    """An interval as `errorbar` takes it; None where it has no ends."""
    return None if low is None or high is None or np.isnan([low, high]).any() else [[value - low], [high - value]]


def rounds(record: Record) -> Figure:
    """By round, what each rollout brought and what the recommended prompt was thought worth; then the verdicts."""
    record = _in_its_unit(record)
    figure = _figure(9.0, 4.2)
    left, right = figure.subplots(1, 2, sharey=True, width_ratios=[4, 1])
    number = np.arange(1, len(record.seen) + 1)
    failed = np.isnan(record.seen)
    mean, low, high = _of_episodes(record, record.untuned)
    if np.isfinite(low):
        left.axhspan(
            low, high, color=UNTUNED, alpha=0.25, lw=0, label="untuned: 95 % interval of the mean, over its episodes"
        )
    left.axhline(mean, color=UNTUNED, lw=1.5, label="untuned: mean")
    left.plot(number, record.seen, "o", color="black", alpha=0.45, ms=4.5, mew=0, label="one rollout of the tuner")
    if failed.any():
        foot = left.get_xaxis_transform()
        left.plot(
            number[failed],
            np.full(failed.sum(), 0.02),
            "x",
            color=CHOSEN,
            transform=foot,
            label="a rollout that failed",
        )
    left.step(number, record.recommended, where="post", color=RECOMMENDED, lw=2, label=THOUGHT)
    if record.retried < len(number):
        left.axvline(
            record.retried + 0.5, color="black", lw=0.8, ls=":", label="from here on finalists are tried again"
        )
    left.set_xlabel("rollout")
    left.set_ylabel(record.objective)
    kinds = (("untuned", record.untuned, UNTUNED), ("tuned", record.tuned, TUNED), (oracle.NAME, record.oracle, ORACLE))
    known = [(name, values, colour) for name, values, colour in kinds if values is not None]
    for place, (name, values, colour) in enumerate(known):
        mean, low, high = _of_episodes(record, values)
        right.errorbar(
            [place], [mean], yerr=whiskers(mean, low, high), fmt="o", color=colour, ms=7, capsize=5, lw=2, label=name
        )
        text = f"{mean:.2f}" if record.objective == "success" else f"{mean:.4g}"
        right.annotate(
            text,
            (place, high if np.isfinite(high) else mean),
            (0, 5),
            textcoords="offset points",
            ha="center",
            color=colour,
        )
    right.set_xticks(range(len(known)), [name for name, _, _ in known], rotation=30)
    right.set_xlim(-0.6, len(known) - 0.4)
    right.set_xlabel(f"{len(record.tuned)} fresh episodes each")
    _title(figure, f"{record.task}: {len(number)} rollouts of the tuner ({record.tuner}), then the verdict")
    left.margins(y=0.12)
    if record.objective == "success":
        left.set_ylim(*SUCCESS, auto=False)
        left.set_yticks(SUCCESS_TICKS)
    figure.legend(*left.get_legend_handles_labels(), loc="outside lower left", ncols=2, frameon=False)
    return figure


def segments(record: Record) -> Figure:
    """Where good prompts come from: each demonstration is a strip in time.

    It is coloured by what a segment that starts there is worth.
    """
    record = _in_its_unit(record)
    values, meaning = worth_of_segments(record)
    finite = values[np.isfinite(values)]
    least, most = (finite.min(), finite.max()) if len(finite) and record.objective != "success" else (0.0, 1.0)
    norm = Normalize(least, most) if most > least else Normalize(least - 0.5, most + 0.5)
    shown = to_be_drawn(record, values)
    panels = record.slots if record.path is not None else 0
    rows = math.ceil(math.sqrt(panels))
    columns = math.ceil(panels / rows) if panels else 0
    figure = _figure(8.5 + 4.0 * columns, max(2.6 * rows + 1.0, 2.6 + len(shown) * max(0.42, 0.2 * record.slots), 4.2))
    grid = figure.add_gridspec(1, 2, width_ratios=[2.0, columns]) if panels else figure.add_gridspec(1, 1)
    strips = figure.add_subplot(grid[0])
    draw_strips(strips, record, values, norm, shown)
    if panels:
        planes = grid[1].subgridspec(rows, columns).subplots(sharex=True, sharey=True, squeeze=False).flat
        for slot, axis in enumerate(planes):
            if slot < panels:
                draw_plane(axis, record, slot, values[slot], norm, shown)
            else:
                axis.axis("off")
    figure.colorbar(ScalarMappable(norm, "viridis"), ax=strips, location="bottom", aspect=50, pad=0.02).set_label(
        meaning
    )
    handles = [
        Rectangle((0, 0), 1, 1, fill=False, ec=CHOSEN, lw=2.2, label=_recommended(record)),
        Rectangle(
            (0, 0), 1, 1, fc=UNKNOWN, label="no segment starts there" if record.estimates is not None else "never tried"
        ),
    ]
    if record.scores is not None:
        told = "thin strips: what the demonstrations told before the first rollout, the darker the better"
        handles.append(Rectangle((0, 0), 1, 1, fc=colormaps[SCORES](0.7), label=told))
    figure.legend(handles=handles, loc="outside lower left", ncols=2, frameon=False)
    _title(figure, f"{record.task}: where good prompts come from")
    return figure


def predictions(record: Record) -> Figure | None:
    """What the model predicted of each prompt before its rollout, and what that brought; None without a model."""
    record = _in_its_unit(record)
    known = np.isfinite(record.predicted) & np.isfinite(record.seen)
    if not known.any():
        return None
    figure = _figure(5.6, 5.2)
    axis = figure.subplots()
    again = np.arange(len(record.seen)) >= record.retried
    for chosen, name, marker, colour in (
        (known & ~again, "explored", "o", RECOMMENDED),
        (known & again, "a finalist, tried again", "^", TUNED),
    ):
        if chosen.any():
            label = f"{name} ({chosen.sum()})"
            axis.plot(
                record.predicted[chosen], record.seen[chosen], marker, color=colour, alpha=0.5, ms=6, mew=0, label=label
            )
    both = np.concatenate([record.predicted[known], record.seen[known]])
    ends = (0.0, 1.0) if record.objective == "success" else (both.min(), both.max())
    axis.plot(ends, ends, color="black", lw=0.9, ls="--", label="as predicted")
    if known.sum() >= LEAST_FOR_MEANS:
        order = np.flatnonzero(known)[np.argsort(record.predicted[known], kind="stable")]
        label = "mean of a fifth of them, 95 % interval"
        for part in np.array_split(order, 5):
            mean, low, high = _of_episodes(record, record.seen[part])
            spread = whiskers(mean, low, high)
            axis.errorbar(
                record.predicted[part].mean(),
                mean,
                spread,
                fmt="s",
                color="black",
                mfc="white",
                ms=6,
                capsize=4,
                label=label,
            )
            label = ""
    axis.set_xlabel(f"{record.objective} predicted before the rollout")
    axis.set_ylabel(f"{record.objective} seen")
    if record.objective == "success":
        axis.set(xlim=SUCCESS, ylim=SUCCESS, xticks=SUCCESS_TICKS, yticks=SUCCESS_TICKS)
    _title(figure, f"{record.task}: predicted and seen")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


def generated(record: Record) -> Figure | None:
    """Generated segments beside the demonstrated ones; None where none was generated."""
    if record.plane is None:
        return None
    figure = _figure(6.4, 5.4)
    axis = figure.subplots()
    points = draw_generated(axis, record)
    figure.colorbar(points, ax=axis).set_label("return-to-go at the segment's first step")
    _title(figure, f"{record.task}: generated and demonstrated segments")
    figure.legend(loc="outside lower center", ncols=2, frameon=False)
    return figure


FIGURES: dict[str, Callable[[Record], Figure | None]] = {
    "rounds": rounds,
    "segments": segments,
    "predictions": predictions,
    "generated": generated,
}


def _of_episodes(record: Record, values: np.ndarray) -> Interval:
    """Mean of what episodes brought, with the interval that accounts for the variation between them."""
    return (proportion_interval if record.objective == "success" else mean_interval)([values])


def _figure(width: float, height: float) -> Figure:
    return Figure(figsize=(width, height), dpi=DPI, facecolor="white", layout="constrained")


def _title(figure: Figure, text: str) -> None:
    figure.suptitle(text, x=0.01, ha="left", fontsize=12, fontweight="bold")


def _in_its_unit(record: Record) -> Record:
    """Success from 0 to 1, without the small part of the return that breaks a tuner's ties.

    A record of returns stays as it is.
    """
    if record.objective != "success":
        return record
    return dataclasses.replace(
        record,
        seen=np.clip(record.seen, 0.0, 1.0),
        predicted=np.clip(record.predicted, 0.0, 1.0),
        recommended=np.clip(record.recommended, 0.0, 1.0),
        estimates=None if record.estimates is None else np.clip(record.estimates, 0.0, 1.0),
    )


def _recommended(record: Record) -> str:
    """What is said of the recommended prompt, of whatever kind it is."""
    return textwrap.fill(f"the recommended prompt{': ' * bool(record.origin)}{record.origin}", 70)
