"""Demonstrations on disk, in Minari's format: write, read, validate."""

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import gymnasium as gym
import minari
import numpy as np
from minari.data_collector import EpisodeBuffer
from minari.dataset.minari_storage import MinariStorage

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.files import check_room
from pdt_lightning.tasks import actions as actions_of
from pdt_lightning.tasks import spaces
from pdt_lightning.tasks.recorded import supported
from pdt_lightning.tasks.success import highest_and_last, of_steps
from pdt_lightning.tasks.trial import check_success

ROOM = 2**20  # bytes that there have to be besides the data: HDF5 ends the process where a disk fills up at its hands


@dataclass(frozen=True)
class Demonstration:
    """One episode of `T` steps, the observation after the last step left out.

    Args:
        states: `(T, S)`, observation before each step, as recorded.
        actions: `(T, A)` float32, as executed; choices one-hot.
        labels: `(T, A)` float32, action to learn: the noise-free expert action where the dataset has it, else
            `actions`.
        rewards: `(T,)` float64.
        success: the highest of the episode's steps; None where none reports any.
        ended: whether the environment ended the episode, rather than a limit of steps or whoever recorded it.
    """

    states: np.ndarray
    actions: np.ndarray
    labels: np.ndarray
    rewards: np.ndarray
    success: float | None = None
    ended: bool = False

    @classmethod
    def restored(cls, values: Mapping[str, Any]) -> Self:
        """From its fields as plain values, such as `core.plain.plain` makes of them; states are float64."""
        types = {"states": np.float64, "actions": np.float32, "labels": np.float32, "rewards": np.float64}
        return cls(**{**values, **{name: np.array(values[name], kind) for name, kind in types.items()}})


def path_of(dataset_id: str) -> Path:
    """Folder of a dataset, whether or not it exists; `MINARI_DATASETS_PATH` is honoured."""
    return cache.dataset_path(dataset_id)


def exists(dataset_id: str) -> bool:
    """Whether the dataset is on this machine. (Datasets appear by a rename, so what is there is whole.)"""
    return (path_of(dataset_id) / "data" / "metadata.json").is_file()


@contextmanager
def _datasets_under(folder: Path) -> Iterator[None]:
    before = os.environ.get("MINARI_DATASETS_PATH")
    os.environ["MINARI_DATASETS_PATH"] = str(folder)
    try:
        yield
    finally:
        if before is None:
            del os.environ["MINARI_DATASETS_PATH"]
        else:
            os.environ["MINARI_DATASETS_PATH"] = before


def write(
    dataset_id: str,
    demonstrations: Sequence[Demonstration],
    final_states: Sequence[np.ndarray],
    env: gym.Env,
    terminated: Sequence[bool],
    algorithm: str,
) -> None:
    """Write a dataset atomically: into a hidden folder beside its place, then one rename.

    Args:
        dataset_id: a Minari id.
        demonstrations: the episodes.
        final_states: `(S,)` for each episode, the observation after its last step, which Minari keeps too.
        env: gives the spaces, observations as vectors and actions as its own, and the specification by which the
            environment can be recovered.
        terminated: for each episode, whether it ended by itself rather than by the horizon.
        algorithm: who acted, in words.
    """
    buffers = []
    for episode, final, over in zip(demonstrations, final_states, terminated, strict=True):
        last = np.arange(len(episode.rewards)) == len(episode.rewards) - 1
        actions, labels = (_own(vectors, env.action_space) for vectors in (episode.actions, episode.labels))
        infos = {"expert_action": _padded(labels)}  # Minari's infos have one entry more than there are steps
        if episode.success is not None:
            infos["success"] = np.full(len(episode.rewards) + 1, episode.success)
        buffers.append(
            EpisodeBuffer(
                observations=np.concatenate([episode.states, final[None]]).astype(env.observation_space.dtype),
                actions=actions,
                rewards=episode.rewards,
                terminations=last & over,
                truncations=last & (not over),
                infos=infos,
            )
        )
    sizes = [
        sum(values.nbytes for values in vars(episode).values() if isinstance(values, np.ndarray))
        for episode in demonstrations
    ]
    check_room(path_of(dataset_id), ROOM + 2 * sum(sizes))
    with cache.appearing(path_of(dataset_id), path_of(""), dataset_id) as hidden, _datasets_under(hidden):
        minari.create_dataset_from_buffers(
            dataset_id,
            buffers,
            env=env.spec,
            eval_env=env.spec,
            observation_space=env.observation_space,
            action_space=env.action_space,
            algorithm_name=algorithm,
            author="pdt_lightning",
            author_email="none",
            code_permalink="none",
            description=f"Collected by pdt_lightning: {algorithm}.",
        )
    if not exists(dataset_id):
        raise UserError(f"{path_of(dataset_id)} is in the way and is no Minari dataset: remove it.")


def _own(vectors: np.ndarray, space: gym.Space) -> np.ndarray:
    """Actions as the environment takes them; vectors stay as they are."""
    return vectors if spaces.is_flat(space) else actions_of.as_action(vectors, space)


def _padded(actions: np.ndarray) -> np.ndarray:
    return np.concatenate([actions, np.zeros_like(actions[:1])])


def read(dataset_id: str, use_expert_actions: bool = True, horizon: int | None = None) -> Iterator[Demonstration]:
    """All episodes of a dataset, one at a time.

    Args:
        dataset_id: a Minari dataset on this machine.
        use_expert_actions: take `infos["expert_action"]`, where there is one, as the label to learn.
        horizon: steps after which an episode is cut, as rollouts are; None: none is.

    Raises:
        NotFoundError: if the dataset is not on this machine.
        UserError: if it cannot be read, is empty, has spaces that are not supported, or values that are not finite or
            not of them.
    """
    if not exists(dataset_id):
        raise cache.not_found(dataset_id)
    try:
        storage = minari.load_dataset(dataset_id).storage
    except Exception as error:  # whatever Minari and HDF5 raise, it is on account of what is there
        raise cache.unreadable(dataset_id, error) from error
    supported(dataset_id, storage.observation_space, storage.action_space)
    found = False
    for number, raw in enumerate(_episodes(dataset_id, storage)):
        if len(raw["rewards"]) == 0:
            continue
        found = True
        yield _demonstration(
            f"Minari dataset {dataset_id}, episode {number}", raw, storage, use_expert_actions, horizon
        )
    if not found:
        raise cache.empty(dataset_id)


def _demonstration(
    where: str, raw: dict[str, Any], storage: MinariStorage, use_expert_actions: bool, horizon: int | None
) -> Demonstration:
    """An episode as Minari gives it, checked, and cut at the horizon."""
    rewards, infos = np.asarray(raw["rewards"], np.float64), raw.get("infos") or {}
    steps, space = len(rewards), storage.action_space
    expert = infos.get("expert_action") if use_expert_actions else None
    reading = ""
    try:
        check_success(infos, steps)
        reading = ": its observations: "
        observed = spaces.flatten(raw["observations"], storage.observation_space)
        reading = ": its actions: "
        actions = labels = actions_of.encode(raw["actions"], space).astype(np.float32)
        reading = ": its expert_action: "
        if expert is not None:
            labels = actions_of.encode(np.asarray(expert)[:steps], space).astype(np.float32)
    except ValueError as error:  # of what is not of its space
        raise UserError(f"{where}{reading or ' '}{error}. Remove the episode or mend it.") from error
    if len(observed) == steps:
        raise UserError(
            f"{where}: it has as many observations as rewards, {steps}; Minari keeps one more, what was seen after the "
            "last step. Add that to the observations, or remove the episode."
        )
    states, size = observed[:-1], len(actions_of.flat_space(space).low)
    columns = (
        ("observations", states, spaces.flat_size(storage.observation_space)),
        ("actions", actions, size),
        ("expert_action", labels, size),
    )
    for name, values, size in columns:
        if values.shape != (steps, size):
            raise UserError(
                f"{where}: its {name} are of shape {values.shape}, for {steps} rewards and a space of {size}. Remove "
                "the episode or mend it."
            )
    for name, numbers in (*[column[:2] for column in columns], ("rewards", rewards)):
        with np.errstate(over="ignore"):
            if not np.isfinite(numbers.astype(np.float32)).all():
                raise UserError(f"{where}: its {name} are not all finite. Remove the episode or mend it.")
    success = of_steps(infos, steps)[:horizon]
    ended = bool(np.asarray(raw["terminations"])[-1]) and (horizon is None or steps <= horizon)
    cut = slice(horizon)
    return Demonstration(states[cut], actions[cut], labels[cut], rewards[cut], highest_and_last(success)[0], ended)


def _episodes(dataset_id: str, storage: MinariStorage) -> Iterator[dict]:
    try:
        yield from storage.get_episodes(range(storage.total_episodes))
    except (OSError, KeyError, RuntimeError) as error:  # of HDF5, where the file is not whole
        raise cache.unreadable(dataset_id, error) from error


def recorded(dataset_id: str) -> dict:
    """What a dataset on this machine says of itself, as Minari names it.

    Raises:
        UserError: if it cannot be read.
    """
    try:
        return dict(MinariStorage.read_raw_metadata(path_of(dataset_id) / "data"))
    except (OSError, ValueError) as error:
        raise cache.unreadable(dataset_id, error) from error
