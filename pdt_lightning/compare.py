"""Compare tuners under one rollout budget on frozen checkpoints, all on the same fresh episodes.

python -m pdt_lightning.compare --ckpt_path runs/point/version_0/checkpoints/last.ckpt --rounds 250 --seeds 5 --out
report/
"""

import shlex
import sys
from contextlib import ExitStack
from pathlib import Path

from jsonargparse import Namespace

from pdt_lightning.commands.checkpoint_options import add_engine, add_prompt_tokens, checkpoint_parser, saved_options
from pdt_lightning.commands.flags import COMPARE, flags_of
from pdt_lightning.commands.parser import Explaining
from pdt_lightning.comparison import report
from pdt_lightning.comparison.figures import write_figures
from pdt_lightning.comparison.plan import BUDGETS, Plan, claim_folder, tuner_names
from pdt_lightning.comparison.run import run
from pdt_lightning.comparison.summary import Results
from pdt_lightning.core.errors import UserError, check_writable, command
from pdt_lightning.core.files import lock
from pdt_lightning.core.processes import cores_of_rank
from pdt_lightning.core.ranges import PositiveInt
from pdt_lightning.core.signals import Interrupted
from pdt_lightning.core.terminal import quiet, say
from pdt_lightning.data.option_types import Workers
from pdt_lightning.model.checkpoints import load
from pdt_lightning.rollouts.engine import Width
from pdt_lightning.rollouts.engines import engine_class
from pdt_lightning.rollouts.policy import Precision, check_prompt_tokens
from pdt_lightning.tuning.objective import check_objective
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.subject import subjects_of

WRITER = ".writer.lock"  # in the folder of the results: held by the process that writes them
NOT_COMPARED = {
    "tuner",
    "tuner_options",
    "yardstick_episodes",
    "videos",
    "seed",
    "verdict_seed",
}  # of the tuning options


def parser() -> Explaining:
    """The parser of this command."""
    parser = checkpoint_parser("compare", "--ckpt_path FILE --out FOLDER", __doc__)
    add = parser.add_argument
    add(
        "--ckpt_path",
        nargs="+",
        required=True,
        help="One checkpoint, or several of pretrainings by other seeds: files, or exported models.",
    )
    add(
        "--tuners",
        nargs="+",
        default=["all"],
        help="`all`, or names of tuners, or variants such as structured:exploration=ucb,credit=whole.",
    )
    add("--seeds", type=PositiveInt, default=5, help="How many seeds each task is tuned with.")
    add(
        "--budgets",
        type=list[PositiveInt],
        default=list(BUDGETS),
        help="After how many rollouts recommendations are judged, besides all of them.",
    )
    add("--out", type=str, required=True, help="The folder for the results. What is done there is not done again.")
    add("--tasks", type=list[str] | None, default=None, help="Ids of the held-out tasks. Null means all.")
    add(
        "--segments",
        type=PositiveInt | None,
        default=None,
        help="How many segments a prompt has. Null means as many as in pretraining.",
    )
    add_engine(parser)
    add("--workers", type=Workers | None, default=None, help="How many processes work. Null means one a core.")
    add("--width", type=Width, default=16, help="How many rows a forward pass has.")
    add("--precision", type=Precision, default="32-true", help="The precision of the transformer in rollouts.")
    add_prompt_tokens(parser)
    parser.add_class_arguments(TuningOptions, skip=NOT_COMPARED)
    parser.set_defaults({"rounds": 250, "verdict_episodes": 100})
    return parser


def parsed(args: list[str]) -> Namespace:
    """Parse the arguments. The objective is that of the checkpoint's run where neither they nor a file name another."""
    options = parser()
    saved = saved_options(options, args)
    options.set_defaults({name: saved[name] for name in ("objective",) if name in saved})
    return options.parse_args(args)


@command(flags_of(COMPARE))
def main(args: list[str]) -> None:
    """Run the command; `args` replace the command line."""
    quiet()
    config = parsed(args)
    folder = Path(config.out)
    engine_class(config.engine)
    check_writable("--out", folder)
    print("Reading the checkpoints and laying out the tasks ...", file=sys.stderr, flush=True)
    plan = planned(config, tuning_options(config))
    claim_folder(folder, plan)
    again = "python -m pdt_lightning.compare " + shlex.join(args)
    # Of several processes at work in this folder the first one writes the tables, or whoever is left of them.
    with ExitStack() as held:
        writes = lock(folder / WRITER)
        held.callback(lambda: writes and writes.close())
        try:
            run(plan, folder, config.workers or cores_of_rank())
        except Interrupted as stop:
            say(f"\nStopped. What was played is kept. Go on:\n{again}")
            raise SystemExit(128 + int(str(stop))) from None
        writes = writes or lock(folder / WRITER)
        if writes is None:
            say("All is played. Another process writes the tables.")
            return
        results = Results(plan, folder)
        summary = report.write(results, folder, again)
        write_figures(results, summary, folder)
    report.print_table(summary)
    say(f"Written to {folder}: summary.md, summary.json, results.csv, recommended.csv, figures/.")


def tuning_options(config: Namespace) -> TuningOptions:
    """The options of the searches."""
    return TuningOptions(
        **{name: config[name] for name in TuningOptions.__dataclass_fields__ if name not in NOT_COMPARED}
    )


def planned(config: Namespace, options: TuningOptions) -> Plan:
    """The plan, with checkpoints, tasks and segments that are there.

    Raises:
        UserError: naming the option.
    """
    for number, path in enumerate(config.ckpt_path):
        module, data = load(path, config.family_options)
        if config.prompt_tokens is not None:
            check_prompt_tokens(module.model, config.prompt_tokens)
        names, trained = tuple(data.chosen(config.tasks)), data.hparams["segments"]
        if number == 0:
            first = (names, trained)
            data.prepare_candidates()
            check_objective(options.objective, subjects_of(data, names))
        elif (names, trained) != first:
            raise UserError(
                f"--ckpt_path: {path} has other held-out tasks, or another number of segments in a prompt, than "
                f"{config.ckpt_path[0]}. Compare them apart, or name tasks that both have with --tasks."
            )
    names, trained = first
    if config.segments is not None and config.segments > trained:
        raise UserError(
            f"--segments={config.segments}: the checkpoint was trained with prompts of {trained}. Ask for at most as "
            "many, or pretrain with more."
        )
    slots = config.segments or trained
    paths = tuple(config.ckpt_path)
    family_options = dict(config.family_options or {})
    run = (config.precision, config.width, family_options, tuple(config.budgets), config.engine, config.prompt_tokens)
    return Plan(paths, names, tuner_names(config.tuners), config.seeds, slots, options, *run)


if __name__ == "__main__":
    main()
