"""The page of a study, with its figures: what every tuner recommends after 0 to so many rollouts."""

import json
import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.studies import Setting, Study
from pdt_lightning.comparison.plan import UNTUNED
from pdt_lightning.comparison.report import caption, difference, interval
from pdt_lightning.comparison.summary import of_goal
from pdt_lightning.core.files import write_atomically
from pdt_lightning.results.markdown import markdown_table
from pdt_lightning.tuning import oracle

FIGURES = ("by_rollouts", "profiles")  # of a comparison's
JUDGED = (10, 50)  # rollouts, at which the differences are shown


def write(
    docs: Path, name: str, study: Study, pretraining: str, folder: Path, done: Sequence[tuple[Setting, str]]
) -> None:
    """Write `NAME.md` and the figures beside it.

    Args:
        docs: folder for them.
        name: of the study.
        study: what it consists of.
        pretraining: its command.
        folder: that holds its comparisons.
        done: settings that have been compared, each with its command.
    """
    seeds = ", ".join(map(str, range(study.pretrainings)))
    parts = [f"# {study.title}", study.text, f"Pretrained with `--seed` {seeds}:", _console(pretraining)]
    parts += [study.published] if study.published else []
    for setting, command in done:
        summary = json.loads((folder / setting.name / "summary.json").read_text())
        parts += [f"## {setting.text.partition(':')[0].partition('.')[0]}"] if len(done) > 1 else []
        parts += [setting.text, by_rollouts(summary), caption(summary), differences(summary), _console(command)]
        for figure in FIGURES:
            target = docs / f"{name}_{setting.name}_{figure}.png"
            docs.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(folder / setting.name / "figures" / f"{figure}.png", target)
            parts.append(f"![{figure.replace('_', ' ').capitalize()}]({target.name})")
    write_atomically(docs / f"{name}.md", "\n\n".join(parts) + "\n")


def by_rollouts(summary: Mapping[str, Any]) -> str:
    """Of every tuner, the goal's mean and interval after so many rollouts, as a Markdown table."""
    goal, tuners = summary["goal"], summary["tuners"]
    budgets = sorted({int(budget) for own in tuners.values() for budget in own["by_rollouts"]} | {0})
    form = ".2f" if goal == "success" or abs(summary["oracle"]["return"]) < 100 else ".0f"
    header = [f"mean {goal}, rollouts at most", *map(str, budgets), "interquartile mean", "rollouts spent"]
    lines = []
    for name in sorted(tuners, key=lambda name: -tuners[name][goal]):
        own, known = tuners[name], tuners[name]["by_rollouts"]
        # What is never tuned is judged beside the largest budget, and needs none.
        free = name == UNTUNED or "0" in known
        values = [own] if free else [known.get(str(budget)) for budget in budgets]
        row = ["" if one is None else interval(*of_goal(one, goal), form) for one in values]
        row += [""] * (len(budgets) - len(row))
        spent = "0" if free else f"{own['rollouts_spent']:.1f}"
        called = {UNTUNED: "untuned", summary["default"]: f"{name} (default)"}.get(name, name)
        lines.append([called, *row, format(own["interquartile_mean"], form), spent])
    best = summary["oracle"]
    ends = ["", *[""] * (len(budgets) - 1)]
    middle = format(best["interquartile_mean"], form)
    lines.append([f"{oracle.NAME}: {interval(*of_goal(best, goal), form)}", *ends, middle, ""])
    return markdown_table(header, lines, "---:")


def differences(summary: Mapping[str, Any]) -> str:
    """Of the default and each rival, the paired difference, and the probability that the default's is better."""
    budgets = [budget for budget in JUDGED if str(budget) in next(iter(summary["default_minus"].values()))]
    header = ["default minus rival", *(f"{budget} rollouts" for budget in budgets), "probability that it is better"]
    lines = []
    for name, against in summary["default_minus"].items():
        chances = (
            interval(own["improvement"], own["improvement_low"], own["improvement_high"])
            for own in (against[str(budget)] for budget in budgets)
        )
        lines.append([name, *(difference(against[str(budget)]) for budget in budgets), "; ".join(chances)])
    return markdown_table(header, lines)


def _console(command: str) -> str:
    return f"```console\n{command}\n```"
