"""What it costs to score all segments of a task by the demonstrations, against the plain way, on one checkpoint.

python -m benchmarks.score --ckpt_path runs/metaworld/version_0/checkpoints/last.ckpt

The plain way is a forward pass over every whole demonstration but its own behind every segment, all of them setting the
standard. It is run for some of the segments and counted up to all. Both ways are timed in one run, on the same threads.
The last column says how alike the two order those segments.
"""

import argparse
import json
import time

import numpy as np
import torch
from rich.table import Table
from scipy.stats import spearmanr

from pdt_lightning.core.terminal import progress_bar, quiet, show
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.data.windows import context_windows, windows_to_each_step
from pdt_lightning.model.checkpoints import load
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuners.references import References


@torch.inference_mode()
def plain_loss(policy: Policy, segments: Segments, number: int, slots: int) -> float:
    """Mean squared error over the other demonstrations, whole, prompted by one segment in all slots."""
    model, episodes = policy.model, segments.episodes
    prompt, losses = segments.gather(np.full((1, slots), number)), []
    for other in range(len(episodes)):
        if other != segments.episode[number]:
            if model.window_steps is None:
                context, labels = windows_to_each_step(episodes, other, policy.context_steps)
                predicted = model(context, Prompt.cat([prompt] * len(context)))[:, -1]
                labels = labels[:, -1]
            else:
                context, labels = context_windows(
                    episodes, np.array([other]), np.array([0]), int(episodes.lengths[other])
                )
                predicted = model(context, prompt)
            losses.append(float(((predicted - labels) / model.action_half).square().mean()))
    return float(np.mean(losses))


def main() -> None:
    """Time both ways on every held-out task of a checkpoint, or on some."""
    quiet()
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ckpt_path", required=True)
    parser.add_argument("--family_options", type=json.loads, default=None, help="In place of the run's, as JSON.")
    parser.add_argument("--tasks", type=int, default=1, help="How many held-out tasks are looked at.")
    parser.add_argument("--sample", type=int, default=20, help="How many segments the plain way is run for.")
    options = parser.parse_args()
    module, data = load(options.ckpt_path, options.family_options)
    data.prepare_candidates()
    policy = Policy.of(module)
    slots = data.hparams["segments"]
    table = Table(title=f"Scoring segments, {torch.get_num_threads()} threads", title_justify="left")
    for column in ("task", "segments", "demonstrations", "ours, s", "plain, s", "times as fast", "rank correlation"):
        table.add_column(column, justify="left" if column == "task" else "right")
    names = list(data.prompt_tasks)[: options.tasks]
    with progress_bar("Scoring the plain way", len(names) * options.sample, "segment") as advance:
        for name in names:
            segments = data.segments(name)
            start = time.perf_counter()
            losses = References(segments, policy).of_segments(slots)
            ours = time.perf_counter() - start
            sample = np.random.default_rng(0).choice(len(segments), min(options.sample, len(segments)), replace=False)
            plain, start = [], time.perf_counter()
            for number in sample:
                plain.append(plain_loss(policy, segments, int(number), slots))
                advance(1)
            whole = (time.perf_counter() - start) / len(sample) * len(segments)
            alike = spearmanr(losses[sample], plain)[0]
            sizes = f"{len(segments):,}", f"{len(segments.episodes)}"
            table.add_row(name, *sizes, f"{ours:.1f}", f"{whole:,.0f}", f"{whole / ours:,.0f}", f"{alike:.2f}")
    show(table)


if __name__ == "__main__":
    main()
