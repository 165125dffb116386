"""Hyper-parameters of the rivals that no source gives, tuned on training tasks: goals that no result is reported on.

python -m benchmarks.rivals --ckpt_path runs/study/point_j*/S0/version_0/checkpoints/last.ckpt

Every setting tunes the same tasks with the same seeds. It is worth the mean return, on fresh episodes, of what it
recommends after 50 rollouts and after 250, over all checkpoints. Prints a table; the best of each rival are the
defaults of its class.
"""

import argparse
import itertools
from collections import defaultdict
from collections.abc import Iterator
from concurrent.futures import Future, wait
from typing import Any

import numpy as np
from rich.table import Table
from threadpoolctl import threadpool_limits

from pdt_lightning.core.processes import process_pool
from pdt_lightning.core.seeding import generator
from pdt_lightning.core.terminal import progress_bar, quiet, show
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import one_thread, play_groups
from pdt_lightning.tuners import CMAES, HillClimbing, PublishedBandit, ZORankSGD, features
from pdt_lightning.tuning.phase_episodes import PhaseEpisodes
from pdt_lightning.tuning.search import Cell, search
from pdt_lightning.tuning.subject import Subject

PHASE = -3  # of no run, `tune` or comparison
BUDGETS = (50, 250)
GRIDS: dict[type, dict[str, tuple[float, ...]]] = {
    HillClimbing: {"sigma": (0.03, 0.1, 0.3, 1.0, 3.0)},
    ZORankSGD: {"rollouts": (5, 10), "mu": (0.1, 0.3, 1.0, 3.0), "rate": (0.1, 0.3, 1.0, 3.0)},
    CMAES: {"sigma": (0.3, 1.0, 3.0), "dimension": (3, 10, 1000)},
    PublishedBandit: {"rate": (0.01, 0.02, 0.05)},
}
Setting = tuple[type, dict[str, Any]]


def settings() -> Iterator[Setting]:
    """All that are tried."""
    for kind, grid in GRIDS.items():
        for values in itertools.product(*grid.values()):
            yield kind, dict(zip(grid, values, strict=True))


def tried(path: str, setting: Setting, every: int, seeds: int, episodes: int) -> list[float]:
    """Mean return of what is recommended after each budget."""
    kind, values = setting
    names = [task.id for task in MultiTaskDataModule.load_from_checkpoint(path).family.training_tasks][::every]
    data = MultiTaskDataModule.load_from_checkpoint(path, tuned_training_tasks=names, progress=False)
    data.prepare_data()
    data.setup()
    module = LitPDT.load_from_checkpoint(path, map_location="cpu")
    policy = Policy.of(module)
    slots, pool = data.hparams["segments"], RolloutPool(0, 64)
    play = pool.with_policy(policy)
    with one_thread(), threadpool_limits(1):
        places, cells = [], []
        for budget, seed, name in itertools.product(BUDGETS, range(seeds), names):
            subject = Subject(data.prompt_tasks[name], data.segments(name), held_out=False)
            rng = generator(seed, "rivals", kind.__name__, name)
            made_of = features("raw", subject.segments, policy) if kind is PublishedBandit else policy
            tuner = kind(subject.segments, budget, rng, slots, made_of, **values)
            places.append((PhaseEpisodes(seed, PHASE, slots, episodes, seed), subject))
            cells.append(Cell(subject.task, tuner, ("rivals", name, seed)))
        search(cells, play, 0)
        rows = [
            phase_episodes.evaluation_rows(s, cell.tuner.best().prompt)
            for (phase_episodes, s), cell in zip(places, cells, strict=True)
        ]
        worth = np.array([outcome.total for outcomes in play_groups(play, rows) for outcome in outcomes])
    pool.close()
    return worth.reshape(len(BUDGETS), -1).mean(axis=1).tolist()


def main() -> None:
    """Try all settings, print what they are worth."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--ckpt_path", nargs="+", required=True)
    parser.add_argument("--every", type=int, default=4, help="Of so many training tasks one is used.")
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--episodes", type=int, default=50, help="Fresh ones, for each recommendation.")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    jobs: dict[tuple[int, str], Future[list[float]]] = {}
    everything = list(settings())
    with (
        process_pool(options.workers, quiet) as pool,
        progress_bar("Trying settings", len(everything) * len(options.ckpt_path), "setting") as advance,
    ):
        for number, setting in reversed(list(enumerate(everything))):  # the perceptrons, which take longest, first
            for path in options.ckpt_path:
                job = pool.submit(tried, path, setting, options.every, options.seeds, options.episodes)
                job.add_done_callback(lambda _: advance(1))
                jobs[number, path] = job
        wait(jobs.values())  # within the bar
    table = Table(title="Recommended prompts on training tasks", title_justify="left")
    for column in ("tuner", "setting", *(f"return, {budget} rollouts" for budget in BUDGETS), "mean", "of checkpoints"):
        table.add_column(column)
    ranked = defaultdict(list)
    for number, (kind, values) in enumerate(everything):
        own = np.array([jobs[number, path].result() for path in options.ckpt_path])  # (checkpoints, budgets)
        ranked[kind].append((float(own.mean()), str(values), own))
    for kind, results in ranked.items():
        for mean, values, own in sorted(results, key=lambda result: -result[0]):
            each = " ".join(f"{value:.2f}" for value in own.mean(axis=1))
            table.add_row(kind.__name__, values, *(f"{value:.2f}" for value in own.mean(axis=0)), f"{mean:.2f}", each)
        table.add_section()
    show(table)


if __name__ == "__main__":
    main()
