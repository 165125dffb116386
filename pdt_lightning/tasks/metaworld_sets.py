"""Meta-World's sets of manipulations.

The held-out tasks of ML10 and ML45 are of other classes, and those of MT10 and MT50 of other goals.
"""

import functools
import json
import pickle
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Literal

import metaworld

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.ranges import NonNegativeFloat, check_types, number
from pdt_lightning.tasks.base import Recipe, Task, TaskFamily, demonstrated
from pdt_lightning.tasks.metaworld import METAWORLD_SEED, Horizon, StartNoise, goal_task, scripted
from pdt_lightning.tasks.option_types import Candidates, Share, Training

GOALS = 50  # of each class
if TYPE_CHECKING:
    ClassGoals = int
else:
    ClassGoals = number(int, 1, GOALS)
Goals = Mapping[str, tuple[tuple[float, ...], ...]]  # by class, the frozen vectors of its tasks


@functools.cache
def goals_of(benchmark: str) -> tuple[Goals, Goals]:
    """Goals of the classes to train on and of those held out (none in MT10 and MT50).

    They are kept once found, since drawing takes up to 30 s.
    """

    def draw(folder: Path) -> None:
        drawn = getattr(metaworld, benchmark)(seed=METAWORLD_SEED)
        found: list[dict[str, list]] = [{}, {}]
        for group, tasks in zip(found, (drawn.train_tasks, drawn.test_tasks), strict=True):
            for task in tasks:
                group.setdefault(task.env_name, []).append([float(x) for x in pickle.loads(task.data)["rand_vec"]])
        (folder / "goals.json").write_text(json.dumps(found))

    place = cache.keep(f"goals-{benchmark}", [benchmark, METAWORLD_SEED, version("metaworld")], draw)
    training, held_out = (
        {name: tuple(tuple(goal) for goal in goals) for name, goals in group.items()}
        for group in json.loads((place / "goals.json").read_text())
    )
    return training, held_out


class MetaworldSetFamily(TaskFamily):
    """Many manipulations at once, with the goal hidden; a task is a goal of one of them.

    ML10 and ML45 hold out five classes, of which a prompt has to tell what to do at all; MT10 and MT50 hold out further
    goals of the classes that are trained on. Returns differ widely between classes: each task's own demonstrations
    decide its return scale.

    Args:
        benchmark: ML10, ML45, MT10 or MT50, drawn by Meta-World's seed 1.
        goals: of each class to train on, the first of its 50.
        heldout_goals: of each held-out class to tune, the first of its 50; in MT10 and MT50, of each class, the last.
        training_demonstrations: episodes for each task to train on.
        candidate_demonstrations: episodes that prompts of a task are taken from.
        action_noise: standard deviation of the demonstrations' action noise; actions lie in [-1, 1].
        expert_share: share of expert demonstrations among the candidates; the rest acts at random.
        horizon: steps of an episode; 500 as published.
        start_noise: displacement of the object's start position by the episode seed, in metres; 0 as published.
        collection_seed: seed of the demonstrations.
    """

    def __init__(
        self,
        benchmark: Literal["ML10", "ML45", "MT10", "MT50"] = "ML10",
        goals: ClassGoals = 10,
        heldout_goals: ClassGoals = 1,
        training_demonstrations: Training = 8,
        candidate_demonstrations: Candidates = 5,
        action_noise: NonNegativeFloat = 0.1,
        expert_share: Share = 1.0,
        horizon: Horizon = 150,
        start_noise: StartNoise = 0.01,
        collection_seed: int = 0,
    ):
        check_types("data.family_options", MetaworldSetFamily.__init__, locals())
        training, held_out = goals_of(benchmark)
        if not held_out and goals + heldout_goals > GOALS:
            raise UserError(
                f"`data.family_options.heldout_goals`={heldout_goals} and `data.family_options.goals`={goals}: "
                f"{benchmark} has {GOALS} of each class. Lower one of them."
            )
        recipes: dict[str, Recipe] = {}

        def task(name: str, number: int, positions: tuple[float, ...]) -> Task:
            filled, own = demonstrated(
                goal_task(f"{benchmark.lower()}/{name}-{number:02d}", name, positions, horizon, start_noise),
                scripted,
                ("training_demonstrations", training_demonstrations),
                ("candidate_demonstrations", candidate_demonstrations),
                action_noise=action_noise,
                expert_share=expert_share,
                seed=collection_seed,
            )
            recipes.update(own)
            return filled

        def tasks(group: Goals, numbers: range) -> tuple[Task, ...]:
            return tuple(task(name, n, goals[n]) for name, goals in group.items() for n in numbers)

        self.training_tasks = tasks(training, range(goals))
        self.heldout_tasks = (
            tasks(held_out, range(heldout_goals)) if held_out else tasks(training, range(GOALS - heldout_goals, GOALS))
        )
        self.recipes = MappingProxyType(recipes)
