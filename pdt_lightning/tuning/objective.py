"""What is maximised on a task, decided once, before its first rollout, so that all its outcomes have one unit."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Literal

import numpy as np

from pdt_lightning.core.errors import UserError
from pdt_lightning.rollouts.rollout import Outcome
from pdt_lightning.tuners.outlook import Outlook
from pdt_lightning.tuners.references import best_demonstrations
from pdt_lightning.tuning.subject import Subject

Option = Literal["auto", "return", "success", "success_only"]
# Share of the return in a value of `success`. The average of 1,000 episodes changes by more with one of them won or
# lost.
TIE_BREAKER = 5e-4


@dataclass(frozen=True)
class Objective:
    """What a tuner maximises on one task, and how its outcomes are counted.

    Args:
        kind: `return`; `success`, ties broken by return; `success_only`.
        reports_success: whether the environment reports success; if so, an episode that reports none counts as lost.
        scale: of the task's returns, > 0.
        outlook: what the demonstrations tell of the values to come; `worst` is that of an episode that is not won and
            brings the lowest demonstrated return.
    """

    kind: str = "return"
    reports_success: bool = False
    scale: float = 1.0
    outlook: Outlook = field(default_factory=Outlook)

    @property
    def unit(self) -> str:
        """`return` or `success`: what figures and tables are in."""
        return "return" if self.kind == "return" else "success"

    def value(self, outcome: Outcome) -> float | None:
        """To be maximised; None of an episode that failed.

        >>> lost, won = Outcome(-100.0, 0.0, 150), Outcome(-1500.0, 1.0, 150)
        >>> [round(float(Objective("success", True, 100.0).value(outcome)), 5) for outcome in (lost, won)]
        [0.00013, 0.99952]
        """
        return None if outcome.failed is not None else self.of(outcome.total, outcome.success or 0.0)

    def of(self, total: float, success: float) -> float:
        """The value of a return, in the environment's unit, and a success from 0 to 1."""
        if self.kind != "success":
            return total if self.kind == "return" else success
        scaled = total / self.scale
        # Bounded, and never level.
        return (1 - TIE_BREAKER) * success + TIE_BREAKER * (0.5 + 0.5 * scaled / (1 + abs(scaled)))

    def seen(self, outcome: Outcome) -> float:
        """The same as tables and figures show it: the return, or success from 0 to 1; NaN of an episode that failed."""
        if outcome.failed is not None:
            return float("nan")
        return outcome.total if self.unit == "return" else outcome.success or 0.0


def decide(option: Option, subject: Subject, plays: bool = True) -> Objective:
    """The objective of a task, by the option and by whether its environment reports success.

    Demonstrations can show this too: if some of them report success and others do not, the environment reports it only
    when it happens.

    Args:
        option: what the user asked for; `auto` is `success` where success is reported, else `return`.
        subject: the task, with its return scale settled.
        plays: whether episodes are to be played; where not, the demonstrations alone are asked.

    Raises:
        UserError: if success is asked for and the environment reports none.
    """
    task, demonstrations = subject.task, subject.segments.episodes
    unknown = np.isnan(demonstrations.index.successes)
    reported = 0 < unknown.sum() < len(unknown) or (plays and subject.reports_success)
    if plays and option.startswith("success") and not reported:
        raise UserError(
            f"`tuning.objective`={option}: {task.env_name}, the environment of {task.id}, has no success in its info. "
            "Choose return or auto."
        )
    kind = option if option != "auto" else "success" if reported else "return"
    objective = Objective(kind, reported, task.return_scale or 1.0)
    returns, best = demonstrations.index.returns, best_demonstrations(demonstrations)
    # Where success is not recorded the best demonstrations are taken to be won: nobody shows how to fail.
    won = np.nan_to_num(demonstrations.index.successes[best], nan=1.0)
    demonstrated = np.mean([objective.of(*both) for both in zip(returns[best].tolist(), won.tolist(), strict=True)])
    size = abs(float(demonstrated)) or objective.scale if objective.unit == "return" else 1.0
    return replace(objective, outlook=Outlook(objective.of(float(returns.min()), 0.0), float(demonstrated), size))


def check_objective(option: Option, subjects: Iterable[Subject]) -> None:
    """Refuse to look for success where it is not reported, before a run finds out; other options are never refused.

    Args:
        option: what the user asked for.
        subjects: what is to be tuned.

    Raises:
        UserError: see `decide`.
    """
    if option.startswith("success"):
        for subject in subjects:
            decide(option, subject)
