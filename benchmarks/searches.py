"""Whether the bandit's searches tell the truth: how sure they say they are, and what they expect of every segment.

python -m benchmarks.searches --ckpt_path runs/metaworld/version_0/checkpoints/last.ckpt

Every segment of some demonstrations of a task is played so often that its worth is known. Then many searches are run
whose rollouts are drawn from those episodes, with the prior as it is and, to see whether a search finds that out, with
scores that mislead: turned round. Of the searches that end because they are sure, as many should be right as they say.
Prompts are of one segment.
"""

import argparse
import copy
import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from rich.table import Table
from scipy.stats import spearmanr

from pdt_lightning.core.errors import UserError
from pdt_lightning.core.processes import cores
from pdt_lightning.core.seeding import generator, integer
from pdt_lightning.core.terminal import progress_bar, quiet, show
from pdt_lightning.data.segments import Segments
from pdt_lightning.model.checkpoints import load
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Outcome, Row, one_thread
from pdt_lightning.tuners import StructuredBandit
from pdt_lightning.tuners.features import features
from pdt_lightning.tuners.prior import Prior, from_demonstrations
from pdt_lightning.tuning.objective import Objective, decide
from pdt_lightning.tuning.subject import Subject

LEARNED_AFTER = 20  # rollouts, with which what is expected of all segments is compared with what they are worth


@dataclass
class Played:
    """A task whose segments were played.

    Args:
        objective: of the task.
        segments: `N` arms.
        features: `(N, F)` of them.
        scores: `(N,)` of them, by the demonstrations.
        outcomes: `(N, E)` of each.
    """

    objective: Objective
    segments: Segments
    features: np.ndarray
    scores: np.ndarray
    outcomes: list[list[Outcome]]

    def __post_init__(self) -> None:
        self.values = np.array([[self.objective.value(one) or 0.0 for one in own] for own in self.outcomes])
        self.worth = np.array([np.mean([self.objective.seen(one) for one in own]) for own in self.outcomes])


@dataclass(frozen=True)
class Search:
    """What came of a search: rollouts, worth of the prompt, how sure it was, and whether it was right to be."""

    rollouts: int
    worth: float
    confidence: float
    right: bool
    alike: float


def searched(played: Played, rounds: int, seed: int, turned: bool) -> Search:
    """One search, with the scores as they are or turned round."""
    scores, rng = -played.scores if turned else played.scores, generator(seed, "searches")
    prior = Prior(scores, (int(scores.argmax()),))
    bandit = StructuredBandit(played.segments, rounds, rng, 1, played.features, prior=prior)
    bandit.outlook = played.objective.outlook
    alike = float("nan")
    while asked := bandit.ask():
        (candidate,) = asked
        bandit.tell([(candidate.id, float(rng.choice(played.values[candidate.choice[0]])))])
        if len(bandit.told) <= LEARNED_AFTER:
            bandit.estimates()  # fits the model to the outcome
            alike = float(spearmanr(bandit.model.mean()[0], played.worth)[0])
    worth = float(played.worth[bandit.best().choice[0]])
    tolerated = bandit.tolerance * played.objective.outlook.size
    right = worth >= played.worth.max() - tolerated - 1e-9
    return Search(
        len(bandit.told), worth, bandit.confidence() if len(bandit.told) < rounds else float("nan"), right, alike
    )


def played_tasks(
    path: str, options: dict | None, tasks: Sequence[str], demonstrations: int, episodes: int, workers: int
) -> list[Played]:
    """Play the segments of the first demonstrations of held-out tasks."""
    module, data = load(path, options)
    if data.hparams["segments"] != 1:
        raise UserError(f"--ckpt_path={path} has prompts of several segments. Name one of `data.segments`=1.")
    data.prepare_candidates()
    policy = Policy.of(module)
    found, pool = [], RolloutPool(workers, 64)
    names = [name for name in data.prompt_tasks if not tasks or name in tasks]
    with one_thread(), torch.inference_mode():
        total = sum(int((data.segments(name).episode < demonstrations).sum()) for name in names) * episodes
        with progress_bar("Playing every segment", total, "rollout") as advance:
            play = pool.with_policy(policy, lambda rows, outcomes: advance(len(outcomes)))
            for name in names:
                task, segments = data.prompt_tasks[name], data.segments(name)
                numbers = np.flatnonzero(segments.episode < demonstrations)
                # The arms are those of the first demonstrations; what is known of them comes from all.
                arms = copy.copy(segments)
                arms.episode, arms.start = segments.episode[numbers], segments.start[numbers]
                scores = from_demonstrations(segments, policy, 1).scores[numbers]
                prompts = arms.gather(np.arange(len(numbers))[:, None])
                rows = [
                    Row(task, prompts[[number]], integer(0, "searches", name, number, episode))
                    for number in range(len(numbers))
                    for episode in range(episodes)
                ]
                outcomes = play(rows)
                own = [outcomes[first : first + episodes] for first in range(0, len(outcomes), episodes)]
                known = features("encoded", segments, policy)[numbers]
                found.append(Played(decide("auto", Subject(task, segments)), arms, known, scores, own))
    pool.close()
    return found


def main() -> None:
    """Play, search and show."""
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True, nargs="+")
    parser.add_argument("--family_options", type=json.loads, default=None, help="In place of the run's, as JSON.")
    parser.add_argument("--tasks", nargs="*", default=(), help="Some of the held-out tasks.")
    parser.add_argument("--demonstrations", type=int, default=2, help="Whose segments are played.")
    parser.add_argument("--episodes", type=int, default=5, help="Of each segment.")
    parser.add_argument("--rounds", type=int, default=60, help="Rollouts that a search may spend.")
    parser.add_argument("--seeds", type=int, default=10, help="Searches of each task.")
    parser.add_argument("--workers", type=int, default=cores())
    given = parser.parse_args()
    everything = [
        played
        for path in given.ckpt_path
        for played in played_tasks(
            path, given.family_options, given.tasks, given.demonstrations, given.episodes, given.workers
        )
    ]
    table = Table(title=f"{len(everything)} tasks, {given.seeds} searches each", title_justify="left")
    names = (
        "scores",
        "mean of all",
        "best",
        "by score alone",
        "recommended",
        "rollouts",
        "ended sure",
        "of these right",
    )
    for name in (*names, f"correlation after {LEARNED_AFTER}, or at the end"):
        table.add_column(name, justify="left" if name == "scores" else "right")
    alone = np.mean([played.worth[played.scores.argmax()] for played in everything])
    for turned in (False, True):
        found = [searched(one, given.rounds, seed, turned) for one in everything for seed in range(given.seeds)]
        sure = [one for one in found if not np.isnan(one.confidence)]
        table.add_row(
            "turned round" if turned else "as they are",
            f"{np.mean([one.worth.mean() for one in everything]):.2f}",
            f"{np.mean([one.worth.max() for one in everything]):.2f}",
            "" if turned else f"{alone:.2f}",
            f"{np.mean([one.worth for one in found]):.2f}",
            f"{np.mean([one.rollouts for one in found]):.1f}",
            f"{len(sure)} of {len(found)}",
            f"{np.mean([one.right for one in sure]):.3f}" if sure else "",
            f"{np.nanmean([one.alike for one in found]):.2f}",
        )
    show(table)


if __name__ == "__main__":
    main()
