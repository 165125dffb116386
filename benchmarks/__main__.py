"""All benchmarks: `python -m benchmarks` prints a table and writes benchmarks/results.json.

`--only NAME ...` measures some of them.

Ours against the plain way (`plain.py`), in turns and in one run; where a simulator plays, against the simulator alone
too. Nothing else should be running: on two cores a busy neighbour slows two torch threads down many times.
"""

import argparse
import dataclasses
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from benchmarks import plain, setting
from benchmarks.rollouts import measure
from pdt_lightning.core.files import write_atomically
from pdt_lightning.data.batches import Batch, Pool, draw
from pdt_lightning.data.episodes import Episodes, Index
from pdt_lightning.data.segments import Segments
from pdt_lightning.data.task_sampling import balanced_tasks
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import one_thread
from pdt_lightning.tuners import StructuredBandit
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import tune
from pdt_lightning.tuning.subject import Subject

RESULTS = Path(__file__).parent / "results.json"


@dataclass
class Row:
    """One line of the table.

    Args:
        name: what was measured.
        unit: of `ours`, `plain` and `limit`.
        ours: figure.
        plain: the plain way's.
        ratio: how many times better ours is.
        limit: what no implementation could pass; None where there is none.
        share_of_limit: of ours.
    """

    name: str
    unit: str
    ours: float
    plain: float
    ratio: float
    limit: float | None = None
    share_of_limit: float | None = None


def less(name: str, unit: str, ours: float, plain: float) -> Row:
    """A row of which less is better."""
    return Row(name, unit, ours, plain, plain / ours)


# Training

EACH = 16  # windows of every task in an update, as published: 560


def ours_batch(pool: Pool) -> Batch:
    """As the data module draws it."""
    size = EACH * setting.TASKS
    u = np.random.default_rng(0).random((size, 1 + setting.SEGMENTS))
    return draw(pool, pool, u, balanced_tasks(0, 0, size, setting.TASKS), setting.K)


def plain_batch(pool: Pool, rng: np.random.Generator) -> tuple:
    """As the public code does."""
    drawn = plain.draws(pool.episodes, plain.members(pool), EACH, setting.SEGMENTS, pool.segment_steps, rng)
    return plain.batch(pool.episodes, *drawn, setting.K, pool.segment_steps)


def training() -> Iterator[Row]:
    """A batch, an update, and the share of it that is spent on the batch."""
    torch.set_num_threads(setting.PROCESSES)
    pool = setting.pool(setting.training_episodes())
    rng = np.random.default_rng(0)
    ours_seconds, plain_seconds = setting.paired(lambda: ours_batch(pool), lambda: plain_batch(pool, rng), 5)
    yield less("batch", "ms", 1e3 * ours_seconds, 1e3 * plain_seconds)

    module = LitPDT(setting.STATE_SIZE, setting.ACTION_SIZE, setting.HORIZON).train()
    optimizer = torch.optim.AdamW(module.parameters(), lr=1e-4, weight_decay=1e-4, fused=True)
    plainly = plain.plain_model(setting.model()).requires_grad_(True).train()
    plain_optimizer = torch.optim.AdamW(plainly.parameters(), lr=1e-4, weight_decay=1e-4)
    batch, given = ours_batch(pool), plain_batch(pool, rng)

    step, plain_step = setting.paired(
        lambda: setting.update(module, optimizer, batch), lambda: plain.train_step(plainly, plain_optimizer, *given), 3
    )
    yield less("train_step", "ms", 1e3 * step, 1e3 * plain_step)
    shares = ours_seconds / (ours_seconds + step), plain_seconds / (plain_seconds + plain_step)
    yield less("loader_share", "% of an update", 100 * shares[0], 100 * shares[1])


# Rollouts


def rollouts(
    name: str, window: bool, precision: str, tasks: Callable, sizes: tuple[int, int]
) -> Callable[[], Iterator[Row]]:
    """Environment steps a second; the plain way plays the published form."""

    def measured() -> Iterator[Row]:
        steps = setting.SEGMENTS * setting.SEGMENT_STEPS
        rate = measure(setting.model(window, *sizes), tasks(), steps, precision)
        yield Row(name, "steps/s", rate.ours, rate.plain, rate.ours / rate.plain, rate.limit, rate.ours / rate.limit)

    return measured


def rollout_growth() -> Iterator[Row]:
    """With the rows of a process and with the length of the prompt."""
    for window, form in ((False, "exact"), (True, "window")):
        settings = [(f"{rows} rows", rows, 40) for rows in (1, 8, 64)]
        settings += [(f"J·H = {steps}", setting.ROWS, steps) for steps in (5, 80)]
        for label, rows, steps in settings:
            rate = measure(setting.model(window), setting.half_cheetah(), steps, "bf16-true", rows, repeats=1)
            ratio, share = rate.ours / rate.plain, rate.ours / rate.limit
            yield Row(f"rollout_{form}, {label}", "steps/s", rate.ours, rate.plain, ratio, rate.limit, share)


# Tuning


def arms(count: int, steps: int) -> Segments:
    """At least as many candidate segments."""
    episodes = -(-count // (setting.HORIZON - steps + 1))
    return Segments(Episodes.build([setting.demonstrations(episodes)], [500.0]), steps)


def encode(name: str, steps: int) -> Callable[[], Iterator[Row]]:
    """1,000 segments, as the bandit's features."""

    def measured() -> Iterator[Row]:
        torch.set_num_threads(setting.PROCESSES)
        segments = arms(1000, steps)
        model = setting.model()
        policy, plainly = Policy(model, setting.K, "bf16-true"), plain.plain_model(model)

        def ours() -> None:
            with one_thread():
                laid_out, first = segments.laid_out()
                policy.encode(laid_out, first[:1000], steps)

        few = 200  # of the plain way, which takes each one alone
        part = Segments(segments.episodes, steps)
        part.episode, part.start = part.episode[:few], part.start[:few]
        seconds, plain_seconds = setting.paired(ours, lambda: plain.encode(plainly, part), 7)
        yield less(name, "ms", 1e3 * seconds, 1e3 * plain_seconds * 1000 / few)

    return measured


def bandit_round(name: str, count: int) -> Callable[[], Iterator[Row]]:
    """A tuner's arithmetic in a round, for two slots after 100 rollouts: told, it recommends and is asked again."""

    def measured() -> Iterator[Row]:
        torch.set_num_threads(setting.PROCESSES)
        rng = np.random.default_rng(0)
        segments = arms(count, setting.SEGMENT_STEPS)
        segments.episode, segments.start = segments.episode[:count], segments.start[:count]
        features = rng.normal(size=(count, 128)) / np.sqrt(128)
        tuner = StructuredBandit(segments, 1000, rng, setting.SEGMENTS, features)
        tuner.tell([(candidate.id, rng.normal()) for candidate in tuner.ask(100)])
        plainly = plain.Bandit(features, setting.SEGMENTS)
        choices, returns = np.array(tuner.choices), np.array(tuner.outcomes)

        def ours() -> None:
            with one_thread(), threadpool_limits(1):
                tuner.tell([(candidate.id, rng.normal()) for candidate in tuner.ask(1)])
                tuner.best_value()

        seconds, plain_seconds = setting.paired(ours, lambda: plainly.round(choices, returns), 5)
        yield less(name, "ms", 1e3 * seconds, 1e3 * plain_seconds)

    return measured


def tuning() -> Iterator[Row]:
    """A whole tuning of five half-cheetah-sized tasks by 250 rollouts each, without verdicts.

    The plain way is put together from its parts.
    """
    torch.set_num_threads(setting.PROCESSES)
    parts = {
        row.name: row.plain
        for part in (encode("encode", setting.SEGMENT_STEPS), ROWS["bandit_round"])
        for row in part()
    }
    tasks = setting.half_cheetah()
    rate = measure(setting.model(), tasks, setting.SEGMENTS * setting.SEGMENT_STEPS, repeats=1).plain
    plain_seconds = 250 * setting.HORIZON / rate + (250 * parts["bandit_round"] + parts["encode"]) / 1e3
    subjects = [Subject(task, arms(905, setting.SEGMENT_STEPS)) for task in tasks]
    options = TuningOptions(rounds=250, parallel=4, yardstick_episodes=1, verdict_episodes=1, oracle_candidates=0)
    for form, precision in (("published", "bf16-true"), ("window", "32-true"), ("window", "bf16-true")):
        torch.set_num_threads(setting.PROCESSES)
        policy = Policy(setting.model(form == "window"), setting.K, precision)
        pool = RolloutPool(setting.PROCESSES, width=10)
        try:
            start = time.perf_counter()
            tune(policy, subjects, pool.with_policy(policy), options, setting.SEGMENTS, 0)
            seconds = time.perf_counter() - start
        finally:
            pool.close()
        yield less(f"tuning, {form} form, {precision}", "s a task", seconds / len(tasks), plain_seconds)


# Memory


def memory() -> Iterator[Row]:
    """Anonymous memory at 100 times the data, in that at once the data."""
    with tempfile.TemporaryDirectory() as folder:

        def measured(episodes: int, *flags: str) -> dict[str, float]:
            command = [sys.executable, "-m", "benchmarks.memory", folder, str(episodes), *flags]
            return json.loads(
                subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()[-1]
            )

        small, large = (measured(episodes) for episodes in (4, 400))
        plain_small, plain_large = (measured(episodes, "--plain") for episodes in (4, 400))
    growth = {who: large[who] / small[who] for who in small}
    yield less(
        "memory",
        "times RssAnon, 1 to 100 x data",
        max(growth.values()),
        plain_large["trainer"] / plain_small["trainer"],
    )
    for who in small:
        yield less(f"memory, {who}, 100 x data", "MB RssAnon", large[who], plain_large["trainer"])


def loader_growth() -> Iterator[Row]:
    """A batch, by the amount of data."""
    for times in (1, 10, 100):
        episodes = setting.training_episodes(2)
        wide = Episodes(
            np.broadcast_to(episodes.steps, (times, *episodes.steps.shape)).reshape(-1, episodes.steps.shape[1]),
            Index(
                np.concatenate([[0], np.tile(episodes.lengths, times).cumsum()]),
                *(
                    np.concatenate([getattr(episodes.index, n)] * times)
                    for n in ("returns", "successes", "moments", "ranges")
                ),
            ),
            np.sort(np.tile(episodes.task, times)),
            episodes.scales,
        )
        pool, rng = setting.pool(wide), np.random.default_rng(0)
        seconds, plain_seconds = setting.paired(lambda: ours_batch(pool), lambda: plain_batch(pool, rng), 3)  # noqa: B023
        yield less(f"batch, {times} x data", "ms", 1e3 * seconds, 1e3 * plain_seconds)


HALF_CHEETAH, PICK_PLACE = (setting.STATE_SIZE, setting.ACTION_SIZE), (39, 4)
ROWS: dict[str, Callable[[], Iterator[Row]]] = {
    "training": training,
    "rollout_exact_fp32": rollouts("rollout_exact_fp32", False, "32-true", setting.half_cheetah, HALF_CHEETAH),
    "rollout_exact": rollouts("rollout_exact", False, "bf16-true", setting.half_cheetah, HALF_CHEETAH),
    "rollout_window": rollouts("rollout_window", True, "32-true", setting.half_cheetah, HALF_CHEETAH),
    "rollout_half_cheetah": rollouts("rollout_half_cheetah", True, "bf16-true", setting.half_cheetah, HALF_CHEETAH),
    "rollout_pick_place": rollouts("rollout_pick_place", True, "bf16-true", setting.pick_place, PICK_PLACE),
    "encode": encode("encode", setting.SEGMENT_STEPS),
    "encode_short": encode("encode, J=1 H=5", 5),
    "bandit_round": bandit_round("bandit_round", 1000),
    "bandit_round_100k": bandit_round("bandit_round, 100,000 segments", 100_000),
    "memory": memory,
    "tuning": tuning,
    "rollout_growth": rollout_growth,
    "loader_growth": loader_growth,
}


def main() -> None:
    """Measure, print, write."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument(
        "--only", nargs="*", choices=list(ROWS), default=list(ROWS), help="Rows to measure; they replace the old ones."
    )
    options = parser.parse_args()
    start, measured = time.monotonic(), []
    for number, name in enumerate(options.only):
        print(
            f"[{number + 1}/{len(options.only)}, {time.monotonic() - start:.0f} s] {name}", file=sys.stderr, flush=True
        )
        measured += ROWS[name]()
    rows = {row.name: dataclasses.asdict(row) for row in measured}
    if options.only != list(ROWS) and RESULTS.exists():
        rows = {row["name"]: row for row in json.loads(RESULTS.read_text())} | rows
    write_atomically(RESULTS, json.dumps(list(rows.values()), indent=1) + "\n")
    table = Table(title=f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    for column in ("", "unit", "ours", "plain", "ratio", "limit", "share"):
        table.add_column(column, justify="left" if column in ("", "unit") else "right")
    for row in measured:
        figures = [f"{value:,.3g}" if value < 1000 else f"{value:,.0f}" for value in (row.ours, row.plain)]
        limit, share = (
            (f"{row.limit:,.0f}", f"{row.share_of_limit:.0%}") if row.limit and row.share_of_limit else ("", "")
        )
        table.add_row(row.name, row.unit, *figures, f"{row.ratio:.1f} x", limit, share)
    Console(width=None if sys.stdout.isatty() else 120).print(table)
    print(f"Written to {RESULTS}.")


if __name__ == "__main__":
    main()
