"""Figures of a comparison, as pure functions: value by rollouts, aggregates, and what each tuner chose."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Rectangle
from matplotlib.ticker import MaxNLocator

from pdt_lightning.comparison.plan import UNTUNED
from pdt_lightning.comparison.summary import Results, covers, of_goal
from pdt_lightning.results.figures import DPI, ORACLE, TUNED, pixels, save_png, whiskers
from pdt_lightning.results.figures import UNTUNED as GREY
from pdt_lightning.results.statistics import performance_profile
from pdt_lightning.tuning import oracle

MOST_BANDS = 8  # in the figure by rollouts
MOST_TASKS = 5  # in the figure of choices
PROFILED = 201  # thresholds of a performance profile


def write_figures(results: Results, summary: Mapping[str, Any], folder: Path) -> None:
    """Write the figures of a comparison into `figures/`.

    They are `by_rollouts.png`, `aggregate.png`, `profiles.png` and `choices.png`, and `attention.png` of several
    segments.
    """
    figures: dict[str, Figure] = {
        "by_rollouts": by_rollouts(summary),
        "aggregate": aggregate(summary),
        "profiles": profiles(results, summary),
        "choices": choices(results),
    }
    if summary["attention"]:
        figures["attention"] = attention(summary["attention"])
    for name, figure in figures.items():
        save_png(pixels(figure), folder / "figures" / f"{name}.png")


def by_rollouts(summary: Mapping[str, Any]) -> Figure:
    """Worth of the recommended prompt after so many rollouts, with 95 % bands; what needs none is at the left edge.

    Of more than `MOST_BANDS` tuners only the default has a band: so many would hide each other.
    """
    goal = summary["goal"]
    figure = Figure(figsize=(9.0, 5.0), dpi=DPI, facecolor="white", layout="constrained")
    axis = figure.subplots()
    _levels(axis, summary, axis.axhspan, axis.axhline)
    colours = _colours(summary)
    budgets = sorted({int(budget) for own in summary["tuners"].values() for budget in own["by_rollouts"]} - {0})
    for number, (name, own) in enumerate(_ranked(summary)):
        known = {int(budget): of_goal(figures, goal) for budget, figures in own["by_rollouts"].items()}
        if name == UNTUNED:
            continue
        if 0 in known:
            (value, low, high), place = known[0], budgets[0] * 0.72 * 0.96**number
            axis.errorbar(
                [place],
                [value],
                yerr=whiskers(value, low, high),
                fmt="D",
                color=colours[name],
                ms=6,
                capsize=3,
                label=name,
            )
            continue
        x = sorted(known)
        ours = name == summary["default"]
        means, lows, highs = zip(*(known[budget] for budget in x), strict=True)
        if ours or len(summary["tuners"]) <= MOST_BANDS:
            band = np.array(lows, float), np.array(highs, float)
            axis.fill_between(x, *band, color=colours[name], alpha=0.25 if ours else 0.1, lw=0)
        axis.plot(x, means, "o-", color=colours[name], lw=3 if ours else 1.5, ms=5, zorder=3 if ours else 2, label=name)
    axis.set_xscale("log")
    axis.set_xticks(budgets, [str(budget) for budget in budgets])
    axis.minorticks_off()
    axis.set_xlabel("rollouts on the task (diamonds: none)")
    axis.set_ylabel(f"{goal} of the recommended prompt, fresh episodes")
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", frameon=False)
    title = f"What a tuner recommends, by rollouts spent; 95 % {covers(summary['plan'])}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def aggregate(summary: Mapping[str, Any]) -> Figure:
    """Of every tuner: mean and interquartile mean with intervals, and the probability that the default is better."""
    ranked, goal, against = _ranked(summary)[::-1], summary["goal"], summary["default_minus"]
    panels = 3 if against else 2
    figure = Figure(
        figsize=(3.6 * panels + 1.2, 0.42 * len(ranked) + 1.8), dpi=DPI, facecolor="white", layout="constrained"
    )
    axes = figure.subplots(1, panels, sharey=True)
    colours, last = _colours(summary), str(summary["plan"]["options"]["rounds"])
    middle = ("interquartile_mean", "interquartile_low", "interquartile_high")
    for axis, label in zip(axes, (goal, "interquartile mean"), strict=False):
        _levels(axis, summary, axis.axvspan, axis.axvline)
        for place, (name, own) in enumerate(ranked):
            value, low, high = of_goal(own, goal) if label == goal else (own[part] for part in middle)
            axis.errorbar(
                [value], [place], xerr=whiskers(value, low, high), fmt="o", color=colours[name], ms=7, capsize=4, lw=2
            )
        axis.set_xlabel(label)
    for place, (name, _) in enumerate(ranked):
        if name in against:
            own = against[name][last]
            mean = own["improvement"]
            spread = whiskers(mean, own["improvement_low"], own["improvement_high"])
            axes[2].errorbar([mean], [place], xerr=spread, fmt="o", color=colours[name], ms=7, capsize=4, lw=2)
    if against:
        axes[2].axvline(0.5, color=GREY, lw=1, ls="--")
        axes[2].set_xlim(0, 1)
        axes[2].set_xlabel(f"probability that {summary['default']} is better\n(a tie counts half)")
    axes[0].set_yticks(range(len(ranked)), [name for name, _ in ranked])
    for axis in axes:
        axis.spines[["top", "right"]].set_visible(False)
    title = f"After {last} rollouts a task at most; 95 % intervals {covers(summary['plan'])}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def profiles(results: Results, summary: Mapping[str, Any]) -> Figure:
    """Performance profiles: of each tuner, the share of its cells above every value.

    There are 95 % bands where they can be had.

    Source: Agarwal et al. 2021 (arXiv 2108.13264), section 4.3.
    """
    goal = results.goal
    found = {name: results.cells(results.of(name), goal) for name, _ in _ranked(summary)}
    everything = np.concatenate([cells.ravel() for cells in found.values()])
    thresholds = np.linspace(everything.min() - 1e-9, everything.max(), PROFILED)
    figure = Figure(figsize=(9.0, 4.5), dpi=DPI, facecolor="white", layout="constrained")
    axis, colours = figure.subplots(), _colours(summary)
    for name, cells in found.items():
        ours = name == summary["default"]
        share, low, high = performance_profile(cells, thresholds)
        axis.fill_between(thresholds, low, high, color=colours[name], alpha=0.25 if ours else 0.1, lw=0)
        axis.plot(thresholds, share, color=colours[name], lw=3 if ours else 1.5, zorder=3 if ours else 2, label=name)
    axis.set_xlabel(f"{goal} of the recommended prompt, fresh episodes")
    axis.set_ylabel("share of the cells above it")
    axis.set_ylim(0, 1.02)
    axis.spines[["top", "right"]].set_visible(False)
    figure.legend(*axis.get_legend_handles_labels(), loc="outside right center", frameon=False)
    title = f"Performance profiles; 95 % bands {covers(summary['plan'])}"
    figure.suptitle(title, x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def choices(results: Results) -> Figure:
    """Which segment of which demonstration each tuner recommends: a row a tuner, a column a task."""
    names = [name for name in results.plan.names if any(row["segments"] for row in results.of(name))]
    tasks = results.plan.tasks[:MOST_TASKS]
    figure = Figure(
        figsize=(2.2 + 3.6 * len(tasks), 1.2 + 1.15 * max(1, len(names))),
        dpi=DPI,
        facecolor="white",
        layout="constrained",
    )
    grid = figure.subplots(max(1, len(names)), len(tasks), sharex="col", squeeze=False)
    for line, name in zip(grid, names, strict=False):
        for axis, task in zip(line, tasks, strict=True):
            _chosen(axis, [row for row in results.of(name) if row["task"] == task])
            axis.set_yticks([])
        line[0].set_ylabel(name.replace(":", ":\n"), rotation=0, ha="right", va="center")
    for axis, task in zip(grid[0], tasks, strict=True):
        axis.set_title(task, fontsize=10, loc="left")
    for axis in grid[-1]:
        axis.set_xlabel("step of the demonstration")
        axis.xaxis.set_major_locator(MaxNLocator(integer=True))
    figure.suptitle(
        "Segments recommended, over seeds and checkpoints: each line a demonstration, darker where chosen more often",
        x=0.01, ha="left", fontsize=12, fontweight="bold",
    )  # fmt: skip
    return figure


def attention(known: Mapping[str, Any]) -> Figure:
    """Of an action's attention to its prompt, what goes to the most attended segment, the next, and so on.

    There is a panel for each layer.

    Args:
        known: of a summary, `attention`.
    """
    layers, slots = np.shape(known["tuned"]["by_rank"])
    figure = Figure(figsize=(2.9 * layers + 1.8, 3.6), dpi=DPI, facecolor="white", layout="constrained")
    places = np.arange(slots)
    for layer, axis in enumerate(figure.subplots(1, layers, sharey=True, squeeze=False)[0]):
        for side, (kind, colour) in enumerate((("random", GREY), ("tuned", TUNED))):
            shares = known[kind]["by_rank"][layer]
            bars = axis.bar(places + 0.4 * side - 0.2, shares, 0.38, color=colour, label=f"{kind} prompts")
            axis.bar_label(bars, [f"{share:.0%}" for share in shares], fontsize=8, color=colour)
        axis.axhline(1 / slots, color="black", lw=0.8, ls=":", label="if all were alike")
        axis.set_xticks(places, [f"{place + 1}." for place in places])
        axis.set_ylim(0, 1.08)
        whole = ", ".join(f"{known[kind]['to_prompt'][layer]:.0%}" for kind in ("random", "tuned"))
        axis.set_title(f"layer {layer + 1}; to the prompt: {whole}", fontsize=9)
        axis.set_xlabel("segment, most attended first")
        axis.spines[["top", "right"]].set_visible(False)
    figure.axes[0].set_ylabel("share of the attention to the prompt")
    figure.legend(*figure.axes[0].get_legend_handles_labels(), loc="outside lower center", ncols=3, frameon=False)
    figure.suptitle("Where an action's attention to its prompt goes", x=0.01, ha="left", fontsize=12, fontweight="bold")
    return figure


def _chosen(axis: Axes, rows: list[dict[str, Any]]) -> None:
    lengths, steps = rows[0]["lengths"], rows[0]["steps"]
    counts = np.full((len(lengths), max(lengths)), np.nan)
    for number, length in enumerate(lengths):
        counts[number, :length] = 0
    total = 0
    for row in rows:
        for episode, start in row["segments"]:
            counts[episode, start : start + steps] += 1
            total += 1
    colours = colormaps["Blues"].with_extremes(bad="white")
    extent = (0.5, counts.shape[1] + 0.5, len(lengths) - 0.5, -0.5)
    axis.imshow(
        counts,
        cmap=colours,
        vmin=-0.25 * total / 4,
        vmax=max(1, total / 4),
        extent=extent,
        aspect="auto",
        interpolation="none",
    )
    for number, length in enumerate(lengths):
        axis.add_patch(Rectangle((0.5, number - 0.5), length, 1, fill=False, ec="#c0c0c0", lw=0.5))


def _ranked(summary: Mapping[str, Any]) -> list[tuple[str, Mapping[str, Any]]]:
    return sorted(summary["tuners"].items(), key=lambda item: -item[1][summary["goal"]])


def _colours(summary: Mapping[str, Any]) -> dict[str, Any]:
    """One a tuner: ours stands out."""
    others = [name for name in summary["tuners"] if name not in (summary["default"], UNTUNED)]
    shades = [shade for number, shade in enumerate(colormaps["tab20"](range(20))) if number not in (2, 3, 4, 5, 14, 15)]
    return {
        summary["default"]: TUNED,
        UNTUNED: GREY,
        **{name: shades[n % len(shades)] for n, name in enumerate(others)},
    }


def _levels(axis: Axes, summary: Mapping[str, Any], span: Callable, line: Callable) -> None:
    for kind, colour in (("untuned", GREY), ("oracle", ORACLE)):
        value, low, high = of_goal(summary[kind], summary["goal"])
        if low is not None:
            span(low, high, color=colour, alpha=0.2, lw=0)
        line(value, color=colour, lw=1.5, ls="--", label=oracle.NAME if kind == "oracle" else kind)
