"""Experts → demonstrations, in parallel processes, atomically."""

import dataclasses
from collections.abc import Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, wait
from concurrent.futures.process import BrokenProcessPool

import numpy as np

from pdt_lightning.core import cache
from pdt_lightning.core.files import check_room
from pdt_lightning.core.processes import cores, process_pool
from pdt_lightning.core.seeding import generator, integer
from pdt_lightning.core.terminal import progress_bar
from pdt_lightning.data import minari
from pdt_lightning.data.episodes import Index
from pdt_lightning.tasks.actions import as_action, encode, flat_actions
from pdt_lightning.tasks.base import Recipe
from pdt_lightning.tasks.spaces import flat_observations
from pdt_lightning.tasks.success import highest_and_last, of_step


def collect(
    dataset_ids: Sequence[str], recipes: Mapping[str, Recipe], workers: int | None = None, progress: bool = True
) -> int:
    """Collect those of `dataset_ids` that are not on this machine yet.

    Args:
        dataset_ids: Minari ids.
        recipes: by dataset id, how to make it.
        workers: processes; None: one a core.
        progress: show a bar with the time left.

    Returns:
        How many were collected.

    Raises:
        NotFoundError: if a dataset is missing and there is no recipe for it.
    """
    missing = [name for name in dict.fromkeys(dataset_ids) if not minari.exists(name)]
    if unknown := [name for name in missing if name not in recipes]:
        raise cache.not_found(unknown[0])
    if not missing:
        return 0
    workers = min(workers or cores(), len(missing))
    with (
        process_pool(workers) as pool,
        progress_bar(
            "Collecting demonstrations", sum(recipes[name].episodes for name in missing), "episode", progress
        ) as advance,
    ):
        jobs = {pool.submit(demonstrate, recipes[name]): recipes[name] for name in missing}
        waiting = set(jobs)
        try:
            while waiting:
                done, waiting = wait(waiting, timeout=1, return_when=FIRST_COMPLETED)
                advance(sum(jobs[job].episodes for job in done if job.result() is None))
        except BrokenProcessPool:
            check_room(minari.path_of(""), minari.ROOM)  # on a full disk HDF5 may take the process with it
            raise
    return len(missing)


def demonstrate(recipe: Recipe) -> None:
    """Make and write one dataset. Executed actions carry the noise; those without it are kept beside them as labels."""
    seen = flat_observations(recipe.task.bare_env())
    env = flat_actions(seen)
    experts, weaker = recipe.counts
    low, high = env.action_space.low, env.action_space.high
    episodes, finals, terminated = [], [], []
    for number in range(recipe.episodes):
        rng = generator(recipe.seed, "collect", recipe.dataset_id, number)
        state, _ = env.reset(seed=integer(recipe.seed, "start", recipe.dataset_id, number))
        maker = recipe.expert if number < experts else recipe.medium if number < experts + weaker else None
        expert = maker(env) if maker else None
        states, actions, labels, rewards, successes = [], [], [], [], []
        over = False
        for _ in range(recipe.task.horizon or 0):
            if expert:
                label = encode(expert(state), seen.action_space)
                action = as_action(label + rng.normal(0.0, recipe.action_noise, label.shape), env.action_space)
            else:
                label = action = as_action(rng.uniform(low, high), env.action_space)
            # Copies: an environment or an expert may hand out one array again and again.
            states.append(np.array(state))
            actions.append(action)
            labels.append(np.array(label, np.float32))
            state, reward, over, truncated, info = env.step(action)
            rewards.append(reward)
            successes.append(of_step(info))
            if over or truncated:
                break
        episodes.append(
            minari.Demonstration(
                np.asarray(states, np.float64),
                np.asarray(actions, np.float32),
                np.asarray(labels, np.float32),
                np.asarray(rewards, np.float64),
                highest_and_last(np.array(successes, np.float64))[0],
            )
        )
        finals.append(np.array(state))
        terminated.append(bool(over))
    if not Index.of(episodes).needs_more_than_float32():
        episodes = [dataclasses.replace(episode, states=episode.states.astype(np.float32)) for episode in episodes]
    algorithm = (
        f"{recipe.expert.__name__} expert, action noise {recipe.action_noise}, expert share {recipe.expert_share}"
    )
    if recipe.medium and recipe.medium_share:
        algorithm += f", {recipe.medium.__name__} share {recipe.medium_share}"
    minari.write(recipe.dataset_id, episodes, finals, seen, terminated, algorithm)
    env.close()
