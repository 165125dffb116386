"""What `tune`, `compare` and `transfer` share: they take a checkpoint, and the first two its run's options too."""

from collections.abc import Sequence
from typing import Any

from pdt_lightning.commands.configurations import ConfigurationFile
from pdt_lightning.commands.parser import Explaining, command_parser
from pdt_lightning.core.errors import UserError
from pdt_lightning.model import checkpoints
from pdt_lightning.model.exported import tuning_options
from pdt_lightning.rollouts.engine import StepTimeout, Width, Workers
from pdt_lightning.rollouts.policy import Precision, PromptTokens

ASKS = ("-h", "--help", "--print_config")  # for something else than to run the command
BEFORE_GUESTS = ("features", "reward_model", "exploration", "credit")  # which versions before 0.2 kept beside the tuner


def checkpoint_parser(command: str, usage: str, docstring: str | None) -> Explaining:
    """Make a parser that takes `--config` and `--family_options`.

    Args:
        command: its name, such as `tune`.
        usage: its most important options.
        docstring: of its module; the first sentence becomes the title of `--help`.
    """
    parser = command_parser(command, usage, docstring)
    parser.add_argument(
        "-c", "--config", action=ConfigurationFile, help="A YAML file with options of this command. Flags after it win."
    )
    parser.add_argument(
        "--family_options",
        type=dict[str, Any] | None,
        default=None,
        help="Options of the task family in place of those of the run. They give other candidates, such as "
        "--family_options.expert_share=0.5, or other tasks, such as --family_options.split=training.",
    )
    return parser


def add_playing(parser: Explaining) -> None:
    """Add the options that say how episodes are played."""
    add = parser.add_argument
    add_engine(parser)
    add("--workers", type=Workers | None, default=0, help="How many processes play. 0 means this one, null one a core.")
    add(
        "--step_timeout",
        type=StepTimeout | None,
        default=300.0,
        help="Seconds after which an environment that a worker waits for is taken to hang. Null means never.",
    )
    add("--width", type=Width, default=8, help="How many rows a forward pass has.")
    add("--precision", type=Precision, default="32-true", help="The precision of the transformer in rollouts.")
    add_prompt_tokens(parser)


def add_prompt_tokens(parser: Explaining) -> None:
    """Add the option that says how many tokens are remembered of a prompt."""
    parser.add_argument(
        "--prompt_tokens",
        type=PromptTokens | None,
        default=None,
        help="How many tokens a rollout remembers of a prompt, each the mean of neighbouring ones. Null means all.",
    )


def add_engine(parser: Explaining) -> None:
    """Add the option that says what plays episodes."""
    parser.add_argument(
        "--engine", type=str, default="pool", help="What plays: pool, ours, or one of your own, by its class path."
    )


def saved_options(parser: Explaining, args: Sequence[str]) -> dict[str, Any]:
    """Read the tuning options from the checkpoint that the arguments name; none where they ask for help alone.

    Options of a tuner are left out where the arguments name another tuner.

    Args:
        parser: of the command.
        args: of the command.

    Raises:
        UserError: on arguments that are wrong, or a checkpoint that is none.
    """
    to_parse = [arg for arg in args if not arg.startswith(ASKS)]
    try:
        options = parser.parse_args(to_parse, defaults=False)
    except UserError:
        if len(to_parse) < len(args):
            return {}  # help comes without a checkpoint too
        raise
    path = options.ckpt_path[0] if isinstance(options.ckpt_path, list) else options.ckpt_path
    saved = dict(tuning_options(checkpoints.read(path)))
    earlier = {name: saved.pop(name) for name in BEFORE_GUESTS if name in saved}
    if "tuner_options" not in saved and saved.get("tuner") == "structured":
        saved["tuner_options"] = earlier
    if options.get("tuner") not in (None, saved.get("tuner")):
        saved.pop("tuner_options", None)  # which are another tuner's
    return saved
