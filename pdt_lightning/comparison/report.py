"""What a comparison leaves: results.csv, recommended.csv, summary.json, summary.md, and the table on the terminal."""

import csv
import io
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.table import Table

from pdt_lightning.comparison.summary import Results, covers, of_goal, summarise
from pdt_lightning.core.files import write_atomically
from pdt_lightning.core.terminal import show
from pdt_lightning.results.markdown import markdown_table
from pdt_lightning.results.report import hardly_matters
from pdt_lightning.tuning import oracle

RESULTS = (
    *("checkpoint", "task", "tuner", "seed", "round"),
    *("return", "success", "last_success", "length", "predicted", "recommended_value", "prompt"),
)
RECOMMENDED = (
    "checkpoint",
    "task",
    "tuner",
    "seed",
    "rollouts",
    "return",
    "success",
    "last_success",
    "failed",
    "prompt",
    "file",
)


def write(results: Results, folder: Path, command: str) -> dict[str, Any]:
    """Write all files; what `summary.json` holds is handed back. `command` made them."""
    summary = {**summarise(results), "command": command}
    write_atomically(folder / "results.csv", _csv(RESULTS, results.trials))
    write_atomically(folder / "recommended.csv", _csv(RECOMMENDED, results.recommended))
    write_atomically(folder / "summary.json", json.dumps(summary, indent=1) + "\n")
    write_atomically(folder / "summary.md", markdown(summary))
    return summary


def _csv(columns: Sequence[str], rows: Iterable[Mapping[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, extrasaction="ignore", lineterminator="\n")
    writer.writeheader()
    writer.writerows({**row, "prompt": row["origin"]} for row in rows)
    return text.getvalue()


def lines(summary: Mapping[str, Any]) -> tuple[list[str], list[list[str]]]:
    """Header and rows of the table, as text: each tuner by falling return, and the best found."""
    plan, tuners, goal = summary["plan"], summary["tuners"], summary["goal"]
    other = "success" if goal == "return" else "return"
    budgets = sorted({int(budget) for figures in tuners.values() for budget in figures["by_rollouts"]} - {0})
    shown = [budget for budget in budgets if budget in (10, 50, plan["options"]["rounds"])]
    header = ["tuner", *(f"{goal}, {budget} rollouts" for budget in shown), "interquartile mean"]
    figured = [summary["oracle"], *tuners.values()]
    others = ["interquartile_mean"]
    for column, label in ((other, other), ("last_success", "success at the last step")):
        if all(figures[column] is not None for figures in figured):
            others.append(column)
            header.append(label)
    if any(figures["failed"] for figures in figured):
        header.append("episodes failed")
    header += ["rollouts spent", "rollouts to 95 %", "ms a round", "ours minus it"]
    rows = []
    for name in sorted(tuners, key=lambda name: -tuners[name][goal]):
        figures = tuners[name]
        known = figures["by_rollouts"]
        row = [f"{name} (default)" if name == summary["default"] else name]
        # What needs no rollouts, or is never tuned, is the same after any number of them.
        row += [_interval(known.get(str(budget), figures), goal) for budget in shown]
        row += [f"{figures[column]:.2f}" for column in others]
        row += [str(figures["failed"])] * ("episodes failed" in header)
        row += ["-" if figures["rollouts_spent"] is None else f"{figures['rollouts_spent']:.1f}"]
        row += [str(figures["rollouts_to_95"] if figures["rollouts_to_95"] is not None else "-")]
        row += ["-" if figures["seconds_per_round"] is None else f"{1000 * figures['seconds_per_round']:.1f}"]
        against = summary["default_minus"].get(name, {}).get(str(shown[0]))
        row += ["-" if against is None else difference(against)]
        rows.append(row)
    if len(shown) > 1:
        header[-1] += f", {shown[0]}"
    best = summary["oracle"]
    row = [oracle.NAME, *([_interval(best, goal)] * len(shown)), *(f"{best[column]:.2f}" for column in others)]
    row += [str(best["failed"])] * ("episodes failed" in header)
    rows.append([*row, "-", "-", "-", "-"])
    return header, rows


def interval(value: float, low: float | None, high: float | None, form: str = ".2f") -> str:
    """A value with its interval, as text.

    >>> interval(1.0, 0.5, 1.5), interval(1.0, None, None)
    ('1.00 [0.50, 1.50]', '1.00 (n/a)')
    """
    return f"{value:{form}} (n/a)" if low is None or high is None else f"{value:{form}} [{low:{form}}, {high:{form}}]"


def difference(against: Mapping[str, Any]) -> str:
    """Of ours to a rival: its interval and the verdict, as text."""
    ends = interval(against["difference"], against["low"], against["high"], "+.2f")
    if against["verdict"] in (None, "tie"):
        return ends if against["verdict"] is None else f"{ends}, tie"
    return f"{ends}, ours {against['verdict']} (p = {against['p_holm']:.2g})"


def _interval(figures: Mapping[str, Any], goal: str) -> str:
    return interval(*of_goal(figures, goal))


def caption(summary: Mapping[str, Any]) -> str:
    """What the figures are of, and what their intervals cover."""
    plan = summary["plan"]
    options = plan["options"]
    remark = hardly_matters(summary.get("prompt_sensitivity", {}))  # of an earlier version there is none
    segments = "one segment" if plan["slots"] == 1 else f"{plan['slots']} segments"
    not_covered = "; the luck of pretraining is not in it" if len(plan["checkpoints"]) == 1 else ""
    return (
        f"Recommended prompts on {options['verdict_episodes']} fresh episodes of each cell; {segments} in a prompt. "
        f"Mean [95 % t interval {covers(plan)}{not_covered}], n/a where all are alike or there is one run. "
        f"The best found, of {options['oracle_candidates']} random prompts and of all that was tried, is chosen "
        "once for all seeds and varies by its episodes alone. An episode that failed was not won, and has the lowest "
        "return known of its task. Differences are paired; ours is better or worse where p < 0.05 after Holm's "
        "correction over all rivals and budgets, and else a tie."
        + (f" {remark[0].upper()}{remark[1:]}." if remark else "")
    )


def markdown(summary: Mapping[str, Any]) -> str:
    """The table as Markdown, with the command that made it."""
    return f"{markdown_table(*lines(summary))}\n\n{caption(summary)}\n\n```console\n{summary['command']}\n```\n"


def print_table(summary: Mapping[str, Any]) -> None:
    """The same table on the terminal."""
    header, rows = lines(summary)
    table = Table(
        title=f"Tuners compared, {summary['plan']['options']['rounds']} rollouts a task at most",
        title_justify="left",
        caption=caption(summary),
        caption_justify="left",
    )
    for column in header:
        table.add_column(column, justify="left" if column == "tuner" else "right", no_wrap=column == "tuner")
    for row in rows[:-1]:
        table.add_row(*row)
    table.add_section()
    table.add_row(*rows[-1])
    show(table)
