"""Collect a family's demonstrations, import Prompt-DT's own, or check a run's data.

The family's experts are trained anew before, if asked for.

python -m pdt_lightning.collect half-cheetah-vel
python -m pdt_lightning.collect half-cheetah-vel --train
python -m pdt_lightning.collect import-prompt-dt DIR --family half-cheetah-vel
python -m pdt_lightning.collect check --config FILE
"""

import shlex
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
from rich.table import Table

from pdt_lightning.commands.flags import COLLECT, FIT, flags_of
from pdt_lightning.commands.parser import DEBUG, Explaining
from pdt_lightning.core.errors import NotFoundError, UserError, check_range, check_writable, command
from pdt_lightning.core.terminal import say, show
from pdt_lightning.data import minari, practice, prompt_dt
from pdt_lightning.data.checks import check_datasets
from pdt_lightning.data.collect import collect
from pdt_lightning.data.option_types import Workers
from pdt_lightning.tasks.base import families, family_class, make_family
from pdt_lightning.tasks.learned import LearnedFamily, imported_id

IMPORT, CHECK = "import-prompt-dt", "check"


def parser() -> Explaining:
    """The parser of the command that collects."""
    parser = Explaining(prog="python -m pdt_lightning.collect", description=__doc__, epilog=DEBUG, allow_abbrev=False)
    add = parser.add_argument
    add(
        "family",
        type=str,
        help=f"The task family: {', '.join(families())}; or {IMPORT} or {CHECK}, which have their own --help.",
    )
    add("--family_options", type=dict[str, Any] | None, default=None, help="Options of the family, as fit takes them.")
    add("--train", action="store_true", help="Train the experts first, which needs Stable-Baselines3.")
    add("--out", type=str | None, default=None, help="The file for the experts. Null means <family>.safetensors here.")
    add("--steps", type=int | None, default=None, help="How many steps they train. Null means what the family needs.")
    add("--seed", type=int | None, default=None, help="The seed of their training. Null means 0.")
    add("--workers", type=Workers | None, default=None, help="How many processes collect. Null means one a core.")
    add("--progress", type=bool, default=True, help="Whether to show bars.")
    return parser


def import_parser() -> Explaining:
    """The parser of the command that imports."""
    parser = Explaining(
        prog=f"python -m pdt_lightning.collect {IMPORT}",
        description=prompt_dt.__doc__,
        epilog=DEBUG,
        allow_abbrev=False,
    )
    add = parser.add_argument
    add(
        "folder", type=str, help="A folder with files such as cheetah_vel-7-prompt-expert.pkl, or with folders of them."
    )
    add("--family", type=str, required=True, help="The family whose files they are, such as half-cheetah-vel.")
    add("--progress", type=bool, default=True, help="Whether to show a bar.")
    return parser


@command(flags_of(COLLECT))
def main(args: list[str]) -> None:
    """Run the command; `args` replace the command line."""
    if args[:1] == [IMPORT]:
        import_published(args[1:])
        return
    if args[:1] == [CHECK]:
        from pdt_lightning.commands.data_check import check  # imported here, since Lightning takes seconds

        try:
            check(args[1:])
        except UserError as error:  # its options are those of fit
            raise UserError(flags_of(FIT)(str(error))) from error
        return
    config = parser().parse_args(args)
    for option in ("out", "steps", "seed"):
        if not config.train and (given := config[option]) is not None:
            raise UserError(
                f"--{option}={given} is of training experts, without --train. Add --train, or leave --{option} out."
            )
    options = dict(config.family_options or {})
    if config.train:
        options["experts"] = str(train(config, options, args))
    family = make_family(config.family, options)
    if config.train:
        examine(type(family), options["experts"])
    datasets = {
        "to train on": [name for task in family.training_tasks for name in task.training_data],
        "for prompts": [name for task in family.heldout_tasks for name in task.prompt_data],
    }
    check_datasets(family.training_tasks, "training_data", family.recipes)
    check_datasets(family.heldout_tasks, "prompt_data", family.recipes)
    check_writable("MINARI_DATASETS_PATH", minari.path_of(""))
    new = collect(
        [name for names in datasets.values() for name in names], family.recipes, config.workers, config.progress
    )
    summarise(config.family, datasets)
    say(f"{new} of them are new. They are Minari datasets, under {minari.path_of('')}.")
    if config.train:
        say(f"A run uses these experts with --data.family_options.experts={options['experts']}")


def import_published(args: list[str]) -> None:
    """Check and import a folder of published files, and say what was found."""
    config = import_parser().parse_args(args)
    family: Any = family_class(config.family)
    if not issubclass(family, LearnedFamily) or not family.file_prefix:
        raise UserError(
            f"--family={config.family}: no files of it were published. Choose one such as half-cheetah-vel."
        )
    check_writable("MINARI_DATASETS_PATH", minari.path_of(""))
    checked = prompt_dt.import_folder(Path(config.folder), family, config.progress)
    table = Table(
        title=f"{config.family}: files of {config.folder}, {prompt_dt.REPLAYED} steps or more of each replayed"
    )
    for column in (
        "file",
        "episodes",
        "steps",
        "mean return",
        "reward off by (median, 90 %)",
        "observation off by",
        "Minari dataset",
    ):
        table.add_column(column, justify="left" if column in ("file", "Minari dataset") else "right")
    for one in checked:
        errors = (", ".join(f"{error:.0e}" for error in pair) for pair in (one.reward_error, one.observation_error))
        table.add_row(
            one.path.name, str(one.episodes), f"{one.steps:,}", f"{one.mean_return:.1f}", *errors, one.dataset_id
        )
    show(table)
    say(f"{sum(one.new for one in checked)} of them are new. They are Minari datasets, under {minari.path_of('')}.")
    training = set(family.splits["published"][0])
    for kind, source in (("expert", "prompt-dt"), ("prompt-expert", "prompt-dt-prompts")):
        if not any(one.kind == kind for one in checked):
            continue
        if missing := sorted(
            number for number in training if not minari.exists(imported_id(family.name, number, kind))
        ):
            say(
                f"To train on them, {len(missing)} of {len(training)} tasks still want their file, such as "
                f"{family.file_prefix}-{missing[0]}-{kind}.pkl"
            )
        else:
            say(
                f"A run trains on them with --data.family={config.family} "
                f"--data.family_options.training_source={source}"
            )


def train(config: Any, options: Mapping[str, Any], args: Sequence[str]) -> Path:
    """Train the experts of the family that `config` names, and return the file that they are in."""
    name = config.family
    kind: Any = family_class(name)
    if not issubclass(kind, LearnedFamily):
        raise UserError(f"--train: the experts of {name} are not learned. Leave --train out.")
    if "experts" in options:
        raise UserError(
            f"--train makes experts, but --family_options.experts={options['experts']} names some. Leave one of them "
            "out."
        )
    with suppress(NotFoundError):  # a family may have no experts yet; its options are checked all the same
        make_family(name, options)
    steps = kind.practice_steps if config.steps is None else config.steps
    path = Path(config.out or f"{name}.safetensors").absolute()
    check_range("--steps", steps, 10_000, 10**10)
    practice.require()
    check_writable("--out", path.parent)
    if path.exists():
        raise UserError(f"--out={path} is there already. Name another file, or remove it.")
    practice.train(
        kind, path, steps, config.seed or 0, f"python -m pdt_lightning.collect {shlex.join(args)}", config.progress
    )
    return path


def examine(family: Any, path: str) -> None:
    """Refuse learned experts that miss the floor of return of a task that was practised; show what each gets.

    Raises:
        UserError: naming the tasks.
    """
    tasks = practice.practised(family)
    reached, medium = (practice.returns_of(path, stage, tasks) for stage in ("expert", "medium"))
    table = Table(title=f"Experts of {path}, mean return of {practice.EPISODES} episodes")
    for column in ("task", "floor", "expert", "medium"):
        table.add_column(column, justify="left" if column == "task" else "right")
    for task, high, low in zip(tasks, reached, medium, strict=True):
        table.add_row(task.id, f"{family.floor(task):.0f}", f"{high:.1f}", f"{low:.1f}")
    show(table)
    if below := [task.id for task, high in zip(tasks, reached, strict=True) if high < family.floor(task)]:
        raise UserError(
            f"--steps: the experts in {path} return less than the floor in {len(below)} of {len(tasks)} tasks, such as "
            f"{below[0]}; nothing was collected. Remove that file, and raise --steps or try another --seed."
        )


def summarise(family: str, datasets: dict[str, list[str]]) -> None:
    """Show what the demonstrations return."""
    table = Table(title=f"{family}: demonstrations")
    for column in ("", "datasets", "episodes", "mean return", "lowest of a dataset", "highest"):
        table.add_column(column, justify="right" if column else "left")
    for role, names in datasets.items():
        returns = [[float(one.rewards.sum()) for one in minari.read(name)] for name in dict.fromkeys(names)]
        means = [float(np.mean(episode_returns)) for episode_returns in returns]
        flat = [value for episode_returns in returns for value in episode_returns]
        table.add_row(
            role, str(len(returns)), str(len(flat)), *(f"{x:.1f}" for x in (np.mean(flat), min(means), max(means)))
        )
    show(table)


if __name__ == "__main__":
    main()
