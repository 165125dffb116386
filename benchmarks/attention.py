"""The published and the window form of attention compared, over seeds.

Compared are the wall-clock time to an error, and the untuned and the tuned return.

python -m benchmarks.attention --config conf/point.yaml --out p.jsonl --published=" --data.chunk_steps=null
--data.batch_size=64"

A cell is a form and a seed; each is trained and tuned as `fit` does it, and appended to the file when it is done, so
that a second call goes on where the first was stopped. What the file holds is printed at the end.
"""

import argparse
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
from scipy.stats import bootstrap

from pdt_lightning.commands.cli import RunCLI
from pdt_lightning.core.seeding import generator
from pdt_lightning.data.batches import Pool
from pdt_lightning.data.windows import context_windows, windows_to_each_step
from pdt_lightning.model.pdt import PromptDecisionTransformer

FORMS = ("published", "window")


@torch.no_grad()
def acting_error(
    model: PromptDecisionTransformer, pool: Pool, prompts: Pool, context_steps: int, segments: int
) -> float:
    """Squared error of the action at every step of the pool's episodes, seen as in a rollout, with all of its past.

    The forms train on different rows, so that their own losses cannot be compared; this can.
    """
    device = model.state_mean.device
    episodes, rng, errors = pool.episodes, generator(0, "acting error"), []
    for episode in pool.members:
        length = int(episodes.lengths_of(episode))
        task = np.array([episodes.task[episode]])
        prompt = prompts.prompts(rng.random((1, segments)), task).to(device)
        if model.window_steps is None:
            context, labels = windows_to_each_step(episodes, episode, context_steps)
            predicted, labels = model(context.to(device), type(prompt).cat([prompt] * length))[:, -1], labels[:, -1]
        else:
            context, labels = context_windows(episodes, np.array([episode]), np.array([0]), length)
            predicted = model(context.to(device), prompt)
        labels = labels.to(predicted.device)
        errors.append(((predicted - labels) / model.action_half).square().mean(-1).flatten())
    return float(torch.cat(errors).mean())


class Curve(lightning.Callback):
    """Acting error against seconds of training, after each epoch."""

    def __init__(self) -> None:
        self.seconds, self.points, self._since = 0.0, [], 0.0

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The clock runs."""
        self._since = time.perf_counter()

    def on_validation_start(self, trainer: lightning.Trainer, pl_module: Any) -> None:
        """The clock stands while anything but training happens."""
        if trainer.sanity_checking:
            return
        self.seconds += time.perf_counter() - self._since
        data: Any = trainer.datamodule
        pools = (data.validation_pool, data.training_pool)
        error = acting_error(pl_module.model, *pools, data.hparams["context_steps"], data.hparams["segments"])
        self.points.append((trainer.global_step, self.seconds, error))


def run(form: str, seed: int, config: str, flags: list[str], folder: str) -> dict[str, Any]:
    """Train and tune one cell."""
    cli = RunCLI(
        [
            "--config", config, f"--model.attention={form}", f"--seed={seed}", f"--name={form}",
            f"--trainer.default_root_dir={folder}", "--trainer.enable_progress_bar=false", "--tuning.progress=false",
            "--tuning.every_n_epochs=0", "--tuning.oracle_candidates=0", *flags,
        ]
    )  # fmt: skip
    curve = Curve()
    cli.trainer.callbacks.append(curve)
    cli.begin([])
    cli.trainer.fit(cli.model, cli.datamodule)
    summary = json.loads((cli.run_folder / "summary.json").read_text())
    return {"form": form, "seed": seed, "curve": curve.points, "tasks": summary["tasks"]}


def report(cells: list[dict[str, Any]]) -> None:
    """Print what the cells show."""
    figures: dict[tuple[str, str], dict[tuple[int, str], float]] = defaultdict(dict)
    for cell in cells:
        for task, known in cell["tasks"].items():
            for kind in ("expert", "untuned", "tuned"):
                for figure in ("return", "success"):
                    if known[kind][figure] is not None:
                        figures[f"{kind} {figure}", cell["form"]][cell["seed"], task] = known[kind][figure]
    for (name, form), values in sorted(figures.items()):
        print(f"{name:16} {form:10} {np.mean(list(values.values())):9.3f}")
    for name in sorted({name for name, _ in figures}):
        one, other = (figures[name, form] for form in FORMS)
        if not name.startswith("expert") and (both := sorted(set(one) & set(other))):
            differences = np.array([other[key] - one[key] for key in both])
            expert, untuned = (figures[f"{who} {name.split()[1]}", "published"] for who in ("expert", "untuned"))
            span = np.mean([expert[key] - untuned[key] for key in both]) / 100  # a percent of it
            low, high = (differences.mean(),) * 2
            if np.ptp(differences) > 0:
                low, high = bootstrap(
                    (differences,), np.mean, rng=np.random.default_rng(0), method="basic"
                ).confidence_interval
            print(
                f"{name}: window - published = {differences.mean():.3f} [{low:.3f}, {high:.3f}], "
                f"{differences.mean() / span:.1f} [{low / span:.1f}, {high / span:.1f}] % of the span to the expert"
            )
    for seed in sorted({cell["seed"] for cell in cells}):
        curves = {cell["form"]: cell["curve"] for cell in cells if cell["seed"] == seed}
        if len(curves) == 2:
            _, seconds, error = curves["published"][-1]
            reached = next(
                (f"{s:.0f} s" for _, s, e in curves["window"] if e <= error), f"not in {curves['window'][-1][1]:.0f} s"
            )
            print(
                f"seed {seed}: published reaches an acting error of {error:.5f} in {seconds:.0f} s; window: {reached}"
            )
            print(f"  window's own: {curves['window'][-1][2]:.5f}")


def main() -> None:
    """Run the cells that are missing, then report."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--config", required=True)
    parser.add_argument("--out", type=Path, required=True, help="JSON lines, a cell each.")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--published", default="", help="Flags for the published form alone.")
    parser.add_argument("--window", default="", help="Flags for the window form alone.")
    parser.add_argument("--flags", default="", help="Flags for both.")
    parser.add_argument("--runs", default="runs/attention", help="Folder of the runs.")
    options = parser.parse_args()
    cells = [json.loads(line) for line in options.out.read_text().splitlines()] if options.out.exists() else []
    for seed in options.seeds:
        for form in FORMS:
            if not any((cell["form"], cell["seed"]) == (form, seed) for cell in cells):
                flags = [*options.flags.split(), *getattr(options, form).split()]
                cells.append(run(form, seed, options.config, flags, options.runs))
                with options.out.open("a") as file:
                    file.write(json.dumps(cells[-1]) + "\n")
                print(f"{form}, seed {seed}: done", flush=True)
    report(cells)


if __name__ == "__main__":
    main()
