"""What a comparison leaves: results.csv, recommended.csv, summary.json, summary.md, and the table on the terminal."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pdt_lightning.comparison.plan import DEFAULT, ORACLE, UNTUNED, Plan
from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.terminal import show
from pdt_lightning.results.statistics import (
    Samples,
    cumulative_regret,
    improvement_interval,
    interquartile_interval,
    mean_interval,
    simple_regret,
)

CLOSED = 0.95  # share of the gap from untuned to oracle
RESULTS = ("checkpoint", "task", "tuner", "seed", "round", "return", "success", "length", "predicted", "recommended_value")
RECOMMENDED = ("checkpoint", "task", "tuner", "seed", "rollouts", "return", "success", "prompt")


class Results:
    """Everything that the jobs of a finished comparison have found.

    Args:
        plan: of the comparison.
        folder: of the comparison.
    """

    def __init__(self, plan: Plan, folder: Path):
        self.plan, self.jobs = plan, [json.loads(job.file(folder).read_text()) for job in sorted(plan.jobs(), key=str)]
        self.recommended = [
            {"checkpoint": job["checkpoint"], "tuner": job["tuner"], **row} for job in self.jobs for row in job["recommended"]
        ]
        self.trials = [
            {"checkpoint": job["checkpoint"], "tuner": job["tuner"], **row} for job in self.jobs for row in job.get("trials", ())
        ]
        self.has_success = all(row["success"] is not None for row in self.recommended)
        self.goal = "success" if self.has_success and plan.options.objective != "return" else "return"

    def of(self, name: str, rollouts: int | None = None) -> list[dict[str, Any]]:
        """Judged recommendations of a tuner, after so many rollouts; None: after all."""
        wanted = self.plan.budgets_of(name)[-1] if rollouts is None else rollouts
        return [row for row in self.recommended if row["tuner"] == name and row["rollouts"] == wanted]

    def samples(self, rows: Iterable[Mapping[str, Any]], field: str) -> list[list[float]]:
        """Values of a field: for each task those of all checkpoints and seeds, always in the same order."""
        ordered = sorted(rows, key=lambda row: (row["checkpoint"], row["seed"]))
        return [[row[field] for row in ordered if row["task"] == task] for task in self.plan.tasks]

    def seconds_per_round(self, name: str) -> float | None:
        """Mean over the checkpoints."""
        seconds = [job["seconds_per_round"] for job in self.jobs if job["tuner"] == name and job.get("seconds_per_round")]
        return float(np.mean(seconds)) if seconds else None


def summarise(results: Results) -> dict[str, Any]:
    """The content of `summary.json`; every figure is of recommended prompts on fresh episodes."""
    plan = results.plan
    ceiling = results.samples(results.of(ORACLE), "return")
    # Without success the goal is the return itself.
    floor, top = (np.mean(results.samples(results.of(name), results.goal)) for name in (UNTUNED, ORACLE))
    tuners = {}
    for name in plan.names:
        by_rollouts = {rollouts: results.of(name, rollouts) for rollouts in plan.budgets_of(name)}
        closed = [
            rollouts
            for rollouts, rows in by_rollouts.items()
            if name != UNTUNED and top > floor and np.mean(results.samples(rows, results.goal)) - floor >= CLOSED * (top - floor)
        ]
        tuners[name] = {
            **_figures(results, by_rollouts[plan.budgets_of(name)[-1]]),
            "rollouts_to_95": min(closed, default=None),
            "seconds_per_round": results.seconds_per_round(name),
            **_regret(results, name, ceiling),
            "by_rollouts": {str(rollouts): _figures(results, rows) for rollouts, rows in by_rollouts.items()},
        }
    return {
        "default": DEFAULT,
        "goal": results.goal,
        "untuned": _figures(results, results.of(UNTUNED)),
        "oracle": _figures(results, results.of(ORACLE)),
        "tuners": tuners,
        "default_minus": _differences(results) if DEFAULT in plan.names else {},
        "attention": _attention(results),
        "plan": plan.described(),
    }


def _figures(results: Results, rows: list[dict[str, Any]]) -> dict[str, float | None]:
    mean, low, high = mean_interval(results.samples(rows, "return"))
    figures: dict[str, float | None] = {"return": mean, "low": low, "high": high}
    success = mean_interval(results.samples(rows, "success")) if results.has_success else (None, None, None)
    figures |= zip(("success", "success_low", "success_high"), success, strict=True)
    middle = interquartile_interval(results.samples(rows, results.goal))
    figures |= zip(("interquartile_mean", "interquartile_low", "interquartile_high"), middle, strict=True)
    return figures


def of_goal(figures: Mapping[str, Any], goal: str) -> tuple[float, float, float]:
    """Mean, lower and upper end of what was to be maximised."""
    names = ("return", "low", "high") if goal == "return" else ("success", "success_low", "success_high")
    return tuple(figures[name] for name in names)


def _regret(results: Results, name: str, ceiling: Samples) -> dict[str, float | None]:
    """Of a cell, on average: what its recommendation, and what its rollouts together, fell short of the oracle's mean return."""
    optima = [float(np.mean(own)) for own in ceiling]
    judged = results.samples(results.of(name), "return")
    simple = [simple_regret(np.array(own), optimum).mean() for own, optimum in zip(judged, optima, strict=True)]
    played = [row for row in results.trials if row["tuner"] == name and row["return"] is not None]
    cells = len(results.plan.checkpoints) * results.plan.seeds
    tried = results.samples(played, "return")
    cumulative = [cumulative_regret(np.array(own), optimum)[-1] / cells for own, optimum in zip(tried, optima, strict=True) if own]
    return {
        "simple_regret": float(np.mean(simple)),
        "cumulative_regret": float(np.mean(cumulative)) if cumulative else None,
    }


def _differences(results: Results) -> dict[str, dict[str, dict[str, float]]]:
    """Of each rival, by rollouts: our default's goal minus theirs, cell by cell, and the probability that ours is better."""
    found: dict[str, dict[str, dict[str, float]]] = {}
    for name in results.plan.names:
        if name == DEFAULT:
            continue
        found[name] = {}
        for rollouts in results.plan.budgets:
            theirs = results.samples(results.of(name, rollouts) or results.of(name), results.goal)
            ours = results.samples(results.of(DEFAULT, rollouts), results.goal)
            mean, low, high = mean_interval([np.subtract(a, b) for a, b in zip(ours, theirs, strict=True)])
            better, better_low, better_high = improvement_interval(ours, theirs)
            found[name][str(rollouts)] = {"difference": mean, "low": low, "high": high}
            found[name][str(rollouts)] |= {"improvement": better, "improvement_low": better_low, "improvement_high": better_high}
    return found


def _attention(results: Results) -> dict[str, Any] | None:
    """By kind of prompt and layer, of an action's attention: the share to the prompt, and of that to each segment, most first."""
    rows = [row for job in results.jobs for row in job.get("attention", ())]
    if not rows:
        return None
    found: dict[str, Any] = {}
    for kind in ("random", "tuned"):
        shares = np.array([row["shares"] for row in rows if row["kind"] == kind])  # (rows, layers, J)
        whole = shares.sum(axis=-1)
        ranked = -np.sort(-shares / np.maximum(whole, 1e-12)[..., None], axis=-1)
        found[kind] = {"to_prompt": whole.mean(axis=0).tolist(), "by_rank": ranked.mean(axis=0).tolist()}
    return found


def write(results: Results, folder: Path, command: str) -> dict[str, Any]:
    """Write all files; what `summary.json` holds is handed back. `command` made them."""
    summary = {**summarise(results), "command": command}
    write_atomically(folder / "results.csv", _csv(RESULTS, results.trials))
    recommended = [{**row, "prompt": "; ".join(row["origin"])} for row in results.recommended]
    write_atomically(folder / "recommended.csv", _csv(RECOMMENDED, recommended))
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_atomically(folder / "summary.md", markdown(summary))
    return summary


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def lines(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table, as text: untuned, each tuner by falling return, oracle."""
    plan, tuners, goal = summary["plan"], summary["tuners"], summary["goal"]
    other = "success" if goal == "return" else "return"
    budgets = sorted({int(budget) for figures in tuners.values() for budget in figures["by_rollouts"]} - {0})
    shown = [budget for budget in budgets if budget in (50, plan["options"]["rounds"])]
    header = ["tuner", *(f"{goal}, {budget} rollouts" for budget in shown), "interquartile mean"]
    header += [other] if summary["oracle"][other] is not None else []
    header += ["rollouts to 95 %", "ms a round", "ours minus it"]
    rows = []
    for name in sorted(tuners, key=lambda name: -tuners[name][goal]):
        figures = tuners[name]
        known = figures["by_rollouts"]
        row = [f"{name} (default)" if name == summary["default"] else name]
        # What needs no rollouts, or is never tuned, is the same after any number of them.
        row += [_interval(known.get(str(budget), figures), goal) for budget in shown]
        row += [f"{figures[column]:.2f}" for column in ("interquartile_mean", other) if figures[column] is not None]
        row += [str(figures["rollouts_to_95"] if figures["rollouts_to_95"] is not None else "-")]
        row += ["-" if figures["seconds_per_round"] is None else f"{1000 * figures['seconds_per_round']:.1f}"]
        against = summary["default_minus"].get(name, {}).get(str(shown[0]))
        row += ["-" if against is None else f"{against['difference']:+.2f} [{against['low']:+.2f}, {against['high']:+.2f}]"]
        rows.append(row)
    if len(shown) > 1:
        header[-1] += f", {shown[0]}"
    oracle = summary["oracle"]
    row = [ORACLE, *([_interval(oracle, goal)] * len(shown))]
    row += [f"{oracle[column]:.2f}" for column in ("interquartile_mean", other) if oracle[column] is not None]
    rows.append([*row, "-", "-", "-"])
    return header, rows


def _interval(figures: Mapping[str, float], goal: str) -> str:
    value, low, high = of_goal(figures, goal)
    return f"{value:.2f} [{low:.2f}, {high:.2f}]"


def caption(summary: Mapping[str, Any]) -> str:
    """What the figures are of."""
    plan = summary["plan"]
    parts = (
        (len(plan["checkpoints"]), "checkpoint"),
        (len(plan["tasks"]), "task"),
        (plan["seeds"], "seed"),
    )
    cells = " x ".join(f"{count} {what}{'' if count == 1 else 's'}" for count, what in parts)
    return (
        f"Recommended prompts on {plan['options']['verdict_episodes']} fresh episodes of each cell, {cells}; mean [95 % bootstrap "
        f"interval, stratified over tasks]; {plan['slots']} segments in a prompt."
    )


def markdown(summary: Mapping[str, Any]) -> str:
    """The table as Markdown, with the command that made it."""
    header, rows = lines(summary)
    table = [header, ["---"] * len(header), *rows]
    text = "\n".join(f"| {' | '.join(row)} |" for row in table)
    return f"{text}\n\n{caption(summary)}\n\n```console\n{summary['command']}\n```\n"


def print_table(summary: Mapping[str, Any]) -> None:
    """The same table on the terminal."""
    header, rows = lines(summary)
    table = Table(
        title=f"Tuners compared, {summary['plan']['options']['rounds']} rollouts a task",
        title_justify="left",
        caption=caption(summary),
        caption_justify="left",
    )
    for column in header:
        table.add_column(column, justify="left" if column == "tuner" else "right")
    for row in rows[:-1]:
        table.add_row(*row)
    table.add_section()
    table.add_row(*rows[-1])
    show(table)
