"""Compare tuners under one rollout budget on frozen checkpoints, all on the same fresh episodes.

python -m pdt_lightning.compare --ckpt_path runs/point/version_0/checkpoints/last.ckpt --rounds 250 --seeds 5 --out report/
"""

import os
import shlex
import sys
from pathlib import Path

from pdt_lightning.commands.options import DEBUG, Explaining, first_sentence
from pdt_lightning.comparison import report
from pdt_lightning.comparison.figures import write_figures
from pdt_lightning.comparison.plan import Plan, claim, named
from pdt_lightning.comparison.run import run
from pdt_lightning.comparison.summary import Results
from pdt_lightning.core.errors import UserError, check_range, check_writable, command
from pdt_lightning.core.signals import Interrupted
from pdt_lightning.core.terminal import quiet, say
from pdt_lightning.model.checkpoints import load
from pdt_lightning.rollouts.policy import dtype_of
from pdt_lightning.tune import add_family_options, saved_options, without_groups
from pdt_lightning.tuning.objective import decide
from pdt_lightning.tuning.options import TuningOptions

NOT_COMPARED = {"tuner", "tuner_options", "yardstick_episodes", "videos", "seed", "verdict_seed"}  # of the tuning options


def parser(saved: dict) -> Explaining:
    """The command's options; how the run was tuned, `saved`, are the defaults of the bandit's."""
    prog = "python -m pdt_lightning.compare"
    what = f"pdt_lightning: {first_sentence(__doc__)}"
    made = Explaining(
        prog=prog,
        usage=f"{prog} --ckpt_path FILE --out FOLDER [--OPTION=VALUE ...]",
        description=what,
        epilog=DEBUG,
        allow_abbrev=False,
    )
    made.add_argument("--ckpt_path", nargs="+", required=True, help="Checkpoint; or several, of pretrainings by other seeds.")
    made.add_argument(
        "--tuners", nargs="+", default=["all"], help="`all`, names, or variants such as structured:exploration=ucb,credit=whole."
    )
    made.add_argument("--seeds", type=int, default=5, help="Seeds of tuning, on each task.")
    made.add_argument("--out", type=str, required=True, help="Folder for the results; what is done there is not done again.")
    made.add_argument("--tasks", type=list[str] | None, default=None, help="Ids of the held-out tasks; null: all.")
    add_family_options(made)
    made.add_argument("--segments", type=int | None, default=None, help="In a prompt; null: as many as in pretraining.")
    made.add_argument("--workers", type=int | None, default=None, help="Processes; null: one a core.")
    made.add_argument("--width", type=int, default=16, help="Rows in a forward pass.")
    made.add_argument("--precision", type=str, default="32-true", help="Of the transformer: 32-true, or bf16-true.")
    made.add_class_arguments(TuningOptions, skip=NOT_COMPARED)
    kept = {name: saved[name] for name in ("objective",) if name in saved}
    made.set_defaults({"rounds": 250, "verdict_episodes": 100, **kept})
    return made


@command(without_groups)
def main(args: list[str]) -> None:
    """Run the command; `args` replace the command line."""
    quiet()
    config = parser(saved_options(args)).parse_args(args)
    folder = Path(config.out)
    check_range("--workers", config.workers or 1, 1, 1024)
    check_range("--width", config.width, 1, 65_536)
    dtype_of(config.precision)
    check_writable("--out", folder)
    print("Reading the checkpoints and laying out the tasks ...", file=sys.stderr, flush=True)
    given = {name: config[name] for name in TuningOptions.__dataclass_fields__ if name not in NOT_COMPARED}
    plan = planned(config, TuningOptions(**given))
    claim(folder, plan)
    rank, ranks = place()
    mine = [job for job in plan.jobs()[rank::ranks] if not job.done(folder)]
    workers = min(config.workers or os.cpu_count() or 1, max(1, len(mine)))
    again = "python -m pdt_lightning.compare " + shlex.join(args)
    try:
        run(plan, mine, folder, workers)
    except Interrupted as stop:
        say(f"\nStopped. What was played is kept. Go on:\n{again}")
        raise SystemExit(128 + int(str(stop))) from None
    everything = [*plan.jobs(), *plan.oracles()]
    if left := [job for job in everything if not job.done(folder)]:
        say(f"This rank is done. Others are at {len(left)} of {len(everything)} jobs; the last one to end does the rest.")
        return
    results = Results(plan, folder)
    summary = report.write(results, folder, again)
    write_figures(results, summary, folder)
    report.print_table(summary)
    say(f"Written to {folder}: summary.md, summary.json, results.csv, recommended.csv, figures/.")


def planned(config, options: TuningOptions) -> Plan:
    """The plan, with checkpoints, tasks and segments that are there.

    Raises:
        UserError: naming the option.
    """
    for number, path in enumerate(config.ckpt_path):
        _, data = load(path, config.family_options)
        names, trained = tuple(data.chosen(config.tasks)), data.hparams["segments"]
        if number == 0:
            first = (names, trained)
            data.prepare_candidates()
            for name in names:
                decide(options.objective, data.prompt_tasks[name], data.segments(name).episodes)
        elif (names, trained) != first:
            raise UserError(
                f"--ckpt_path: {path} has other held-out tasks, or another number of segments in a prompt, than "
                f"{config.ckpt_path[0]}. Compare them apart, or name tasks that both have with --tasks."
            )
    names, trained = first
    if config.segments is not None:
        check_range("--segments", config.segments, 1)
        if config.segments > trained:
            raise UserError(
                f"--segments={config.segments}: the checkpoint was trained with prompts of {trained}. Ask for at most as many, or "
                "pretrain with more."
            )
    slots = config.segments or trained
    paths = tuple(config.ckpt_path)
    given = dict(config.family_options or {})
    return Plan(paths, names, named(config.tuners), config.seeds, slots, options, config.precision, config.width, given)


def place() -> tuple[int, int]:
    """Rank and number of ranks, as torchrun or Slurm tell them."""
    for rank, ranks in (("RANK", "WORLD_SIZE"), ("SLURM_PROCID", "SLURM_NTASKS")):
        if rank in os.environ and ranks in os.environ:
            return int(os.environ[rank]), int(os.environ[ranks])
    return 0, 1


if __name__ == "__main__":
    main()
