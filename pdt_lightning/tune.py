"""Tune prompts of a frozen checkpoint, the papers' own use, or judge saved prompts again on fresh episodes.

python -m pdt_lightning.tune --ckpt_path runs/metaworld/version_0/checkpoints/last.ckpt --rounds 250
"""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pdt_lightning.commands.options import DEBUG, Explaining, first_sentence
from pdt_lightning.core.errors import NotFoundError, UserError, check_writable, command
from pdt_lightning.core.processes import cores
from pdt_lightning.core.terminal import progress_bar, quiet, say
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model import checkpoints
from pdt_lightning.model.checkpoints import load
from pdt_lightning.results import report
from pdt_lightning.results.videos import examples, film_all
from pdt_lightning.rollouts.policy import Policy, dtype_of
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.tuning.draws import Subject, check_prompt
from pdt_lightning.tuning.options import TuningOptions, check_objective
from pdt_lightning.tuning.phase import Recommendation, planned_rollouts, tune

EXAMPLE = "runs/<name>/version_0/prompts"
PHASE = -1  # of no run, so that no episode is one that a run has tuned or judged with


def parser(saved: dict[str, Any]) -> Explaining:
    """The command's options; what the run was tuned with, `saved`, are their defaults."""
    prog = "python -m pdt_lightning.tune"
    what = f"pdt_lightning: {first_sentence(__doc__)}"
    made = Explaining(
        prog=prog, usage=f"{prog} --ckpt_path FILE [--OPTION=VALUE ...]", description=what, epilog=DEBUG, allow_abbrev=False
    )
    made.add_argument("--ckpt_path", type=str, required=True, help="Checkpoint with the transformer.")
    made.add_argument("--tasks", type=list[str] | None, default=None, help="Ids of the held-out tasks to tune; null: all.")
    add_family_options(made)
    made.add_argument("--prompts", type=str | None, default=None, help="Folder of saved prompts to judge, with --rounds 0.")
    made.add_argument("--out", type=str | None, default=None, help="Folder for the results; null: beside the checkpoint's folder.")
    made.add_argument("--oracle", type=bool, default=False, help="Look for the oracle too.")
    made.add_argument("--workers", type=int | None, default=0, help="Processes that play rollouts; 0: this one; null: one a core.")
    made.add_argument(
        "--step_timeout", type=float | None, default=300.0, help="Seconds after which an environment that a worker waits for hangs."
    )
    made.add_argument("--width", type=int, default=8, help="Rows in a forward pass.")
    made.add_argument("--precision", type=str, default="32-true", help="Of the transformer: 32-true, or bf16-true.")
    made.add_class_arguments(TuningOptions)
    made.set_defaults({name: value for name, value in saved.items() if name in {action.dest for action in made._actions}})
    return made


def add_family_options(made: Explaining) -> None:
    """Add the option that changes what a checkpoint is tuned on."""
    made.add_argument(
        "--family_options",
        type=dict[str, Any] | None,
        default=None,
        help="Of the data's family, in place of those of the run: other candidates, such as --family_options.expert_share=0.5, or "
        "other tasks, such as --family_options.split=training.",
    )


def saved_options(args: list[str]) -> dict[str, Any]:
    """The tuning options kept in the checkpoint that `args` name; empty where there is none."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    finder.add_argument("--ckpt_path")
    finder.add_argument("--tuner")
    path = finder.parse_known_args(args)[0].ckpt_path
    if path is None:
        return {}
    callbacks = checkpoints.read(path).get("callbacks", {})
    saved = dict(next((state["options"] for name, state in callbacks.items() if name.startswith("PromptTuning")), {}))
    earlier = {name: saved.pop(name) for name in ("features", "reward_model", "exploration", "credit") if name in saved}
    if "tuner_options" not in saved and saved.get("tuner") == "structured":  # as versions before 0.2 kept them
        saved["tuner_options"] = earlier
    if finder.parse_known_args(args)[0].tuner not in (None, saved.get("tuner")):
        saved.pop("tuner_options", None)  # which are another tuner's
    return saved


def without_groups(message: str) -> str:
    """A message that names options as `fit` has them, with their names here."""
    return message.replace("--tuning.", "--").replace("--data.family_options", "--family_options")


@command(without_groups)
def main(args: list[str]) -> None:
    """Run the command; `args` replace the command line."""
    quiet()
    saved = saved_options(args)
    saved.pop("tasks", None)
    config = parser(saved).parse_args(args)
    options = TuningOptions(**{name: config[name] for name in TuningOptions.__dataclass_fields__})
    if options.rounds == 0 and config.prompts is None:
        raise UserError("--rounds=0 tunes nothing: name the prompts to judge with --prompts DIR, or ask for rounds.")
    if options.rounds and config.prompts is not None:
        raise UserError(f"--prompts={config.prompts} judges prompts as they are: add --rounds 0.")
    if config.prompts is not None and not Path(config.prompts).is_dir():
        raise NotFoundError(
            f"--prompts={config.prompts}: there is no such folder. Name one that a run has left, such as {EXAMPLE}."
        )
    dtype_of(config.precision)
    pool = RolloutPool(cores() if config.workers is None else config.workers, config.width, config.step_timeout)
    folder = Path(config.out) if config.out else new_folder(Path(config.ckpt_path).resolve().parent.parent)
    check_writable("--out", folder)
    print("Reading the checkpoint and laying out the tasks ...", file=sys.stderr, flush=True)
    module, data = load(config.ckpt_path, config.family_options)
    names = data.chosen(config.tasks)
    given = None if config.prompts is None else saved_prompts(Path(config.prompts), names)
    check_objective(options.objective, data.family.heldout_tasks)
    data.prepare_candidates()
    subjects = [Subject(data.prompt_tasks[name], data.segments(name)) for name in names]
    if given is not None:
        for subject in subjects:
            check_prompt(given[subject.task.id].prompt, subject, data.hparams["segments"])
    policy = Policy(module.model.eval().requires_grad_(False), int(module.hparams["context_steps"]), config.precision)
    total = planned_rollouts(options, len(subjects), config.oracle, judged_only=given is not None)
    try:
        with progress_bar("Judging prompts" if given else "Tuning prompts", total, "rollout") as advance:
            play = pool.with_policy(policy, lambda rows, outcomes: advance(len(outcomes)))
            results = tune(policy, subjects, play, options, data.hparams["segments"], PHASE, config.oracle, given)
    finally:
        pool.close()
    changed = dict(config.family_options or {})
    saying: dict[str, Any] = {"checkpoint": str(config.ckpt_path), "seed": options.seed, "family_options": changed}
    report.write_phase(folder, results, data.prompt_tasks, options.tuner, **saying)
    if options.videos:
        by_id = {subject.task.id: subject for subject in subjects}
        pairs = [examples(by_id[r.task], r, options, data.hparams["segments"], PHASE) for r in results]
        film_all(folder / "videos", pairs[: options.videos], policy, config.width)
    what = f"Prompts of {config.prompts} judged" if given else f"Prompts tuned: {options.rounds} rollouts a task by {options.tuner}"
    other = "".join(f", {name}={value}" for name, value in changed.items())
    report.print_table(results, f"{what}, seed {options.seed}{other}")
    filmed = ", videos/" if (folder / "videos").is_dir() else ""
    say(f"Written to {folder}: summary.json, tuning.csv, prompts/, figures/{filmed}.")


def saved_prompts(folder: Path, names: Sequence[str]) -> dict[str, Recommendation]:
    """The prompt of each task in a folder, and where its segments came from.

    Raises:
        UserError: if one is missing or broken.
    """
    paths = {name: folder / f"{name}.safetensors" for name in names}
    if missing := [name for name, path in paths.items() if not path.is_file()]:
        raise NotFoundError(
            f"--prompts={folder} has no prompt of {missing[0]}: {paths[missing[0]]} is missing. Name the tasks that it has prompts "
            "of with --tasks, or the prompts of a run with this checkpoint's tasks."
        )
    try:
        return {name: Recommendation(*Prompt.load_with_origin(path)) for name, path in paths.items()}
    except UserError as error:
        raise UserError(f"--prompts={folder}: {error}") from error


def new_folder(run: Path) -> Path:
    """`tune_N` in the run's folder, the next that is not there yet."""
    number = 0
    while (run / f"tune_{number}").exists():
        number += 1
    return run / f"tune_{number}"


if __name__ == "__main__":
    main()
