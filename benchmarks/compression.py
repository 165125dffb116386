"""What a prompt of fewer tokens is worth, and what it saves, on held-out tasks of frozen checkpoints.

python -m benchmarks.compression runs/half_cheetah_vel/version_0/checkpoints/last.ckpt --out docs/compression.png

The prompts of `demonstration_loss` and random ones are played on the same fresh episodes with all of their tokens and
with fewer, as `--tuning.prompt_tokens` merges them. Beside them stands what a shorter prompt would do: the steps of
`demonstration_loss` that lie evenly apart, as many as give so many tokens, unmerged. A rollout is timed in processor
time of one core, all numbers of tokens in turns. Prints a table of each checkpoint in Markdown and writes a figure.
"""

import argparse
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from pdt_lightning.core.terminal import progress_bar, quiet
from pdt_lightning.model.checkpoints import load
from pdt_lightning.results.figures import DPI, TUNED, UNTUNED, pixels, save_png
from pdt_lightning.results.markdown import markdown_table
from pdt_lightning.results.statistics import Interval, mean_interval
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Row, rollout
from pdt_lightning.tuners.prior import from_demonstrations
from pdt_lightning.tuning.phase_episodes import PhaseEpisodes
from pdt_lightning.tuning.subject import subjects_of

PHASE = -7  # of no run, `tune` or comparison
CHOSEN, RANDOM, SHORTER = "chosen by the demonstrations", "random", "chosen, steps left out"
COLOURS = {CHOSEN: TUNED, RANDOM: UNTUNED, SHORTER: "#c44e52"}


@dataclass
class Curve:
    """Of one checkpoint.

    Args:
        title: what was pretrained.
        returns: of each kind of prompt, by tokens, `(tasks, episodes)`.
        seconds: of processor time for the prompts chosen by the demonstrations, by tokens, one for each repetition.
    """

    title: str
    returns: dict[str, dict[int, np.ndarray]]
    seconds: dict[int, list[float]]

    def speed(self, tokens: int) -> tuple[float, float, float]:
        """Rollouts a second, as a ratio to the whole prompt's in the same round: median, lowest and highest round."""
        ratios = np.array(self.seconds[max(self.seconds)]) / np.array(self.seconds[tokens])
        return float(np.median(ratios)), float(ratios.min()), float(ratios.max())


def counts(tokens: int) -> list[int]:
    """Numbers of tokens to try.

    >>> counts(36)
    [1, 2, 3, 6, 12, 24, 36]
    """
    doubled = [3 * 2**n for n in range(tokens.bit_length()) if 1.5 * 3 * 2**n <= tokens]
    return [*(few for few in (1, 2) if few < tokens), *doubled, tokens]


def shortened(row: Row, steps: int) -> Row:
    """With so many steps of its prompt, evenly apart."""
    places = np.linspace(0, row.prompt.mask.shape[1] - 1, steps).round().astype(int)
    prompt = replace(row.prompt, **{name: values[:, places] for name, values in vars(row.prompt).items()})
    return replace(row, prompt=prompt)


def measured(path: str, episodes: int, repeats: int, width: int) -> Curve:
    """Play all prompts with every number of tokens; the last `repeats` rounds of it are timed."""
    module, data = load(path)
    data.prepare_candidates()
    sizes, each, policy = data.hparams, module.model.tokens_per_step, Policy.of(module)
    draws = PhaseEpisodes(0, PHASE, sizes["segments"], episodes, 0)
    chosen: list[Row] = []
    random: list[Row] = []
    for subject in subjects_of(data, data.chosen(None)):
        best = from_demonstrations(subject.segments, policy, sizes["segments"]).best
        chosen += draws.evaluation_rows(subject, subject.segments.gather(np.array([best])))
        random += draws.untuned(subject, "verdict", episodes)
    form = "published" if module.model.window_steps is None else "window"
    title = f"{sizes['family']}, {sizes['segments']} x {sizes['segment_steps']} steps, {form} form"
    curve = Curve(title, {CHOSEN: {}, RANDOM: {}, SHORTER: {}}, {})
    policies = {
        tokens: Policy.of(module, prompt_tokens=tokens) for tokens in counts(chosen[0].prompt.mask.numel() * each)
    }
    environments = Environments(2 * width)

    def returns(player: Policy, rows: Sequence[Row]) -> np.ndarray:
        outcomes = rollout(player, rows, width, environments)
        assert all(outcome.failed is None for outcome in outcomes), outcomes
        return np.array([outcome.total for outcome in outcomes]).reshape(-1, episodes)

    with progress_bar(title, (1 + repeats) * len(policies), "number") as advance:
        for repeat in range(1 + repeats):
            for tokens, player in policies.items():
                start = time.process_time()
                curve.returns[CHOSEN][tokens] = returns(player, chosen)
                if repeat:  # the first round builds environments and multiplies weights out
                    curve.seconds.setdefault(tokens, []).append(time.process_time() - start)
                else:
                    curve.returns[RANDOM][tokens] = returns(player, random)
                    if tokens % each == 0:
                        short = [shortened(row, tokens // each) for row in chosen]
                        curve.returns[SHORTER][tokens] = returns(policy, short)
                advance(1)
    environments.close()
    return curve


def table(curve: Curve) -> str:
    """In Markdown: mean returns, with intervals, and the speed."""

    def written(value: Interval) -> str:
        ends = "" if np.isnan(value.low) else f" [{value.low:.1f}, {value.high:.1f}]"
        return f"{value.value:.1f}{ends}"

    rows = []
    for tokens in sorted(curve.seconds, reverse=True):
        own = [by.get(tokens) for by in curve.returns.values()]
        cells = ["" if values is None else written(mean_interval(list(values))) for values in own]
        speed = "{:.2f} ({:.2f} to {:.2f})".format(*curve.speed(tokens))
        rows.append([f"{tokens}", *cells, speed])
    return markdown_table(["tokens", *(f"prompts {kind}" for kind in curve.returns), "rollouts a second"], rows)


def drawn(curves: Sequence[Curve]) -> Figure:
    """Return and speed by tokens, a column for each checkpoint."""
    figure = Figure(figsize=(5.0 * len(curves), 6.0), dpi=DPI, facecolor="white", layout="constrained")
    axes = figure.subplots(2, len(curves), squeeze=False, sharex="col", height_ratios=[2, 1])
    for column, curve in enumerate(curves):
        above, below = axes[:, column]
        above.set_title(curve.title, loc="left", fontsize=10)
        for kind, values in curve.returns.items():
            _band(above, values, kind)
        tokens = sorted(curve.seconds)
        medians, lows, highs = zip(*(curve.speed(number) for number in tokens), strict=True)
        below.plot(tokens, medians, "o-", color="#444444", ms=4)
        below.fill_between(tokens, lows, highs, color="#444444", alpha=0.15, lw=0)
        below.axhline(1.0, color="#bbbbbb", lw=0.8)
        below.set_ylim(bottom=0)
        below.set_xscale("log")
        below.set_xticks(tokens, [str(number) for number in tokens])
        below.minorticks_off()
        below.set_xlabel("tokens remembered of a prompt")
        if column == 0:
            above.set_ylabel("mean return")
            below.set_ylabel("rollouts a second, ratio")
            above.legend(title="prompts", frameon=False, loc="lower right")
    for axis in axes.flat:
        axis.spines[["top", "right"]].set_visible(False)
    return figure


def _band(axis: Axes, values: Mapping[int, np.ndarray], kind: str) -> None:
    tokens = sorted(values)
    means, lows, highs = zip(*(mean_interval(list(values[number])) for number in tokens), strict=True)
    axis.plot(tokens, means, "o-", color=COLOURS[kind], ms=4, label=kind)
    axis.fill_between(tokens, lows, highs, color=COLOURS[kind], alpha=0.15, lw=0)


def main() -> None:
    """Measure every checkpoint, print tables and write the figure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("ckpt_path", nargs="+", help="Files, or exported models.")
    parser.add_argument("--out", type=Path, default=None, help="A PNG file for the figure.")
    parser.add_argument("--episodes", type=int, default=10, help="Fresh ones, for each prompt.")
    parser.add_argument("--repeats", type=int, default=3, help="How often a rollout is timed.")
    parser.add_argument("--width", type=int, default=16, help="How many rows a forward pass has.")
    options = parser.parse_args()
    quiet()
    curves = []
    for path in options.ckpt_path:
        curves.append(measured(path, options.episodes, options.repeats, options.width))
        print(f"\n{curves[-1].title}\n\n{table(curves[-1])}", flush=True)
    if options.out:
        save_png(pixels(drawn(curves)), options.out)


if __name__ == "__main__":
    main()
