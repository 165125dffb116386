"""What the tasks of a configuration are, without training: spaces, episodes, returns, and recorded actions played again."""

import argparse
import inspect
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import minari
import numpy as np
from omegaconf import OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.table import Table
from yaml import YAMLError

from pdt_lightning.commands.configurations import configuration_path
from pdt_lightning.core.errors import UserError, suggestion
from pdt_lightning.core.seeding import integer
from pdt_lightning.core.terminal import say, show
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.model.lit_pdt import LitPDT
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


def check(args: list[str]) -> None:
    """Show the tasks of a configuration, and what is odd about them."""
    parser = argparse.ArgumentParser(
        prog="python -m pdt_lightning.collect check", description=__doc__, allow_abbrev=False
    )
    parser.add_argument(
        "--config", action="append", required=True, help="YAML file of a run; later ones change earlier ones."
    )
    config = configuration(parser.parse_args(args).config)
    data = datamodule(config)
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
    warnings = [f"{one.task.id}: {text}" for one in checked for text in one.warnings] + run_warnings(config)
    for text in warnings:
        say(f"! {text}")
    say(f"{len(checked)} tasks, {len(warnings)} warnings. Nothing was trained.")


def configuration(files: Sequence[str]) -> dict[str, Any]:
    """The files, the later ones over the earlier, with their references resolved."""
    try:
        merged = OmegaConf.merge(*(OmegaConf.load(configuration_path(name)) for name in files))
        plain: Any = OmegaConf.to_container(merged, resolve=True)
    except (OmegaConfBaseException, YAMLError, OSError, ValueError) as error:
        raise UserError(
            f"--config={files[-1]}: {str(error).splitlines()[0]}. Give YAML, such as conf/own_data.yaml."
        ) from error
    if not isinstance(plain, dict) or not isinstance(plain.get("data"), dict):
        raise UserError(
            f"--config={files[-1]} says nothing of data. Give the configuration of a run, such as conf/own_data.yaml."
        )
    return plain


def datamodule(config: Mapping[str, Any]) -> MultiTaskDataModule:
    """The data of a configuration, checked."""
    options, known = config["data"], inspect.signature(MultiTaskDataModule).parameters
    if wrong := sorted(set(options) - set(known)):
        raise UserError(f"data.{wrong[0]} is not an option of the data.{suggestion(wrong[0], known)}")
    model = config.get("model") or {}
    return MultiTaskDataModule(**{**options, "attention": model.get("attention", "published"), "progress": False})


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
            "with the recorded seeds rollouts begin in other states than the demonstrations: is it the same environment?"
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


def run_warnings(config: Mapping[str, Any]) -> list[str]:
    """What is odd about the run that the configuration is of."""
    trainer, data, model = (config.get(name) or {} for name in ("trainer", "data", "model"))
    warmup = model.get("warmup_updates", inspect.signature(LitPDT).parameters["warmup_updates"].default)
    epochs, each = trainer.get("max_epochs"), data.get("updates_per_epoch", 1000)
    if epochs and epochs > 0 and warmup > epochs * each:
        return [
            f"--model.warmup_updates={warmup:,} is more than the {epochs * each:,} updates of the run: set it to a twentieth."
        ]
    return []
