"""How prompts are tuned and judged, as a user says it."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from pdt_lightning.core.errors import UserError, check_choice, check_range
from pdt_lightning.core.plain import plain
from pdt_lightning.rollouts.environments import reports_success
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuners import tuner_class


@dataclass
class TuningOptions:
    """How prompts are tuned and judged.

    Args:
        tuner: `structured`, the bandit; `uniform`, no tuning; or a rival: `published`, `random_search`, `hill_climbing`,
            `zo_rank_sgd`, `flat`, `rollout_free`; or a tuner of your own, by the path of its class, such as `my_package.Mine`.
        tuner_options: of that tuner, such as `{exploration: ucb}`. `structured` takes `features` (`encoded` by the transformer, or
            `raw` values), `reward_model` (`linear`), `exploration` (`thompson`, `ucb`, `epsilon_greedy`) and `credit` (each slot of
            a prompt has its `own` share of the return, or the `whole`, as published); `flat` the first three. What they name may
            be yours too, by its path.
        rounds: rollouts that the tuner may spend on a task.
        parallel: rollouts of a task between two fits of the tuner.
        objective: `return`; `success`, ties broken by return; `auto`: success where the environment reports it.
        yardstick_episodes: untuned episodes of a task before tuning, each with a random prompt.
        verdict_episodes: fresh episodes on which the recommended prompt is judged, and as many untuned ones.
        oracle_candidates: prompts tried at the end of a run, for the best the transformer can do; 0: none.
        oracle_episodes: of each such prompt before the worse three quarters leave; those that stay get as many more, twice.
        videos: held-out tasks to film at the end of a run, untuned and tuned side by side; 0: none.
        seed: of tuning and of all its episodes.
    """

    tuner: str = "structured"
    tuner_options: dict[str, Any] | None = None
    rounds: int = 100
    parallel: int = 1
    objective: str = "auto"
    yardstick_episodes: int = 10
    verdict_episodes: int = 25
    oracle_candidates: int = 100
    oracle_episodes: int = 2
    videos: int = 0
    seed: int = 0

    def __post_init__(self) -> None:
        vars(self).update(plain(vars(self)))  # a NumPy number among them would make checkpoints that cannot be read
        self.tuner_options = tuner_class(self.tuner).check(self.tuner, self.tuner_options or {})
        check_choice("--tuning.objective", self.objective, ("auto", "return", "success"))
        for name, least in (
            ("rounds", 0),
            ("parallel", 1),
            ("yardstick_episodes", 1),
            ("verdict_episodes", 1),
            ("oracle_candidates", 0),
            ("oracle_episodes", 1),
            ("videos", 0),
        ):
            check_range(f"--tuning.{name}", getattr(self, name), least, 1_000_000)


def check_objective(objective: str, tasks: Sequence[Task]) -> None:
    """Refuse to tune for success where the environment reports none, before a run finds out at its end.

    Raises:
        UserError: naming the task.
    """
    if objective == "success" and (silent := next((task for task in tasks if not reports_success(task)), None)):
        raise UserError(
            f"--tuning.objective=success: {silent.env_name}, the environment of {silent.id}, has no success in its info. "
            "Choose return or auto."
        )
