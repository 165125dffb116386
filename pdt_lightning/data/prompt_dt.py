"""Import of the published Prompt-DT demonstrations, which are pickles, into Minari datasets.

Each is checked against the environment.

Source: Xu et al. 2022 (arXiv 2206.13499), whose data are files such as `cheetah_vel-7-prompt-expert.pkl`: a list of
episodes, each a dict of arrays.
"""

import hashlib
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import numpy as np

from pdt_lightning.core.errors import NotFoundError, UserError
from pdt_lightning.core.seeding import generator
from pdt_lightning.core.terminal import progress_bar
from pdt_lightning.data import arrays_only, minari
from pdt_lightning.tasks.learned import LearnedFamily, imported_id

NAME = re.compile(r"(?P<prefix>\w+)-(?P<number>\d+)-(?P<kind>(?:prompt-)?expert)\.pkl")
REPLAYED = 50  # steps of a file, at least; some of every episode
# Quantile of the differences that is bounded beside the median: a tenth may be contacts that fell out otherwise.
TAIL = 0.9
COLUMNS = ("observations", "actions", "rewards")


@dataclass(frozen=True)
class Checked:
    """One file that will do.

    Args:
        path: of the file.
        number: of its task.
        kind: `expert` or `prompt-expert`.
        dataset_id: what it becomes.
        episodes: in it.
        steps: of all episodes.
        mean_return: of an episode.
        reward_error: median difference of a replayed reward, and the one that nine in ten stay below.
        observation_error: the same of the values of a replayed observation, relative to 1 + their size; of each step
            the median value for the first, the worst for the second.
        digest: of the file.
        new: whether it is not on this machine yet.
    """

    path: Path
    number: int
    kind: str
    dataset_id: str
    episodes: int
    steps: int
    mean_return: float
    reward_error: tuple[float, float]
    observation_error: tuple[float, float]
    digest: str
    new: bool


def import_folder(folder: Path, family: type[LearnedFamily], progress: bool = True) -> list[Checked]:
    """Check all files of a family in a folder; then write those that are not on this machine yet as Minari datasets.

    Args:
        folder: with the published files.
        family: whose files to take.
        progress: show a bar with the time left.

    Returns:
        What was found, by task.

    Raises:
        UserError: naming the file and what is wrong with it, or the dataset that was imported from another file of that
            name; nothing is written then.
    """
    found = files_of(folder, family)
    checked = []
    with progress_bar("Checking and importing", 2 * len(found), "file", progress) as advance:
        for path, number, kind in found:
            checked.append(check(path, number, kind, family))
            advance(1)
        for one in checked:
            if one.new:
                write(one, family)
            advance(1)
    return checked


def files_of(folder: Path, family: type[LearnedFamily]) -> list[tuple[Path, int, str]]:
    """Path, task and kind of each of a family's files in a folder, or in folders of it, by task.

    Raises:
        UserError: if there are none, or one is of a task that the family has not.
    """
    if not folder.is_dir():
        raise NotFoundError(
            f"{folder}: there is no such folder. Name the one that holds {family.file_prefix}-0-prompt-expert.pkl."
        )
    places = [
        folder,
        *(path for path in folder.iterdir() if path.is_dir()),
    ]  # the published archive has a folder for each family
    named = [(path, known) for place in places for path in place.iterdir() if (known := NAME.fullmatch(path.name))]
    found = [
        (path, int(known["number"]), known["kind"]) for path, known in named if known["prefix"] == family.file_prefix
    ]
    if not found:
        others = sorted({known["prefix"] for _, known in named})
        hint = f"It has files of {', '.join(others)}: choose another family" if others else "Name another folder"
        raise UserError(
            f"{folder} has no files such as {family.file_prefix}-0-prompt-expert.pkl, of {family.name}. {hint}."
        )
    known_tasks = {number for split in family.splits.values() for numbers in split for number in numbers}
    first: dict[tuple[int, str], Path] = {}
    for path, number, kind in found:
        if (other := first.setdefault((number, kind), path)) != path:
            raise UserError(f"{other} and {path} are the same task's. Name the folder of one of them.")
        if number not in known_tasks:
            raise UserError(
                f"{path} is of task {number}, but {family.name} has tasks 0 to {max(known_tasks)}. Remove the file."
            )
    return sorted(found, key=lambda file: file[1:])


def read(path: Path) -> list[dict[str, np.ndarray]]:
    """The episodes of a file.

    They are `observations`, `next_observations` `(T, S)`, `actions (T, A)`, `rewards (T,)`, `terminals (T,)`.

    Where the file has no next observations, the last one is that before it. Nothing but NumPy arrays and plain values
    is made.

    Raises:
        UserError: if the file is not whole, names anything else, or holds something else than such episodes.
    """
    content = arrays_only.load(path)
    if not isinstance(content, list) or not content or not all(isinstance(episode, dict) for episode in content):
        raise UserError(
            f"{path} is no list of episodes, each a dict of arrays. Name the published files, or files like them."
        )
    return [_episode(f"{path}, episode {number}", raw) for number, raw in enumerate(content)]


def _episode(where: str, raw: dict[str, Any]) -> dict[str, np.ndarray]:
    way_out = "Mend it, or leave the file out."
    ends = next((key for key in ("terminals", "dones") if key in raw), "terminals")
    if missing := [key for key in (*COLUMNS, ends) if key not in raw]:
        raise UserError(
            f"{where}, has no {missing[0]}, but: {', '.join(key for key in raw if isinstance(key, str))}. {way_out}"
        )
    columns = {}
    for key in (*COLUMNS, "next_observations", ends):
        if key not in raw:
            continue
        values = getattr(raw[key], "values", None) if isinstance(raw[key], arrays_only.Array) else None
        if values is None:
            raise UserError(f"{where}: its {key} are of {type(raw[key]).__name__}, not an array of numbers. {way_out}")
        columns["terminals" if key == ends else key] = values.reshape(-1) if key in ("rewards", ends) else values
    steps = len(columns["rewards"])
    for key, values in columns.items():
        dimensions = 1 if key in ("rewards", "terminals") else 2
        like = columns["observations"].shape if key == "next_observations" else (steps, *values.shape[1:])
        if values.ndim != dimensions or values.shape != like or not steps:
            raise UserError(f"{where}: its {key} are of shape {values.shape}, for {steps} rewards. {way_out}")
        if key == "terminals":
            if not np.isin(values, (0, 1)).all():
                raise UserError(f"{where}: its {key} are not all true or false, 1 or 0. {way_out}")
            continue
        if values.dtype.kind != "f":
            raise UserError(f"{where}: its {key} are of {values.dtype}, not float32 or float64. {way_out}")
        with np.errstate(over="ignore"):
            if not np.isfinite(values.astype(np.float32)).all():
                raise UserError(f"{where}: its {key} are not all finite in float32. {way_out}")
    states = columns["observations"]
    columns.setdefault("next_observations", np.concatenate([states[1:], states[-1:]]))
    return columns


def check(path: Path, number: int, kind: str, family: type[LearnedFamily]) -> Checked:
    """Read a file and replay some of its steps, one at a time from the state that was observed.

    Raises:
        UserError: if it cannot be read, is not of this task of this family, or was imported with another content.
    """
    episodes, task = read(path), family.bare_task(number)
    env = task.make_env()
    try:
        for key, space in (("observations", env.observation_space), ("actions", env.action_space)):
            sizes = {episode[key].shape[1] for episode in episodes}
            if sizes != {space.shape[0]}:
                raise UserError(
                    f"{path} has {key} of size {min(sizes - set(space.shape))}, but {family.name} of {space.shape[0]}: "
                    "it is of another family. Choose that one, or leave the file out."
                )
        rewards, observations = replay(env, episodes, task.id)
    finally:
        env.close()
    for what, (median, tail) in (("rewards", rewards), ("observations", observations)):
        for error, allowed, share in (
            (median, family.replay_tolerance, "half"),
            (tail, family.replay_bounds[what], "a tenth"),
        ):
            if not error <= allowed:  # NaN too
                raise UserError(
                    f"{path} does not agree with {task.id}: replayed in {task.env_name}, its {what} are off by "
                    f"{error:.2g} or more in {share} of the steps, where {allowed:g} is allowed. It is of another "
                    "family or task, or damaged: choose another family, or leave it out."
                )
    returns = [float(episode["rewards"].sum(dtype=np.float64)) for episode in episodes]
    steps = sum(len(episode["rewards"]) for episode in episodes)
    dataset_id, mean = imported_id(family.name, number, kind), float(np.mean(returns))
    with path.open("rb") as file:
        digest = hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=10)).hexdigest()
    new = not minari.exists(dataset_id)
    if not new and digest not in minari.recorded(dataset_id).get("algorithm_name", ""):
        raise UserError(
            f"{path} is not the file that Minari dataset {dataset_id} was imported from. Remove "
            f"{minari.path_of(dataset_id)} to import this one, or leave the file out."
        )
    return Checked(path, number, kind, dataset_id, len(episodes), steps, mean, rewards, observations, digest, new)


def replay(
    env: gym.Env, episodes: Sequence[dict[str, np.ndarray]], key: str
) -> tuple[tuple[float, float], tuple[float, float]]:
    """How far rewards, and observations relative to 1 + their size, are off in some steps of every episode.

    (A last step without a recorded next observation is not compared.)

    Args:
        env: of the task.
        episodes: as `read` gives them.
        key: of the draw of steps.

    Returns:
        Median and high quantile, for rewards and for observations: see `Checked`.
    """
    bare: Any = env.unwrapped
    env.reset(seed=0)
    rng, each = generator(0, "replay", key), math.ceil(REPLAYED / len(episodes))
    rewards, typical, worst = [], [], []
    for episode in episodes:
        steps = max(1, len(episode["rewards"]) - 1)
        for t in rng.choice(steps, min(each, steps), replace=False):
            bare.set_observed(np.asarray(episode["observations"][t], np.float64))
            observation, reward, *_ = bare.step(np.asarray(episode["actions"][t], np.float64))
            following = np.asarray(episode["next_observations"][t], np.float64)
            rewards.append(abs(float(reward) - float(episode["rewards"][t])))
            off = np.abs(observation - following) / (1 + np.abs(following))
            typical.append(np.median(off))
            worst.append(off.max())
    return (
        (float(np.median(rewards)), float(np.quantile(rewards, TAIL))),
        (float(np.median(typical)), float(np.quantile(worst, TAIL))),
    )


def write(one: Checked, family: type[LearnedFamily]) -> None:
    """Write the dataset of a file that was checked."""
    episodes, task = read(one.path), family.bare_task(one.number)
    env = task.make_env()
    demonstrations = []
    for episode in episodes:
        states, actions = episode["observations"].astype(np.float32), episode["actions"].astype(np.float32)
        demonstrations.append(minari.Demonstration(states, actions, actions, episode["rewards"].astype(np.float64)))
    finals = [episode["next_observations"][-1] for episode in episodes]
    ended = [bool(e["terminals"][-1]) and len(e["terminals"]) < (task.horizon or 0) for e in episodes]
    minari.write(
        one.dataset_id,
        demonstrations,
        finals,
        env,
        ended,
        f"Prompt-DT's own data, {one.path.name}, BLAKE2b {one.digest}",
    )
    env.close()
