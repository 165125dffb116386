"""What the tasks of a configuration are, without training.

Shown are spaces, episodes and returns, and what recorded actions lead to when they are played again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import minari
import numpy as np
from lightning.pytorch.cli import LightningArgumentParser
from rich.table import Table

from pdt_lightning.commands.cli import RunCLI
from pdt_lightning.core.seeding import integer
from pdt_lightning.core.terminal import say, show
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.rollouts.replay import replayed
from pdt_lightning.tasks import recorded
from pdt_lightning.tasks.base import Task

REPLAYED = 3  # episodes of a task
COLUMNS = (
    "task",
    "environment",
    "observations",
    "actions",
    "episodes",
    "steps",
    "horizon",
    "target",
    "return",
    "replayed",
)
TOLERANCE = 1e-3  # of returns and states, relative to their size


@dataclass
class Checked:
    """A task as it was found.

    Args:
        task: settled.
        role: what its data are for.
        row: of the table.
        warnings: what a user had better know.
    """

    task: Task
    role: str
    row: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class CheckCLI(RunCLI):
    """Reads a configuration as `fit` does, and builds the data alone."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make the parser, by the name of this command."""
        name = "python -m pdt_lightning.collect check"
        usage = f"{name} --config FILE [--config FILE ...] [--OPTION=VALUE ...]"
        return super().init_parser(**{**kwargs, "prog": name, "usage": usage, "description": __doc__})

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """What says nothing of data is of tasks that are not listed, not of Meta-World's."""
        super().add_arguments_to_parser(parser)
        parser.set_defaults({"data.family": "minari"})

    def instantiate_classes(self) -> None:
        """Build the data."""
        self.datamodule = MultiTaskDataModule(**{**self.config.data, "progress": False})

    def after_instantiate_classes(self) -> None:
        """There is no trainer to check."""


def check(args: list[str]) -> None:
    """Show the tasks of a configuration, and what is odd about them."""
    cli = CheckCLI(args)
    data = cli.datamodule
    data.prepare_data()
    data.setup()
    checked = []
    for role, tasks, pool in (
        ("training", data.training_tasks, data.training_pool.episodes),
        ("held out", data.heldout_tasks, data.heldout_pool.episodes if data.heldout_pool else None),
    ):
        for number, task in enumerate(tasks):
            assert pool is not None
            checked.append(examine(task, role, pool.of_task(number)))
    table = Table(title="Tasks; returns over the horizon: mean (lowest to highest)")
    for column in COLUMNS:
        table.add_column(column, justify="left" if column in COLUMNS[:4] else "right")
    for one in checked:
        table.add_row(*one.row)
    show(table)
    warnings = [f"{one.task.id}: {text}" for one in checked for text in one.warnings] + run_warnings(cli.config)
    for text in warnings:
        say(f"! {text}")
    say(f"{len(checked)} tasks, {len(warnings)} warnings. Nothing was trained.")


def examine(task: Task, role: str, episodes: Episodes) -> Checked:
    """Look at one task.

    Args:
        task: settled.
        role: `training` or `held out`.
        episodes: its demonstrations.
    """
    one = Checked(task, role)
    horizon = task.horizon or 0
    names = task.training_data if role == "training" else task.prompt_data
    known = [recorded.of(name) for name in names]
    whole = episodes.whole(horizon)
    env = task.bare_env()
    spaces = [str(env.observation_space), str(env.action_space)]
    env.close()
    listed = not isinstance(task.env_id, str)
    if listed and known[0].evaluation and task.env_id == known[0].spec():
        one.warnings.append(
            "rollouts are in the evaluation environment that its datasets name; environment: recorded changes that."
        )
    if task.reset_options:
        one.warnings.append(
            f"episodes begin with the recorded reset options, {', '.join(map(str, task.reset_options[:3]))}."
        )
    longest = max(data.longest for data in known)
    if longest > horizon:
        one.warnings.append(
            f"demonstrations have up to {longest} steps; all after the first {horizon}, the horizon, is left out."
        )
    elif horizon > longest and not episodes.index.ended.any():
        one.warnings.append(
            f"no demonstration gets to the horizon of {horizon}; returns are over up to {longest} steps."
        )
    if short := int((~whole).sum()):
        one.warnings.append(f"{short} of {len(whole)} episodes were cut off before the horizon, and set no target.")
    returns = episodes.index.returns[whole]
    again = replay(one, known, episodes)
    summary = f"{returns.mean():.4g} ({returns.min():.4g} to {returns.max():.4g})"
    lengths = f"{episodes.lengths.min()} to {episodes.lengths.max()}"
    target = f"{task.target_return:.4g}"
    one.row = [
        f"{task.id} ({role})",
        task.env_name,
        *spaces,
        str(len(whole)),
        lengths,
        str(horizon),
        target,
        summary,
        again,
    ]
    return one


def replay(one: Checked, known: Sequence[recorded.Recorded], episodes: Episodes) -> str:
    """Play recorded actions of some episodes again, compare, and say how it went."""
    count = min(REPLAYED, len(episodes))
    kept = [seed for data in known for seed in seeds_of(data.id)][:count]
    seeded = all(seed is not None for seed in kept)
    seeds = [integer(number, "check", one.task.id) if seed is None else seed for number, seed in enumerate(kept)]
    size, actions = episodes.state_size, episodes.action_size
    steps = [
        episodes.steps[first:last]
        for first, last in zip(episodes.offsets[:count], episodes.offsets[1 : count + 1], strict=True)
    ]
    outcomes, first = replayed(one.task, [own[:, size : size + actions] for own in steps], seeds, size)
    if failed := [outcome.failed for outcome in outcomes if outcome.failed]:
        one.warnings.append(f"an episode of recorded actions fails: {failed[0]}.")
        return "failed"
    totals, expected = np.array([outcome.total for outcome in outcomes]), episodes.index.returns[:count]
    if short := [o.length for o, own in zip(outcomes, steps, strict=True) if o.length < len(own)]:
        one.warnings.append(f"the environment ends after {short[0]} steps, before the recorded actions do.")
    if not seeded:
        one.warnings.append("its episodes keep no seeds, so that recorded actions were played from other starts.")
        return "other starts"
    off = float(np.abs(totals - expected).max())
    apart = np.abs(first - np.array([own[0, :size] for own in steps]))
    spread = np.sqrt((episodes.index.moments[:, 1] / episodes.lengths[:, None]).max(axis=0))
    if (apart > TOLERANCE * np.maximum(np.abs(first), spread)).any():
        one.warnings.append(
            "with the recorded seeds rollouts begin in other states than the demonstrations: is it the same "
            "environment?"
        )
    elif off > TOLERANCE * max(np.abs(expected).max(), np.abs(totals).max()):
        one.warnings.append(
            f"recorded actions do not bring the recorded returns again: they are off by up to {off:.3g}."
        )
    return f"{off:.1g} off"


def seeds_of(dataset_id: str) -> list[int | None]:
    """The seed of each episode that has a step; None where none was kept."""
    storage = minari.load_dataset(dataset_id).storage
    numbers = range(storage.total_episodes)
    return [known.get("seed") for known in storage.get_episode_metadata(numbers) if known["total_steps"]]


def run_warnings(config: Any) -> list[str]:
    """What is odd about the run that the configuration is of."""
    warmup, epochs, each = config.model.warmup_updates, config.trainer.max_epochs, config.data.updates_per_epoch
    if epochs and epochs > 0 and warmup > epochs * each:
        return [
            f"--model.warmup_updates={warmup:,} is more than the {epochs * each:,} updates of the run: set it to a "
            "twentieth."
        ]
    return []
