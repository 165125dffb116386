"""What every family promises, checked in one call: for the tests of a package that adds one, and for ours."""

import dataclasses
import pickle
from collections.abc import Sequence
from typing import Any

import gymnasium as gym
import numpy as np
from minari.dataset.minari_dataset import parse_dataset_id

from pdt_lightning.core.errors import UserError
from pdt_lightning.tasks.actions import FlatActions, as_action, choices_of, encode
from pdt_lightning.tasks.base import Expert, Recipe, Task, TaskFamily, check_ids
from pdt_lightning.tasks.identity import SIMULATORS, identity_of_environment
from pdt_lightning.tasks.trial import play, random_actions, try_out

STEPS = 20  # of an expert and of a repeated episode


def check_family(family: TaskFamily, tasks: Sequence[Task] | None = None) -> None:
    """Check that a family keeps what the package relies on; some seconds for a simulator.

    Ids are unique, and Minari takes those of datasets, which change with the expert's code and with the version of the
    simulator; environments can be built in another process, have observations and actions of one size, repeat an
    episode by its seed, hand out observations that stay as they are, report success as a number, and last to the
    horizon; experts' actions are the environment's.

    Args:
        family: to be checked.
        tasks: whose environments to play in; None: the first and the last of those trained on and of those tuned.

    Raises:
        AssertionError: naming the task and the promise.
        UserError: naming the task, where its environment cannot be built or its id is no name of a file.
    """
    assert family.training_tasks, "there is no task to train on"
    for group in (family.training_tasks, family.heldout_tasks):
        ids = [task.id for task in group]
        assert len(set(ids)) == len(ids), f"two tasks have one id: {sorted(ids)}"
        check_ids(ids, "the family")
    for task in family.training_tasks:
        assert task.training_data, f"{task.id} is trained on and has no training_data"
    for task in family.heldout_tasks:
        assert task.prompt_data, f"{task.id} is tuned and has no prompt_data"
    for name in [
        *family.recipes,
        *(name for task in family.tasks for name in (*task.training_data, *task.prompt_data)),
    ]:
        try:
            parse_dataset_id(name)
        except ValueError as error:
            raise AssertionError(f"Minari does not take {name} for the id of a dataset: {error}") from error
    for name, recipe in family.recipes.items():
        assert recipe.dataset_id == name, f"the recipe of {name} makes {recipe.dataset_id}"
        other = dataclasses.replace(recipe, expert=_another)
        assert other.dataset_id != name, f"{name} does not change with its expert's code: leave `dataset_id` to Recipe"
    observations, actions = family.spaces()
    chosen = (
        [group[n] for group in (family.training_tasks, family.heldout_tasks) if group for n in (0, -1)]
        if tasks is None
        else tasks
    )
    for task in {task.id: task for task in chosen}.values():
        try:
            assert pickle.loads(pickle.dumps(task)) == task
        except Exception as error:  # pickling breaks in many ways
            raise AssertionError(f"{task.id} does not survive the way to another process: {error}") from error
        assert task.facts()["environment"], (
            f"{task.id}: Gymnasium cannot write its environment down; use a string entry point"
        )
        env = task.make_env()
        try:
            _check_environment(env, task, observations, actions)
            _check_simulators(env, task)
            for recipe in family.recipes.values():
                if recipe.task.id == task.id:
                    _check_expert(env, recipe)
        finally:
            env.close()


def _check_environment(env: gym.Env, task: Task, observations: gym.spaces.Box, actions: gym.spaces.Box) -> None:
    space: Any = env.action_space
    assert env.observation_space.shape == observations.shape, (
        f"{task.id} has observations of another size than the first task"
    )
    assert space.shape == actions.shape, f"{task.id} has actions of another size than the first task"
    assert choices_of(space) == choices_of(actions), f"{task.id} has other choices for actions than the first task"
    assert np.isfinite([space.low, space.high]).all(), f"{task.id} has actions without bounds"
    tried = random_actions(env, task.horizon or STEPS, "contract", task.id)
    try:
        played = [try_out(env, task, tried[:STEPS]), play(env, task, tried)]
    except UserError as error:
        raise AssertionError(str(error)) from error
    assert not any(one.shared for one in played), (
        f"{task.id} hands out one array at every step, so that whoever keeps observations keeps the last one many "
        "times: return a copy"
    )
    for one in played:
        assert not one.truncated or len(one.rewards) == task.horizon, (
            f"{task.id} is truncated after {len(one.rewards)} steps, before its horizon"
        )


def _check_simulators(env: gym.Env, task: Task) -> None:
    """What an environment simulates with is one of the packages by whose versions datasets are named."""
    held = {type(value).__module__.split(".")[0] for value in vars(env.unwrapped).values()} & set(SIMULATORS)
    named = {line.split()[0] for line in identity_of_environment(task.env_id)[1:]}
    for package in sorted(held):
        assert SIMULATORS[package] in named, (
            f"{task.id}: its datasets are not named after the version of {SIMULATORS[package]}, with which its "
            "environment simulates: import it at the top of the environment's module"
        )


def _another(env: gym.Env) -> Expert:
    """An expert of other code."""
    return lambda observation: env.action_space.sample()


def _check_expert(env: gym.Env, recipe: Recipe) -> None:
    space: Any = env.action_space
    bare: Any = env.env.action_space if isinstance(env, FlatActions) else space
    for maker in (recipe.expert, recipe.medium):
        if maker is None:
            continue
        observation, _ = env.reset(seed=8)
        expert = maker(env)
        for _ in range(STEPS):
            label = np.asarray(expert(observation))
            assert label.shape == bare.shape, (
                f"{recipe.task.id}: its expert's action is of shape {label.shape}, not {bare.shape}"
            )
            try:
                vector = encode(label, bare)
            except ValueError as error:
                raise AssertionError(f"{recipe.task.id}: its expert's action {label}: {error}") from error
            inside = (vector >= space.low).all() and (vector <= space.high).all()  # False for NaN
            assert inside, f"{recipe.task.id}: its expert's action {label} is not in the box"
            observation, _, terminated, truncated, _ = env.step(as_action(vector, space))
            if terminated or truncated:
                break
