"""Tune prompts of a frozen checkpoint, the papers' own use, or judge saved prompts again on fresh episodes.

python -m pdt_lightning.tune --ckpt_path runs/metaworld/version_0/checkpoints/last.ckpt --rounds 250

Started by torchrun, its processes share tasks and rollouts.
"""

import shlex
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jsonargparse import Namespace

from pdt_lightning.commands.checkpoint_options import add_playing, checkpoint_parser, saved_options
from pdt_lightning.commands.flags import TUNE, flags_of
from pdt_lightning.commands.parser import Explaining
from pdt_lightning.core.distributed import gather, joined, place
from pdt_lightning.core.errors import NotFoundError, UserError, check_writable, command
from pdt_lightning.core.signals import Interrupted, StopRequest
from pdt_lightning.core.terminal import quiet, say
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.checkpoints import load, results_of
from pdt_lightning.model.pretrained import located
from pdt_lightning.results import report
from pdt_lightning.results.videos import film_results
from pdt_lightning.rollouts.engines import make_engine
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.tuning.on_ranks import tune_on_ranks
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import saved_prompts
from pdt_lightning.tuning.result import TaskResult
from pdt_lightning.tuning.subject import Subject, check_prompt, subjects_of

EXAMPLE = "runs/<name>/version_0/prompts"
PHASE = -1  # of no run, so that no episode is one that a run has tuned or judged with


def parser() -> Explaining:
    """The parser of this command."""
    parser = checkpoint_parser("tune", "--ckpt_path FILE", __doc__)
    add = parser.add_argument
    add(
        "--ckpt_path",
        type=str,
        required=True,
        help="The checkpoint whose prompts are tuned: a file, or the folder or the name of an exported model.",
    )
    add("--tasks", type=list[str] | None, default=None, help="Ids of the held-out tasks to tune. Null means all.")
    add("--prompts", type=str | None, default=None, help="A folder of saved prompts to judge; it needs --rounds 0.")
    add(
        "--out",
        type=str | None,
        default=None,
        help="The folder for the results. Null means tune_N in the run's folder; of an exported model in runs/<name>. "
        "From what is there a search goes on: after a stop, or with more --rounds.",
    )
    add("--oracle", type=bool, default=False, help="Whether to look for the best that can be found too.")
    add_playing(parser)
    parser.add_class_arguments(TuningOptions)
    return parser


def parsed(args: list[str]) -> Namespace:
    """Parse the arguments. Options that neither they nor a file name are as the checkpoint's run had them."""
    options = parser()
    saved = saved_options(options, args)
    saved.pop("tasks", None)
    names = {action.dest for action in options._actions}
    options.set_defaults({name: value for name, value in saved.items() if name in names})
    return options.parse_args(args)


@command(flags_of(TUNE))
def main(args: list[str]) -> None:
    """Run the command; `args` replace the command line."""
    quiet()
    with joined():
        _tune(args, parsed(args))


def _tune(args: list[str], config: Namespace) -> None:
    options = TuningOptions(**{name: config[name] for name in TuningOptions.__dataclass_fields__})
    if options.rounds and config.prompts is not None:
        raise UserError(f"--prompts={config.prompts} judges prompts as they are: add --rounds 0.")
    if config.prompts is not None and not Path(config.prompts).is_dir():
        raise NotFoundError(
            f"--prompts={config.prompts}: there is no such folder. Name one that a run has left, such as {EXAMPLE}."
        )
    engine = make_engine(config.engine, config.workers, config.width, config.step_timeout)
    folder = gather(Path(config.out) if config.out else new_folder(config.ckpt_path))[0]
    check_writable("--out", folder)
    first = place()[0] == 0
    if first:
        print("Reading the checkpoint and laying out the tasks ...", file=sys.stderr, flush=True)
    module, data = load(config.ckpt_path, config.family_options)
    names = data.chosen(config.tasks)
    prompts = None if config.prompts is None else saved_prompts(Path(config.prompts), names)
    data.prepare_candidates()
    subjects = subjects_of(data, names)
    if prompts is not None:
        for subject in subjects:
            try:
                check_prompt(prompts[subject.task.id].prompt, subject, data.hparams["segments"])
            except UserError as error:
                raise UserError(f"--prompts={config.prompts}: {error}") from error
    policy = Policy.of(module, config.precision, config.prompt_tokens)
    # What is played is kept, so that the same command with --out goes on: after a stop, or with more rounds.
    journals = folder / "journal" if options.rounds or options.verdict_episodes else None
    slots, request = data.hparams["segments"], StopRequest()
    request.listen()
    try:
        results = tune_on_ranks(
            policy, subjects, engine, options, slots, PHASE, config.oracle, journals, request, True, prompts
        )
    except Interrupted as where:
        again = [*args, f"--out={folder}"] if config.out is None else args
        if first:
            say(f"\nStopped {where}. Go on:\npython -m pdt_lightning.tune {shlex.join(again)}")
        raise SystemExit(128 + (request.signal or signal.SIGTERM)) from None
    finally:
        request.cease()
        engine.close()
    if not results:
        raise UserError(
            f"--ckpt_path={config.ckpt_path}: no episode of any task could be played; why stands above. "
            f"Mend that, and name another --out: {folder}/journal keeps what failed."
        )
    if first:
        _write(folder, results, config, options, data, subjects, policy)


def _write(
    folder: Path,
    results: Sequence[TaskResult],
    config: Namespace,
    options: TuningOptions,
    data: MultiTaskDataModule,
    subjects: Sequence[Subject],
    policy: Policy,
) -> None:
    changed = dict(config.family_options or {})
    saying: dict[str, Any] = {"checkpoint": str(config.ckpt_path), "seed": options.seed, "family_options": changed}
    report.write_phase(folder, results, data.prompt_tasks, options.tuner, **saying)
    if options.videos:
        slots = data.hparams["segments"]
        film_results(folder / "videos", results, subjects, options, slots, PHASE, policy, config.width)
    if config.prompts:
        what = f"Prompts of {config.prompts} judged"
    elif options.rounds:
        what = f"Prompts tuned: at most {options.rounds} rollouts a task by {options.tuner}"
    else:
        what = f"Prompts chosen without a rollout by {options.tuner}"
    other = "".join(f", {name}={value}" for name, value in changed.items())
    report.print_table(results, f"{what}, seed {options.seed}{other}")
    left = [
        "summary.json",
        "tuning.csv",
        *(f"{name}/" for name in ("prompts", "figures", "videos") if (folder / name).is_dir()),
    ]
    say(f"Written to {folder}: {', '.join(left)}.")


def new_folder(checkpoint: str) -> Path:
    """The next folder `tune_N` in the run's folder that does not exist yet; of an exported model in `runs/<name>`."""
    model, number = located(checkpoint), 0
    run = Path("runs") / model.name if model.is_dir() else results_of(model)
    while (run / f"tune_{number}").exists():
        number += 1
    return run / f"tune_{number}"


if __name__ == "__main__":
    main()
