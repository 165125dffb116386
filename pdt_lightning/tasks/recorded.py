"""What a Minari dataset says of itself: its environments, its spaces, how its episodes began and how long they are."""

import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import gymnasium as gym
import minari
import numpy as np
from gymnasium.envs.registration import EnvSpec

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError
from pdt_lightning.tasks import actions, spaces, specifications

TRIED = 5  # actions of the first episode that are kept, to try an environment with


@dataclass(frozen=True)
class Recorded:
    """A dataset, as Minari reads it.

    Args:
        id: of the dataset.
        environment: specification of the environment that it was recorded in, as JSON; None: it keeps none.
        evaluation: of the environment that policies are to be judged in; None: it names none, or the same.
        observation_space: as Minari writes it.
        action_space: likewise.
        longest: steps of the longest episode.
        reset_options: that its episodes began with, each once; empty where none had any.
        requirements: packages that its environment needs, as it says.
        actions: the first few of its first episode.
    """

    id: str
    environment: str | None
    evaluation: str | None
    observation_space: str
    action_space: str
    longest: int
    reset_options: tuple[str | None, ...]
    requirements: tuple[str, ...]
    actions: list

    @property
    def spaces(self) -> tuple[gym.Space, gym.Space]:
        """Of observations and of actions."""
        return _space(self.observation_space), _space(self.action_space)

    def spec(self, recorded: bool = False) -> EnvSpec:
        """The environment to play in: the one for evaluation if there is one, unless the `recorded` one is wanted.

        Raises:
            UserError: if it keeps none.
        """
        text = self.environment if recorded else self.evaluation or self.environment
        if text is None:
            raise UserError(
                f"Minari dataset {self.id} names no environment, so its task cannot be rolled out: it was recorded "
                "without one, or with one that Gymnasium cannot write down, such as with a function or a NumPy number "
                "among the arguments of the environment or of a wrapper. Register an environment that takes plain "
                "numbers, texts and lists, and record in it."
            )
        spec = EnvSpec.from_json(text)
        spec.kwargs.pop("render_mode", None)  # how it was looked at
        return spec


def supported(name: str, observation_space: gym.Space, action_space: gym.Space) -> None:
    """Refuse spaces that cannot become vectors, by name."""
    for kind, space, room in (("observations", observation_space, spaces), ("actions", action_space, actions)):
        if reason := room.unsupported(space):
            raise UserError(f"{name}: {kind} of {space} are not supported; {reason}.")


@functools.lru_cache
def _space(text: str) -> gym.Space:
    return spaces.from_text(text)


def of(dataset_id: str) -> Recorded:
    """What is known of a dataset, kept once found: to ask every episode takes longer than all the rest.

    Raises:
        NotFoundError: if it is not on this machine.
        UserError: if it is empty, or Minari cannot read it; with Minari's reason.
    """
    return _known(json.dumps(cache.mark(dataset_id)))


@functools.lru_cache(maxsize=4096)
def _known(mark: str) -> Recorded:
    dataset_id = json.loads(mark)[0]

    def find(folder: Path) -> None:
        try:
            found = _found(minari.load_dataset(dataset_id))
        except Exception as error:  # whatever Minari and HDF5 raise, it is on account of what is there
            raise cache.unreadable(dataset_id, error) from error
        if not found["longest"]:
            raise cache.empty(dataset_id)
        (folder / "facts.json").write_text(json.dumps(found))

    kept: dict[str, Any] = json.loads((cache.keep("facts", json.loads(mark), find) / "facts.json").read_text())
    return Recorded(
        **{"id": dataset_id, **kept, **{key: tuple(kept[key]) for key in ("reset_options", "requirements")}}
    )


def _found(dataset: Any) -> dict[str, Any]:
    storage = dataset.storage
    episodes: list[Mapping[str, Any]] = []
    if storage.total_episodes:
        episodes = list(storage.get_episode_metadata(range(storage.total_episodes)))
    environment, evaluation = (
        None if spec is None else spec.to_json()
        for spec in (dataset.env_spec, getattr(dataset, "_eval_env_spec", None))
    )
    options = list(dict.fromkeys(specifications.as_text(known.get("options")) for known in episodes))
    lengths = [int(known["total_steps"]) for known in episodes]
    first = next((number for number, steps in enumerate(lengths) if steps), None)
    begun: Any = [] if first is None else next(iter(storage.get_episodes([first])))["actions"]
    # Those of several parts are not supported, which is said later, by name.
    begun = [] if isinstance(begun, dict | tuple) else np.asarray(begun)[:TRIED].tolist()
    return {
        "environment": environment,
        "evaluation": None if evaluation == environment else evaluation,
        "observation_space": spaces.to_text(storage.observation_space),
        "action_space": spaces.to_text(storage.action_space),
        "longest": max(lengths, default=0),
        "reset_options": [] if options in ([], [None]) else options,
        "requirements": list(storage.metadata.get("requirements") or []),
        "actions": begun,
    }
