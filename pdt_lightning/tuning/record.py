"""Record: what a phase found out about the prompts of one task, in one small file, from which its figures are drawn."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import safe_open
from safetensors.numpy import load_file, save

from pdt_lightning.core.files import write_atomically
from pdt_lightning.data.segments import Segments
from pdt_lightning.tasks.base import Task
from pdt_lightning.tuners.base import Tuner
from pdt_lightning.tuners.features import in_spreads
from pdt_lightning.tuning.objective import Objective
from pdt_lightning.tuning.search import Trial


@dataclass(frozen=True)
class Record:
    """One task in one phase: `R` rollouts of a tuner, `J` slots, `N` segments of `E` demonstrations, `M` steps in all.

    All values are in the objective's unit: the return, or success from 0 to 1. If the return breaks ties of success, a
    tuner's estimates also contain its small share.

    Args:
        task: its id.
        tuner: its name.
        objective: `success` or `return`.
        steps: `H`, steps of a segment.
        axes: names of the two coordinates in `path`; empty where there is none.
        lengths: `(E,)` int64 steps of each demonstration; the segments are all windows of `H` steps, one after the
            other.
        returns: `(E,)` float64 return of each demonstration.
        path: `(M, 2)` float32 two coordinates of the demonstrated states; None where the task names none to draw.
        choices: `(R, J)` int64 segment of each slot; -1 where a prompt did not consist of the task's segments as they
            are.
        seen: `(R,)` float64 success or return of each rollout; NaN for one that failed.
        predicted: `(R,)` float64 what a model expected of it before; NaN without a model.
        recommended: `(R,)` float64 what the tuner then thought its recommendation worth.
        retried: number of the first rollout that tried a prompt again to find the best; `R` where the tuner does no
            such thing.
        best: `(J,)` int64 segments of the recommended prompt; empty where it does not consist of the task's segments as
            they are.
        estimates: `(J, N)` float64 what is expected of a prompt with a segment in a slot and random ones in the others;
            None without a model.
        untuned: success or return of each untuned episode of the verdict.
        tuned: the same of the recommended prompt.
        oracle: the same of the oracle; None where it was not looked for.
        origin: of the recommended prompt, in words.
        way: `(J·H, 2)` float32 the same two coordinates of the recommended prompt's states, as those of `path`; None
            where there are none.
        scores: `(N,)` float64 how well each segment was thought of before the first rollout, in any unit; None if
            nothing was.
        plane: `(N + generated, 3)` float32 of each segment its place along the two directions in which the values of
            the demonstrated ones vary most, and its first return-to-go; generated ones come last. None where there are
            none.
        generated: segments that were generated.
    """

    task: str
    tuner: str
    objective: str
    steps: int
    axes: tuple[str, ...]
    lengths: np.ndarray
    returns: np.ndarray
    path: np.ndarray | None
    choices: np.ndarray
    seen: np.ndarray
    predicted: np.ndarray
    recommended: np.ndarray
    retried: int
    best: np.ndarray
    estimates: np.ndarray | None
    untuned: np.ndarray
    tuned: np.ndarray
    oracle: np.ndarray | None
    origin: str = ""
    way: np.ndarray | None = None
    scores: np.ndarray | None = None
    plane: np.ndarray | None = None
    generated: int = 0

    @property
    def slots(self) -> int:
        """`J`."""
        return self.choices.shape[1]

    def save(self, path: Path) -> None:
        """Write to a `.safetensors` file, atomically; equal records become equal files."""
        arrays = {
            name: np.ascontiguousarray(value) for name, value in vars(self).items() if isinstance(value, np.ndarray)
        }
        words = {name: value for name, value in vars(self).items() if isinstance(value, str | int | tuple)}
        write_atomically(path, save(arrays, metadata={"record": json.dumps(words)}))

    @classmethod
    def load(cls, path: Path | str) -> "Record":
        """Read what `save` wrote.

        Raises:
            ValueError: if the file is no record.
        """
        try:
            with safe_open(path, framework="numpy") as file:
                words: dict[str, Any] = json.loads(file.metadata()["record"])
            words["axes"] = tuple(words["axes"])
            return cls(**{"path": None, "estimates": None, "oracle": None, **words, **load_file(path)})
        except Exception as error:  # safetensors raises its own kinds, which differ between versions
            raise ValueError(f"{path} is no record of a phase saved by pdt_lightning: {error}") from error


def record_of_search(
    task: Task,
    segments: Segments,
    name: str,
    tuner: Tuner,
    trials: Sequence[Trial],
    objective: Objective,
    verdicts: Mapping[str, Sequence[float]],
) -> Record:
    """The record of a finished search.

    Args:
        task: its id is kept.
        segments: its arms.
        name: of the tuner.
        tuner: told of everything.
        trials: the tuner's rollouts.
        objective: of the search.
        verdicts: success or return of the fresh episodes: `untuned`, `tuned` and, where it was looked for, `oracle`.
    """
    recommended = tuner.best()
    slots = recommended.prompt.mask.shape[1] // segments.steps
    estimates, scores, none = tuner.estimates(), tuner.scores(), (-1,) * slots
    coordinates = [number for number, _ in task.plane]
    return Record(
        task=task.id,
        tuner=name,
        objective=objective.unit,
        steps=segments.steps,
        axes=tuple(axis for _, axis in task.plane),
        lengths=segments.episodes.lengths.astype(np.int64),
        returns=np.array(segments.episodes.index.returns, np.float64),
        path=np.array(segments.episodes.steps[:, coordinates], np.float32) if coordinates else None,
        choices=np.array([trial.candidate.choice or none for trial in trials], np.int64).reshape(len(trials), slots),
        seen=np.array([objective.seen(trial.outcome) for trial in trials], np.float64),
        predicted=np.array([trial.candidate.predicted for trial in trials], np.float64),
        recommended=np.array([trial.recommended_value for trial in trials], np.float64),
        retried=min(tuner.exploring, len(trials)),
        best=np.array(recommended.choice, np.int64),
        # Generated segments come after the task's own, along whose demonstrations estimates are drawn.
        estimates=None if estimates is None else np.asarray(estimates, np.float64)[:, : len(segments)],
        untuned=np.array(verdicts["untuned"], np.float64),
        tuned=np.array(verdicts["tuned"], np.float64),
        oracle=np.array(verdicts["oracle"], np.float64) if "oracle" in verdicts else None,
        origin=recommended.origin,
        way=recommended.prompt.states[0, :, coordinates].float().numpy() if coordinates else None,
        scores=None if scores is None else np.asarray(scores, np.float64)[: len(segments)],
        plane=principal_plane(tuner.segments) if len(tuner.segments) > len(segments) else None,
        generated=len(tuner.segments) - len(segments),
    )


def principal_plane(segments: Segments) -> np.ndarray:
    """`(N, 3)` of each segment two principal components of its values, and its first return-to-go.

    The components are those of the demonstrated segments, each value in their standard deviations.

    Args:
        segments: `N`, of which the demonstrated ones come first.
    """
    prompts = segments.gather(np.arange(len(segments))[:, None])
    values = in_spreads(prompts, segments.demonstrated)
    values = values - values[: segments.demonstrated].mean(axis=0)
    own = values[: segments.demonstrated]
    directions = np.linalg.eigh(own.T @ own)[1][:, :-3:-1]  # of the two largest eigenvalues, the largest first
    directions = directions * np.sign(directions[np.abs(directions).argmax(axis=0), [0, 1]])  # either way is as good
    return np.column_stack([values @ directions, prompts.returns_to_go[:, 0, 0].double().numpy()]).astype(np.float32)
