"""What rollouts on training tasks tell of a task that is new: is a prior learned from them better than the score alone?

python -m benchmarks.other_tasks --ckpt_path runs/study/point_j1/S*/version_0/checkpoints/last.ckpt

Random segments of some training tasks and of the held-out ones are played. A ridge regression learns, from training
tasks alone, what a segment is worth within its task, by what means the same on every task: its score by the
demonstrations, its place in the episode, and the return of its demonstration. It predicts tasks that it has not seen:
each training task from the others, and the held-out ones from all of them. Prompts are of one segment in all slots.
"""

import argparse
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from rich.table import Table

from pdt_lightning.core.processes import cores
from pdt_lightning.core.seeding import generator, integer
from pdt_lightning.core.terminal import progress_bar, quiet, show
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.checkpoints import load
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Row, one_thread
from pdt_lightning.tuners.prior import standardised
from pdt_lightning.tuners.references import References
from pdt_lightning.tuning.objective import decide
from pdt_lightning.tuning.subject import Subject, subjects_of

KINDS = {  # columns of `Known.columns` that a prior is learned from
    "score": [0],
    "place in the episode": [1, 2],
    "score and place": [0, 1, 2],
    "score, place and the demonstration's return": [0, 1, 2, 3],
}
RIDGE = 1.0  # prior precision of the weights, in rollouts' worth


@dataclass(frozen=True)
class Known:
    """A task of which some segments were played.

    Args:
        columns: `(n, 4)` score, place (0 to 1), its square, return of the demonstration; scores and returns in standard
            deviations within the task.
        worth: `(n,)` mean success or return.
        held_out: whether the transformer was not trained on it.
    """

    columns: np.ndarray
    worth: np.ndarray
    held_out: bool

    @property
    def standardised(self) -> np.ndarray:
        """`(n,)` worth in standard deviations within the task."""
        return (self.worth - self.worth.mean()) / max(float(self.worth.std()), 1e-9)


def predicted(of: Known, learned_from: Iterable[Known], columns: list[int]) -> np.ndarray:
    """`(n,)` standardised worth of a task's segments, by what others taught.

    >>> rising = Known(np.array([[-1.0], [0.0], [1.0]]), np.array([2.0, 4.0, 6.0]), False)
    >>> predicted(rising, [rising] * 50, [0]).round(2).tolist()
    [-1.21, 0.0, 1.21]
    """
    tasks = list(learned_from)
    known = np.concatenate([task.columns[:, columns] for task in tasks])
    middle = known.mean(axis=0)
    design, seen = known - middle, np.concatenate([task.standardised for task in tasks])
    weights = np.linalg.solve(design.T @ design + RIDGE * np.eye(len(columns)), design.T @ seen)
    return (of.columns[:, columns] - middle) @ weights


def columns_of(subject: Subject, policy: Policy, numbers: np.ndarray, slots: int) -> np.ndarray:
    """`(n, 4)` as in `Known`, of the segments with these numbers."""
    segments = subject.segments
    episode, start = segments.episode[numbers], segments.start[numbers]
    scores = standardised(-References(segments, policy).of_segments(slots))[numbers]
    place = start / segments.episodes.lengths[episode]
    returns = standardised(segments.episodes.index.returns)[episode]
    return np.column_stack([scores, place, place**2, returns])


def played(path: str, options: Mapping[str, Any] | None, given: argparse.Namespace) -> list[Known]:
    """Play random segments of some training tasks of a checkpoint and of all its held-out tasks."""
    module, data = load(path, options)
    training = [task.id for task in data.family.training_tasks]
    count = min(given.tasks, len(training))
    some = sorted(generator(0, "other tasks").choice(len(training), count, replace=False).tolist())
    chosen, saved = [training[number] for number in some], data.facts.saved
    data = MultiTaskDataModule(**{**data.hparams, "tuned_training_tasks": chosen})
    data.facts.saved = saved
    data.prepare_data()
    data.setup()
    policy, slots = Policy.of(module, given.precision), data.hparams["segments"]
    held_out = [task.id for task in data.family.heldout_tasks]
    subjects = [*subjects_of(data, chosen, held_out=False), *subjects_of(data, held_out)]
    found, pool = [], RolloutPool(given.workers, given.width)
    total = sum(min(given.segments, len(subject.segments)) for subject in subjects) * given.episodes
    with one_thread(), torch.inference_mode(), progress_bar("Playing segments", total, "rollout") as advance:
        play = pool.with_policy(policy, lambda rows, outcomes: advance(len(outcomes)))
        for subject in subjects:
            name, segments, objective = subject.task.id, subject.segments, decide("auto", subject)
            own = generator(0, "other tasks", name)
            numbers = own.choice(len(segments), min(given.segments, len(segments)), replace=False)
            prompts = segments.gather(np.repeat(numbers[:, None], slots, axis=1))
            outcomes = play(
                [
                    Row(subject.task, prompts[[place]], integer(0, "other tasks", name, int(number), episode))
                    for place, number in enumerate(numbers)
                    for episode in range(given.episodes)
                ]
            )
            worth = np.nanmean(
                np.array([objective.seen(outcome) for outcome in outcomes]).reshape(len(numbers), -1), axis=1
            )
            found.append(Known(columns_of(subject, policy, numbers, slots), worth, subject.held_out))
    pool.close()
    return found


def judged(checkpoints: list[list[Known]], columns: list[int], held_out: bool) -> tuple[float, float, float]:
    """Mean over tasks: correlation of what is predicted with the worth, worth of what is predicted best, and the best.

    Args:
        checkpoints: tasks of each.
        columns: what a prior is learned from.
        held_out: of which tasks; a training task is predicted from the others.
    """
    found = []
    for tasks in checkpoints:
        training = [task for task in tasks if not task.held_out]
        for task in tasks:
            if task.held_out == held_out and task.worth.std() > 0:
                guess = predicted(task, [other for other in training if other is not task], columns)
                alike = float(np.corrcoef(guess, task.worth)[0, 1])
                found.append((alike, float(task.worth[guess.argmax()]), float(task.worth.max())))
    return tuple(np.mean(found, axis=0).tolist())


def main() -> None:
    """Play, learn and show."""
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, nargs="+")
    parser.add_argument("--family_options", type=json.loads, default=None, help="In place of the run's, as JSON.")
    parser.add_argument("--tasks", type=int, default=6, help="Training tasks that are played.")
    parser.add_argument("--segments", type=int, default=88, help="Of each task, at most.")
    parser.add_argument("--episodes", type=int, default=10, help="Of each segment.")
    parser.add_argument("--precision", default="32-true", help="Of the transformer in rollouts.")
    parser.add_argument("--width", type=int, default=32, help="Rows in a forward pass.")
    parser.add_argument("--workers", type=int, default=cores())
    given = parser.parse_args()
    checkpoints = [played(path, given.family_options, given) for path in given.ckpt_path]
    groups = {"training tasks, each from the others": False, "held-out tasks": True}
    sizes = {name: sum(task.held_out == held for own in checkpoints for task in own) for name, held in groups.items()}
    title = "; ".join(f"{count} {name.partition(',')[0]}" for name, count in sizes.items())
    table = Table(title=f"{len(checkpoints)} checkpoints: {title}", title_justify="left")
    table.add_column("a prior learned from")
    for name in groups:
        table.add_column(f"{name}: correlation with the worth", justify="right")
        table.add_column("worth of the one it holds best, of the best", justify="right")
    for kind, columns in KINDS.items():
        cells = []
        for held in groups.values():
            alike, first, best = judged(checkpoints, columns, held)
            cells += [f"{alike:.3f}", f"{first:.3g} of {best:.3g}"]
        table.add_row(kind, *cells)
    show(table)


if __name__ == "__main__":
    main()
