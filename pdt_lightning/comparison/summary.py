"""Summary: what the jobs of a comparison have found, as figures with intervals, and ours against every rival."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from pdt_lightning.comparison.plan import DEFAULT, ORACLE, UNTUNED, Plan
from pdt_lightning.results.regret import cumulative_regret, simple_regret
from pdt_lightning.results.statistics import (
    LEVEL,
    Interval,
    Samples,
    hierarchical_interval,
    holm,
    improvement_interval,
    interquartile_interval,
    p_value,
)

CLOSED = 0.95  # share of the gap from untuned to oracle


class Results:
    """Everything that the jobs of a finished comparison have found.

    Args:
        plan: of the comparison.
        folder: of the comparison.
    """

    def __init__(self, plan: Plan, folder: Path):
        every = sorted(plan.jobs(), key=str)
        self.plan, self.jobs = plan, [json.loads(job.file(folder).read_text()) for job in every]
        self.recommended = [
            {"checkpoint": job["checkpoint"], "tuner": job["tuner"], **row}
            for job in self.jobs
            for row in job["recommended"]
        ]
        self.trials = [
            {"checkpoint": job["checkpoint"], "tuner": job["tuner"], **row}
            for job in self.jobs
            for row in job.get("trials", ())
        ]
        self._count_failures()
        self.has_success = all(row["success"] is not None for row in self.recommended)
        self.goal = "success" if self.has_success and plan.options.objective != "return" else "return"

    def _count_failures(self) -> None:
        """Give every episode that failed the lowest return that any job knows of the task."""
        lowest = dict.fromkeys(self.plan.tasks, math.inf)
        for row in self.recommended:
            lowest[row["task"]] = min(lowest[row["task"]], row["lowest"])
        for row in self.trials:
            lowest[row["task"]] = min([lowest[row["task"]], *([row["return"]] if row["return"] is not None else [])])
        for row in self.recommended:
            if row["failed"]:
                played = row["episodes"] - row["failed"]
                row["return"] = (played * row["return"] + row["failed"] * lowest[row["task"]]) / row["episodes"]
        self.lowest = lowest

    def of(self, name: str, rollouts: int | None = None) -> list[dict[str, Any]]:
        """Judged recommendations of a tuner, after so many rollouts; None: after all."""
        wanted = self.plan.budgets_of(name)[-1] if rollouts is None else rollouts
        return [row for row in self.recommended if row["tuner"] == name and row["rollouts"] == wanted]

    def samples(self, rows: Iterable[Mapping[str, Any]], field: str) -> list[list[float]]:
        """Values of a field: for each task those of all checkpoints and seeds, always in the same order."""
        ordered = sorted(rows, key=lambda row: (row["checkpoint"], row["seed"]))
        return [[row[field] for row in ordered if row["task"] == task] for task in self.plan.tasks]

    def cells(self, rows: Iterable[Mapping[str, Any]], field: str) -> np.ndarray:
        """`(P, S, T)` values of a field, of pretrainings, seeds and tasks."""
        by_task = np.array(self.samples(rows, field), float)
        return by_task.T.reshape(len(self.plan.checkpoints), self.plan.seeds, len(self.plan.tasks))

    def spent(self, name: str) -> float | None:
        """Rollouts of a search with the largest budget, on average: fewer than that where it was sure before."""
        played = sum(row["tuner"] == name for row in self.trials)
        return played / (len(self.plan.checkpoints) * self.plan.seeds * len(self.plan.tasks)) if played else None

    def seconds_per_round(self, name: str) -> float | None:
        """Mean over the checkpoints."""
        seconds = [
            job["seconds_per_round"] for job in self.jobs if job["tuner"] == name and job.get("seconds_per_round")
        ]
        return float(np.mean(seconds)) if seconds else None

    def prompt_sensitivity(self) -> dict[str, float | None]:
        """Of each task, mean over the checkpoints; None where jobs of an earlier version did not measure it."""
        measured = [job["prompt_sensitivity"] for job in self.jobs if "prompt_sensitivity" in job]
        return {task: float(np.mean([own[task] for own in measured])) if measured else None for task in self.plan.tasks}


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
            if name != UNTUNED
            and top > floor
            and np.mean(results.samples(rows, results.goal)) - floor >= CLOSED * (top - floor)
        ]
        tuners[name] = {
            **_figures(results, by_rollouts[plan.budgets_of(name)[-1]]),
            "rollouts_spent": results.spent(name),
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
        "prompt_sensitivity": results.prompt_sensitivity(),
        "plan": plan.as_json(),
    }


def _figures(results: Results, rows: list[dict[str, Any]]) -> dict[str, float | None]:
    figures = _named(("return", "low", "high"), hierarchical_interval(results.cells(rows, "return")))
    names = ("success", "success_low", "success_high")
    if results.has_success:
        figures |= _named(names, hierarchical_interval(results.cells(rows, "success")), 0.0, 1.0)
    else:
        figures |= dict.fromkeys(names)
    figures["last_success"] = float(results.cells(rows, "last_success").mean()) if results.has_success else None
    figures["failed"] = sum(row["failed"] for row in rows)
    middle = interquartile_interval(results.cells(rows, results.goal))
    return figures | _named(("interquartile_mean", "interquartile_low", "interquartile_high"), middle)


def _named(
    names: Sequence[str], interval: Interval, least: float | None = None, most: float | None = None
) -> dict[str, float | None]:
    """An interval by names, its ends within what is possible; None, which JSON can say, where it has none."""
    value, *ends = interval
    within = ends if least is None else [float(np.clip(end, least, most)) for end in ends]
    return dict(zip(names, [value, *(end if np.isfinite(end) else None for end in within)], strict=True))


def of_goal(figures: Mapping[str, Any], goal: str) -> tuple[float, float | None, float | None]:
    """Mean, lower and upper end of what was to be maximised; None for ends that nothing is known of."""
    names = ("return", "low", "high") if goal == "return" else ("success", "success_low", "success_high")
    return figures[names[0]], figures[names[1]], figures[names[2]]


def covers(plan: Mapping[str, Any]) -> str:
    """What the intervals of a comparison are over, in words.

    Args:
        plan: of a summary, `plan`.

    >>> covers({"checkpoints": ["a"], "seeds": 3, "tasks": ["t", "u"]})
    'over 3 seeds x 2 tasks of one pretraining'
    """
    pretrainings, seeds, tasks = len(plan["checkpoints"]), plan["seeds"], len(plan["tasks"])
    of_tuning = f"{seeds} seed{'s' * (seeds != 1)} x {tasks} task{'s' * (tasks != 1)}"
    return (
        f"over {of_tuning} of one pretraining"
        if pretrainings == 1
        else f"over {pretrainings} pretrainings x {of_tuning}"
    )


def _regret(results: Results, name: str, ceiling: Samples) -> dict[str, float | None]:
    """Of a cell, on average, what it fell short of the oracle's mean return.

    `simple` is of its recommendation, `cumulative` of all its rollouts together.
    """
    optima = [float(np.mean(own)) for own in ceiling]
    judged = results.samples(results.of(name), "return")
    simple = [simple_regret(np.array(own), optimum).mean() for own, optimum in zip(judged, optima, strict=True)]
    played = [
        row if row["return"] is not None else {**row, "return": results.lowest[row["task"]]}
        for row in results.trials
        if row["tuner"] == name
    ]
    cells = len(results.plan.checkpoints) * results.plan.seeds
    tried = results.samples(played, "return")
    cumulative = [
        cumulative_regret(np.array(own), optimum)[-1] / cells for own, optimum in zip(tried, optima, strict=True) if own
    ]
    return {
        "simple_regret": float(np.mean(simple)),
        "cumulative_regret": float(np.mean(cumulative)) if cumulative else None,
    }


def _differences(results: Results) -> dict[str, dict[str, dict[str, Any]]]:
    """Of each rival, by rollouts: our default's goal minus theirs, cell by cell, and whether that is more than luck.

    All rivals and budgets are one family of claims: `p_holm` and with it `verdict` allow for how many they are.
    """
    found: dict[str, dict[str, dict[str, Any]]] = {}
    ps = []
    for name in results.plan.names:
        if name == DEFAULT:
            continue
        found[name] = {}
        for rollouts in results.plan.budgets:
            theirs = results.cells(results.of(name, rollouts) or results.of(name), results.goal)
            ours = results.cells(results.of(DEFAULT, rollouts), results.goal)
            own: dict[str, Any] = {**_named(("difference", "low", "high"), hierarchical_interval(ours - theirs))}
            own |= _named(("improvement", "improvement_low", "improvement_high"), improvement_interval(ours, theirs))
            found[name][str(rollouts)] = own
            ps.append(p_value(ours - theirs))
    entries = [own for by_rollouts in found.values() for own in by_rollouts.values()]
    for own, p, adjusted in zip(entries, ps, holm(ps), strict=True):
        known = bool(np.isfinite(p))
        own |= {"p": p if known else None, "p_holm": adjusted if known else None}
        own["verdict"] = verdict(own["difference"], adjusted) if known else None
    return found


def verdict(difference: float, adjusted: float) -> str:
    """Of ours, by the difference to a rival and its adjusted p-value: `better`, `worse` or `tie`.

    >>> verdict(-1.0, 0.2), verdict(-1.0, 0.01)
    ('tie', 'worse')
    """
    if adjusted >= 1 - LEVEL:
        return "tie"
    return "better" if difference > 0 else "worse"


def _attention(results: Results) -> dict[str, Any] | None:
    """By kind of prompt and layer, of an action's attention the share to the prompt.

    Of that, the share to each segment is given too, the most first.
    """
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
