"""The contract check itself: every way to break it is found and named."""

import dataclasses

import gymnasium as gym
import numpy as np
import pytest

from pdt_lightning.tasks import check_family, make_family
from pdt_lightning.tasks.base import Recipe
from pdt_lightning.tasks.point import PointEnv, walk


class Unrepeatable(PointEnv):
    def reset(self, *, seed=None, options=None):
        return super().reset(options=options)


class Short(PointEnv):
    def step(self, action):
        *rest, truncated, info = super().step(action)
        return *rest, truncated or self.steps == 5, info


class Infinite(PointEnv):
    def step(self, action):
        observation, _, *rest = super().step(action)
        return observation, np.inf, *rest


class Unbounded(PointEnv):
    def __init__(self, **options):
        super().__init__(**options)
        self.action_space = gym.spaces.Box(-np.inf, np.inf, (2,), np.float32)


class Larger(PointEnv):
    def __init__(self, **options):
        super().__init__(**options)
        self.observation_space = gym.spaces.Box(-1, 1, (3,), np.float64)


class Reusing(PointEnv):
    def step(self, action):
        observation, *rest = super().step(action)
        self.buffer = getattr(self, "buffer", np.zeros(2))
        self.buffer[:] = observation
        return self.buffer, *rest


class Wordy(PointEnv):
    def step(self, action):
        *rest, _ = super().step(action)
        return *rest, {"is_success": "yes"}


class Hiding(PointEnv):
    """Simulates with a package that its module does not tell of."""

    def __init__(self, **options):
        super().__init__(**options)
        self.world = type("World", (), {"__module__": "pybullet.worlds"})()


class Fixed(Recipe):
    @property
    def dataset_id(self):
        return f"fixed/{self.task.id}-{self.role}-v0"


KINDS = (Unrepeatable, Short, Infinite, Unbounded, Larger, Reusing, Wordy, Hiding)


def far(env):
    return lambda position: np.full(2, 2.0)


def flat(env):
    return lambda position: walk(env)(position)[:1]


def of_environment(name):
    return lambda task: dataclasses.replace(task, env_id=f"test/{name}-v0")


@pytest.fixture
def family(monkeypatch):
    for kind in KINDS:
        gym.register(f"test/{kind.__name__}-v0", entry_point=f"tests.tasks.test_contract:{kind.__name__}")
    yield make_family("point")
    for kind in KINDS:
        del gym.registry[f"test/{kind.__name__}-v0"]


def test_the_point_keeps_it(family):
    check_family(family)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (of_environment("Unrepeatable"), "point/15: its environment test/Unrepeatable-v0 does not repeat itself"),
        (of_environment("Short"), "point/15 is truncated after 5 steps, before its horizon"),
        (
            of_environment("Infinite"),
            "point/15: .* has an observation or a reward that is not finite within its first 20 steps",
        ),
        (of_environment("Unbounded"), "point/15 has actions without bounds"),
        (of_environment("Larger"), "point/15 has observations of another size than the first task"),
        (of_environment("Reusing"), "point/15 hands out one array at every step"),
        (of_environment("Wordy"), r"point/15: .* has text, such as 'yes', for info\['is_success'\]"),
        (of_environment("Hiding"), "point/15: its datasets are not named after the version of pybullet"),
        (lambda task: dataclasses.replace(task, training_data=()), "point/15 is trained on and has no training_data"),
        (lambda task: dataclasses.replace(task, training_data=("a b",)), "Minari does not take a b"),
        (lambda task: dataclasses.replace(task, id="point/14"), "two tasks have one id"),
        (
            lambda task: dataclasses.replace(task, env_kwargs={"goal": 15, "horizon": lambda: 30}),
            "point/15 does not survive the way to another process",
        ),
    ],
)
def test_what_breaks_it_is_named(family, change, message):
    family.training_tasks = (*family.training_tasks[:-1], change(family.training_tasks[-1]))
    with pytest.raises(AssertionError, match=message):
        check_family(family)


@pytest.mark.parametrize(("expert", "message"), [(far, "is not in the box"), (flat, r"of shape \(1,\), not \(2,\)")])
def test_experts_act_in_the_box(family, expert, message):
    recipes = [dataclasses.replace(recipe, expert=expert) for recipe in family.recipes.values()]
    family.recipes = {recipe.dataset_id: recipe for recipe in recipes}
    with pytest.raises(AssertionError, match=message):
        check_family(family)


def test_a_recipe_makes_what_it_is_listed_under(family):
    name, recipe = next(iter(family.recipes.items()))
    family.recipes = {**family.recipes, name: dataclasses.replace(recipe, seed=5)}
    with pytest.raises(AssertionError, match=f"the recipe of {name} makes"):
        check_family(family)


def test_datasets_are_named_after_what_made_them(family):
    fixed = [Fixed(**vars(recipe)) for recipe in family.recipes.values()]
    family.recipes = {recipe.dataset_id: recipe for recipe in fixed}
    with pytest.raises(AssertionError, match="does not change with its expert's code"):
        check_family(family)
