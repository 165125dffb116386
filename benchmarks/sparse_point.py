"""The sparse-point study: every tuner on every held-out goal.

Prompts have 1, 2 or 4 segments; there are 3 pretrainings, and 5 seeds of tuning on each goal.

python -m benchmarks.sparse_point --out runs/sparse_point

Trains what is not trained yet, compares what is not compared yet and prints the tables of docs/sparse_point.md, which
it also writes to `tables.md`; stopped, it goes on with the same command. About an hour on two cores.
"""

import argparse
import csv
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np

from pdt_lightning.comparison.plan import ALL, DEFAULT
from pdt_lightning.comparison.report import difference, interval
from pdt_lightning.comparison.summary import covers
from pdt_lightning.core.seeding import generator
from pdt_lightning.core.terminal import quiet
from pdt_lightning.model.attention_maps import attention_along
from pdt_lightning.model.checkpoints import load
from pdt_lightning.tasks.point import HUB, STEP_LENGTH

SLOTS, PRETRAININGS, ROUNDS = (1, 2, 4), (0, 1, 2), 250
VARIANTS = tuple(f"{DEFAULT}:{change}" for change in ("credit=whole", "exploration=ucb", "features=raw"))
SHOWN, JUDGED = (10, 25, 50, 250), (50, 250)  # rollouts
# Of tuning, fixed before any result is seen: more runs only where ours has not won would make it win too often.
SEEDS = 5
FLOORS = (9.0, 9.5)  # of a cell's return, after those that are judged
# What the papers report after 250 rollouts, by segments in a prompt (Rietz et al. 2025; their layout is not published).
PUBLISHED = {
    "untuned": ("0.0 ± 2.1", "6.3 ± 0.8", "8.3 ± 0.6"),
    "hill climbing": ("5.8 ± 3.8", "7.9 ± 1.6", "6.2 ± 4.0"),
}
PUBLISHED["Thompson sampling"] = ("9.9", "9.9", "9.8")


def run_folder(out: Path, slots: int, seed: int) -> Path:
    """Of one pretraining."""
    return out / f"J{slots}_S{seed}" / "version_0"


def checkpoint(out: Path, slots: int, seed: int) -> str:
    """Its last one."""
    return str(run_folder(out, slots, seed) / "checkpoints" / "last.ckpt")


def pretrain(out: Path, slots: int, seed: int) -> None:
    """`conf/point.yaml`, with no more tuning than a run cannot do without."""
    summary = run_folder(out, slots, seed) / "summary.json"
    if summary.is_file() and json.loads(summary.read_text())["final"]:
        return
    print(f"Pretraining, {slots} segments, seed {seed} ...", file=sys.stderr, flush=True)
    flags = [
        f"--data.segments={slots}",
        f"--seed={seed}",
        f"--name=J{slots}_S{seed}",
        f"--trainer.default_root_dir={out}",
    ]
    flags += ["--trainer.enable_progress_bar=false", "--tuning.progress=false", "--data.progress=false"]
    flags += [
        "--tuning.rounds=1",
        "--tuning.verdict_episodes=1",
        "--tuning.yardstick_episodes=1",
        "--tuning.oracle_candidates=0",
    ]
    flags += ["--ckpt_path=last"] if run_folder(out, slots, seed).exists() else []
    command = [sys.executable, "-m", "pdt_lightning.fit", "--config", "conf/point.yaml", *flags]
    subprocess.run(command, check=True, env={**os.environ, "OMP_NUM_THREADS": "1"}, stdout=subprocess.DEVNULL)


def compare(out: Path, slots: int) -> dict:
    """All tuners on all pretrainings with so many segments; the summary."""
    return compared(out / f"compare_J{slots}", out, slots, ["all", *VARIANTS], ROUNDS, SEEDS)


def compared(folder: Path, out: Path, slots: int, tuners: Sequence[str], rounds: int, seeds: int) -> dict:
    """The summary of a comparison."""
    paths = [checkpoint(out, slots, seed) for seed in PRETRAININGS]
    arguments = ["--ckpt_path", *paths, "--tuners", *tuners, "--rounds", str(rounds), "--seeds", str(seeds)]
    # An episode is a coin: with two of each, the oracle would be a lucky prompt and not the best.
    arguments += ["--objective", "return", "--parallel", "1", "--oracle_episodes", "20"]
    subprocess.run([sys.executable, "-m", "pdt_lightning.compare", *arguments, "--out", str(folder)], check=True)
    return json.loads((folder / "summary.json").read_text())


def cells(out: Path, slots: int, name: str, rollouts: int) -> np.ndarray:
    """Return of what a tuner recommends, of every pretraining, goal and seed."""
    with (out / f"compare_J{slots}" / "recommended.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if (row["tuner"], row["rollouts"]) == (name, str(rollouts))]
    return np.array([float(row["return"]) for row in rows])


def informative(out: Path, slots: int, prompts: int = 60) -> tuple[float, float, float]:
    """The last layer's attention, on the way from the hub, to the one segment that tells the way to the goal.

    The other segments are of the trunk and say nothing.

    Returns:
        Share of the attention to the prompt that goes to that segment, share of the prompts in which it gets the most,
        and the share of all attention that goes to the prompt.
    """
    shares, most, whole = [], [], []
    for seed in PRETRAININGS:
        module, data = load(checkpoint(out, slots, seed))
        data.prepare_data()
        data.setup()
        model = module.model.eval()
        for task in data.heldout_tasks:
            segments, rng = data.segments(task.id), generator(seed, "informative", slots, task.id)
            states = segments.gather(np.arange(len(segments))[:, None]).states  # (N, H, 2)
            beyond = (states[..., 0] - float(HUB[0])).abs().add(states[..., 1].abs()).numpy() > 2 * STEP_LENGTH
            spoke = beyond.all(axis=1) & (segments.start >= 10)
            trunk = segments.start + segments.steps <= 10
            for number in range(prompts):
                choice, place = rng.choice(np.flatnonzero(trunk), size=slots), int(rng.integers(slots))
                choice[place] = rng.choice(np.flatnonzero(spoke))
                episode = number % len(segments.episodes)
                prompt = segments.gather(choice[None])
                along = attention_along(
                    model, module.hparams["context_steps"], segments.episodes, episode, prompt, slots
                )
                last = along[-1, 10:].mean(axis=0)  # from the hub on, where it has to be known
                shares.append(last[place] / last.sum())
                most.append(last.argmax() == place)
                whole.append(last.sum())
    return float(np.mean(shares)), float(np.mean(most)), float(np.mean(whole))


def tables(out: Path, summaries: dict[int, dict]) -> str:
    """As Markdown."""
    text = ["| mean return, optimum 10 | " + " | ".join(f"J={slots}, {n}" for slots in SLOTS for n in SHOWN) + " |"]
    text.append("| --- |" + " ---: |" * (len(SLOTS) * len(SHOWN)))

    def line(name: str, values: Sequence[str]) -> None:
        text.append(f"| {name} | " + " | ".join(values) + " |")

    names = [*ALL, *VARIANTS]
    for name in names:
        values = []
        for slots in SLOTS:
            known = summaries[slots]["tuners"][name]["by_rollouts"]
            for rollouts in SHOWN:
                own = known.get(str(rollouts)) or next(iter(known.values()))
                values.append(f"{own['return']:.2f}")
        line(name, values)
    line("best found", [f"{summaries[slots]['oracle']['return']:.2f}" for slots in SLOTS for _ in SHOWN])
    text.append("\n| published, 250 rollouts | " + " | ".join(f"J={slots}" for slots in SLOTS) + " |")
    text.append("| --- |" + " ---: |" * len(SLOTS))
    for name, values in PUBLISHED.items():
        line(name, values)
    text.append("\n| our default | " + " | ".join(f"J={slots}" for slots in SLOTS) + " |")
    text.append("| --- |" + " ---: |" * len(SLOTS))
    line("untuned", [own_interval(summaries[slots]["untuned"]) for slots in SLOTS])
    for rollouts, floor in zip(JUDGED, FLOORS, strict=True):
        line(
            f"{rollouts} rollouts",
            [own_interval(summaries[s]["tuners"][DEFAULT]["by_rollouts"][str(rollouts)]) for s in SLOTS],
        )
        middle = [summaries[s]["tuners"][DEFAULT]["by_rollouts"][str(rollouts)]["interquartile_mean"] for s in SLOTS]
        line("interquartile mean", [f"{value:.2f}" for value in middle])
        own = [cells(out, slots, DEFAULT, rollouts) for slots in SLOTS]
        line(f"cells at {floor} or more", [f"{np.mean(values >= floor):.0%} of {len(values)}" for values in own])
    line("rollouts to 95 %", [str(summaries[slots]["tuners"][DEFAULT]["rollouts_to_95"]) for slots in SLOTS])
    text.append(
        "\n| default minus rival, paired | " + " | ".join(f"J={slots}, {n}" for slots in SLOTS for n in JUDGED) + " |"
    )
    text.append("| --- |" + " ---: |" * (len(JUDGED) * len(SLOTS)))
    for name in (name for name in names if name != DEFAULT):
        own = [summaries[slots]["default_minus"][name][str(n)] for slots in SLOTS for n in JUDGED]
        line(name, [difference(one) for one in own])
    several = [slots for slots in SLOTS if slots > 1]
    text.append("\n| attention of the last layer | " + " | ".join(f"J={slots}" for slots in several) + " |")
    text.append("| --- |" + " ---: |" * len(several))
    alone = [informative(out, slots) for slots in several]
    line(
        "one informative segment among others: its share of the attention to the prompt",
        [f"{own[0]:.1%}" for own in alone],
    )
    line("prompts in which it gets the most", [f"{own[1]:.1%}" for own in alone])
    line("share of all attention that goes to the prompt", [f"{own[2]:.0%}" for own in alone])
    for kind in ("random", "tuned"):
        ranks = [summaries[slots]["attention"][kind]["by_rank"][-1] for slots in several]
        line(
            f"{kind} prompts: share of each segment, most first",
            [", ".join(f"{share:.0%}" for share in own) for own in ranks],
        )
    covered = covers(summaries[SLOTS[0]]["plan"])
    text.append(
        f"\nIntervals are 95 % t intervals {covered}; p-values are Holm's, over all rivals and budgets of a column's "
        "`J`."
    )
    return "\n".join(text) + "\n"


def own_interval(figures: dict) -> str:
    """Mean return and interval."""
    return interval(figures["return"], figures["low"], figures["high"])


def main() -> None:
    """Do what is left to do."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("runs/sparse_point"))
    out = parser.parse_args().out
    quiet()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(lambda job: pretrain(out, *job), [(slots, seed) for seed in PRETRAININGS for slots in SLOTS]))
    summaries = {slots: compare(out, slots) for slots in SLOTS}
    text = tables(out, summaries)
    (out / "tables.md").write_text(text)
    print(text)


if __name__ == "__main__":
    main()
