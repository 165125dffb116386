"""Play each task's recommended prompt on every other task and checkpoint, and draw how far prompts transfer.

python -m pdt_lightning.transfer --ckpt_path runs/point/version_0/checkpoints/last.ckpt --out transfer/
"""

import shlex
import signal
import sys
from pathlib import Path

from pdt_lightning.commands.checkpoint_options import add_playing, checkpoint_parser
from pdt_lightning.commands.flags import TUNE, flags_of
from pdt_lightning.commands.parser import Explaining
from pdt_lightning.comparison import transfer_report
from pdt_lightning.comparison.transfer import check_places, opened, planned_rollouts, transferred
from pdt_lightning.core.errors import NotFoundError, UserError, check_writable, command
from pdt_lightning.core.ranges import PositiveInt
from pdt_lightning.core.signals import Interrupted, StopRequest
from pdt_lightning.core.terminal import progress_bar, quiet, say
from pdt_lightning.model.checkpoints import results_of
from pdt_lightning.model.pretrained import located
from pdt_lightning.rollouts.engines import make_engine


def parser() -> Explaining:
    """The parser of this command."""
    parser = checkpoint_parser("transfer", "--ckpt_path FILE --out FOLDER", __doc__)
    add = parser.add_argument
    add("--ckpt_path", nargs="+", required=True, help="Checkpoints, or exported models, whose prompts have one shape.")
    add(
        "--prompts",
        nargs="+",
        default=None,
        help="A folder of saved prompts for each checkpoint, in the same order. Null means those of its run.",
    )
    add("--out", type=str, required=True, help="The folder for the results. What was played is not played again.")
    add("--tasks", type=list[str] | None, default=None, help="Ids of the held-out tasks. Null means all.")
    add("--episodes", type=PositiveInt, default=25, help="How many fresh episodes each prompt is played for on a task.")
    add("--seed", type=int, default=0, help="The seed of these episodes.")
    add_playing(parser)
    return parser


@command(flags_of(TUNE))
def main(args: list[str]) -> None:
    """Run the command; `args` replace the command line."""
    quiet()
    config = parser().parse_args(args)
    folder = Path(config.out)
    folders = [Path(own) for own in config.prompts or ()]
    folders = folders or [results_of(path) / "prompts" for path in config.ckpt_path]
    if len(folders) != len(config.ckpt_path):
        raise UserError(
            f"--prompts names {len(folders)} folders, and --ckpt_path {len(config.ckpt_path)} checkpoints. Name one "
            "folder for each checkpoint."
        )
    check_writable("--out", folder)
    print("Reading the checkpoints and laying out the tasks ...", file=sys.stderr, flush=True)
    places = []
    for path, prompts in zip(config.ckpt_path, folders, strict=True):
        if located(path).exists() and not prompts.is_dir():
            raise NotFoundError(f"--prompts: {prompts}, for {path}, is no folder. Name one that a run has left.")
        places.append(
            opened(path, prompts, config.tasks, config.precision, config.prompt_tokens, config.family_options)
        )
    check_places(places)
    engine = make_engine(config.engine, config.workers, config.width, config.step_timeout)
    request, again = StopRequest(), "python -m pdt_lightning.transfer " + shlex.join(args)
    request.listen()
    total = planned_rollouts(places, config.episodes)
    try:
        with progress_bar("Playing prompts on other tasks", total, "rollout") as advance:

            def count(number: int) -> None:
                advance(number)
                if request.heard:
                    raise Interrupted

            rows = transferred(places, engine, config.episodes, config.seed, folder, count)
    except Interrupted:
        say(f"\nStopped. What was played is kept. Go on:\n{again}")
        raise SystemExit(128 + (request.signal or signal.SIGTERM)) from None
    finally:
        request.cease()
        engine.close()
    say(transfer_report.write(rows, config.ckpt_path, again, folder))
    say(f"Written to {folder}: transfer.csv, summary.json, summary.md, figures/.")


if __name__ == "__main__":
    main()
