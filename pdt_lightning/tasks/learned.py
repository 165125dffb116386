"""Families whose experts were learned: networks that ship with the package, and what such families have in common."""

import functools
import hashlib
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, ClassVar, Literal

import gymnasium as gym
import numpy as np
from safetensors import SafetensorError, safe_open

from pdt_lightning.core import cache
from pdt_lightning.core.errors import NotFoundError, UserError, check_choice
from pdt_lightning.core.ranges import NonNegativeFloat, check_types
from pdt_lightning.tasks.base import Expert, Recipe, Task, TaskFamily, demonstrated
from pdt_lightning.tasks.option_types import Candidates, Share, Training

SHIPPED = Path(__file__).parent / "experts"
STAGES = ("expert", "medium")  # medium: the same network earlier in its training
CLIP = 10.0  # of normalised inputs, as in training


@dataclass(frozen=True)
class Learned:
    """Makes experts of a network in a file: `env → Expert`.

    The environment says what an expert sees, `shown(observation)`, and what its action is in its own terms,
    `acted(action)`.

    Args:
        path: safetensors, as `pdt_lightning.collect` writes them.
        stage: which of the file's networks, `expert` or `medium`.
    """

    path: str
    stage: str = "expert"

    @property
    def __name__(self) -> str:
        return "learned" if self.stage == "expert" else f"learned {self.stage}"

    @property
    def mark(self) -> str:
        """Changes with the network, and so the ids of the datasets that it makes."""
        return f"{self.stage}-{_digest(self.path)}"

    def __call__(self, env: gym.Env) -> Expert:
        """The expert for one environment."""
        network, bare = Network.load(self.path, self.stage), env.unwrapped
        return lambda observation: bare.acted(network(bare.shown(observation)))


@dataclass(frozen=True)
class Network:
    """A perceptron with tanh between its layers, on normalised inputs.

    Args:
        mean: `(F,)` subtracted from the inputs.
        scale: `(F,)` which they are then divided by.
        layers: weights `(out, in)` and biases `(out,)`, from first to last.
    """

    mean: np.ndarray
    scale: np.ndarray
    layers: tuple[tuple[np.ndarray, np.ndarray], ...]

    def __call__(self, shown: np.ndarray) -> np.ndarray:
        """`(A,)` float32 in [-1, 1], for `(F,)`."""
        x = np.clip((shown - self.mean) / self.scale, -CLIP, CLIP).astype(np.float32)
        for weight, bias in self.layers[:-1]:
            x = np.tanh(weight @ x + bias)
        weight, bias = self.layers[-1]
        return np.clip(weight @ x + bias, -1.0, 1.0)

    def tensors(self, stage: str) -> dict[str, np.ndarray]:
        """By name, as a file holds them."""
        named = {f"{stage}.mean": self.mean, f"{stage}.scale": self.scale}
        for number, (weight, bias) in enumerate(self.layers):
            named |= {f"{stage}.{number}.weight": weight, f"{stage}.{number}.bias": bias}
        return {name: np.ascontiguousarray(values, np.float32) for name, values in named.items()}

    @staticmethod
    @functools.cache
    def load(path: str, stage: str) -> "Network":
        """A network of a file.

        Raises:
            UserError: if it holds no such network.
        """
        try:
            with safe_open(path, "numpy") as file:
                depth = len([name for name in file.keys() if name.startswith(f"{stage}.") and name.endswith(".weight")])  # noqa: SIM118
                layers = [[file.get_tensor(f"{stage}.{n}.{part}") for part in ("weight", "bias")] for n in range(depth)]
                mean, scale = (file.get_tensor(f"{stage}.{part}") for part in ("mean", "scale"))
        except SafetensorError as error:
            raise UserError(
                f"`data.family_options.experts`={path} holds no {stage} of ours: {error}. Name a file that "
                "pdt_lightning.collect --train has written."
            ) from error
        return Network(mean, scale, tuple((weight, bias) for weight, bias in layers))


@functools.cache
def _digest(path: str) -> str:
    if not Path(path).is_file():
        raise NotFoundError(
            f"`data.family_options.experts`={path}: there is no such file. Leave it out for the shipped experts."
        )
    return hashlib.blake2b(Path(path).read_bytes(), digest_size=5).hexdigest()


def imported_id(family: str, number: int, kind: str) -> str:
    """Minari id of what the published file of one task becomes.

    >>> imported_id("ant-dir", 7, "prompt-expert")
    'prompt-dt/ant-dir/07-prompt-expert-v0'
    """
    return f"{cache.IMPORTED}{family}/{number:02d}-{kind}-v0"


class LearnedFamily(TaskFamily):
    """Tasks of one environment that differ in a goal, with learned experts or the published demonstrations.

    Counts, shares, noise, seed and experts are of collected demonstrations: the published ones are taken as they are.

    Args:
        split: `published`, `training` (the tasks that are trained on are tuned as well), or another that the family
            has.
        training_demonstrations: episodes for each training task.
        candidate_demonstrations: episodes that prompts of a task are taken from.
        action_noise: standard deviation of the demonstrations' action noise; actions lie in [-1, 1].
        expert_share: share of expert demonstrations among the candidates.
        medium_share: share of the medium expert's, an earlier stage of training; the rest acts at random.
        collection_seed: seed of the demonstrations.
        training_source: `collected`, or `prompt-dt`, the published files once imported; `prompt-dt-prompts` trains on
            the few published demonstrations for prompts instead of the large files.
        candidate_source: `collected` or `prompt-dt`; not together with `prompt-dt-prompts` where tasks that are trained
            on are tuned, for these prompts would be the training episodes.
        experts: file of experts that `pdt_lightning.collect --train` has written; null: those that ship with the
            package.
    """

    name: ClassVar[str]
    file_prefix: ClassVar[str] = ""  # of the published files; empty: there are none
    splits: ClassVar[Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]]  # by name, tasks to train on and to tune
    practice_steps: ClassVar[int]  # that training the experts takes
    shipped: ClassVar[Path] = SHIPPED  # folder with `<name>.safetensors`
    # Of steps of the published data that are played again, the difference that half of them and nine in ten may reach:
    # MuJoCo's versions round alike to 1e-3, and apart at contacts. Observations relative to 1 + their size, by the
    # worst value of a step.
    replay_tolerance: ClassVar[float] = 5e-3
    replay_bounds: ClassVar[Mapping[str, float]] = MappingProxyType({"rewards": 0.05, "observations": 0.5})

    def __init__(
        self,
        split: str = "published",
        training_demonstrations: Training = 50,
        candidate_demonstrations: Candidates = 5,
        action_noise: NonNegativeFloat = 0.1,
        expert_share: Share = 1.0,
        medium_share: Share = 0.0,
        collection_seed: int = 0,
        training_source: Literal["collected", "prompt-dt", "prompt-dt-prompts"] = "collected",
        candidate_source: Literal["collected", "prompt-dt"] = "collected",
        experts: str | None = None,
    ):
        check_types("data.family_options", LearnedFamily.__init__, locals())
        check_choice("`data.family_options.split`", split, self.splits)
        if expert_share + medium_share > 1:
            raise UserError(
                f"`data.family_options.medium_share`={medium_share} and "
                f"`data.family_options.expert_share`={expert_share} are more than 1 together. Lower one of them."
            )
        path = str(experts or self.shipped / f"{self.name}.safetensors")
        makers = [Learned(path, stage) for stage in STAGES]
        recipes: dict[str, Recipe] = {}
        training, tuned = self.splits[split]
        if training_source == "prompt-dt-prompts" and candidate_source == "prompt-dt" and set(training) & set(tuned):
            raise UserError(
                f"`data.family_options.candidate_source`={candidate_source} takes prompts from the episodes that "
                f"`data.family_options.training_source`={training_source} trains on, in split={split}, which tunes "
                "tasks that are trained on. Choose candidate_source=collected, or training_source=prompt-dt."
            )
        tasks = {}
        for number in sorted({*training, *tuned}):
            task, own = demonstrated(
                self.bare_task(number),
                makers[0],
                ("training_demonstrations", training_demonstrations),
                ("candidate_demonstrations", candidate_demonstrations),
                action_noise=action_noise,
                expert_share=expert_share,
                seed=collection_seed,
                medium=makers[1],
                medium_share=medium_share,
            )
            recipes |= own
            if training_source != "collected":
                kind = "expert" if training_source == "prompt-dt" else "prompt-expert"
                task = replace(task, training_data=(imported_id(self.name, number, kind),))
            if candidate_source != "collected":
                task = replace(task, prompt_data=(imported_id(self.name, number, "prompt-expert"),))
            tasks[number] = task
        if experts is not None:
            self._check_experts(makers, next(iter(tasks.values())))
        self.recipes = MappingProxyType(recipes)
        self.training_tasks = tuple(tasks[number] for number in training)
        self.heldout_tasks = tuple(tasks[number] for number in tuned)

    @staticmethod
    def split_off(count: int, held_out: tuple[int, ...]) -> dict[str, tuple[tuple[int, ...], tuple[int, ...]]]:
        """The splits `published` and `training` of `count` tasks; where none is held out, all are tuned."""
        training = tuple(number for number in range(count) if number not in held_out)
        return {"published": (training, held_out or training), "training": (training, training)}

    @staticmethod
    @abstractmethod
    def bare_task(number: int) -> Task:
        """Task `number`, without demonstrations."""

    @staticmethod
    @abstractmethod
    def floor(task: Task) -> float:
        """Return that an expert has to reach to pass for one."""

    @staticmethod
    def _check_experts(makers: list[Learned], task: Task) -> None:
        """Refuse experts of another family, by their sizes."""
        env: Any = task.make_env()
        try:
            inputs = env.unwrapped.shown(env.reset(seed=0)[0]).shape
            for maker in makers:
                network = Network.load(maker.path, maker.stage)
                seen = (network.mean.shape, network.layers[-1][1].shape)
                if seen != (inputs, env.action_space.shape):
                    raise UserError(
                        f"`data.family_options.experts`={maker.path} are of another family: they see {seen[0][0]} "
                        f"numbers and have {seen[1][0]} actions, not {inputs[0]} and {env.action_space.shape[0]}. Name "
                        "a file of this family's."
                    )
        finally:
            env.close()
