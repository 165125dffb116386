"""A parser that explains what is wrong, and checks where Lightning's trainer takes more than makes sense."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NoReturn

import torch
from jsonargparse import ArgumentParser, Namespace

from pdt_lightning.commands.guest_help import guest_help, named_by
from pdt_lightning.core.errors import UserError, check_range, explained, suggestion

CPU_PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16", "bf16-true", "64-true", "64")
HELP = ("-h", "--help")
DEBUG = "--debug adds to an error where it was found."


def first_sentence(text: str | None) -> str:
    """Take the first sentence of a command's docstring, as the title of its help.

    >>> first_sentence("Tune prompts.\\n\\npython -m ...")
    'tune prompts.'
    """
    first = (text or "").split("\n\n")[0]
    return first[:1].lower() + first[1:]


def command_parser(command: str, usage: str, docstring: str | None) -> "Explaining":
    """Make the parser of a command, without options yet.

    Args:
        command: its name, such as `tune`.
        usage: its most important options.
        docstring: of its module; the first sentence becomes the title of `--help`.
    """
    prog = f"python -m pdt_lightning.{command}"
    what = f"pdt_lightning: {first_sentence(docstring)}"
    return Explaining(
        prog=prog, usage=f"{prog} {usage} [--OPTION=VALUE ...]", description=what, epilog=DEBUG, allow_abbrev=False
    )


class Explaining(ArgumentParser):
    """A parser whose errors name the option as it is typed and suggest the nearest one.

    The list of all that there are is left out.
    """

    guests = ""  # what `--help` says of the classes that the arguments name

    def parse_args(self, args: Sequence[str] | None = None, *more: Any, **options: Any) -> Namespace:  # type: ignore[override]
        """Parse as jsonargparse does. Help also shows the options of the guests that the arguments name."""
        rest = [arg for arg in args or () if arg not in HELP]
        if len(rest) < len(args or ()):
            try:
                config = super().parse_args(rest, *more, **options)
            except UserError:  # nothing has to be right yet, and a checkpoint need not be there
                config = Namespace({**self.get_defaults(), **named_by(rest)})
            self.guests = guest_help(dict(config.items()))
        config = super().parse_args(args, *more, **options)
        for name, value in config.items():
            if _holds_zero(value):
                raise UserError(f"--{name}={value!r}: no text or path holds the character 0. Leave it out.")
        return config

    def format_help(self, *formatter: Any) -> str:
        """Describe all options, those of guests last."""
        return super().format_help(*formatter) + self.guests

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what jsonargparse has found to be wrong, in our words."""
        if not self.exit_on_error:  # one of jsonargparse's own parsers, within
            super().error(message, ex)
        unknown = r"(?:Group|Option) '([\w.]+)' (?:does not accept option|is not accepted) ?'?([\w.]*)'?"
        message = re.sub(unknown, _unknown, explained(message, "--{}".format))
        if "unrecognized" in message:
            flags = [name for name in self._option_string_actions if name.startswith("--")]
            for name in dict.fromkeys(re.findall(r"--[\w.]+", message)):
                if name not in flags:
                    message += "." * (not message.endswith(".")) + (suggestion(name, flags) or _elsewhere(name, flags))
        raise UserError(message) from ex

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """Read a file as jsonargparse does. An error names the file."""
        try:
            return super().parse_path(path, *args, **kwargs)
        except (UserError, ValueError) as error:  # the latter of what is no text, or no path
            raise UserError(
                f"--config={path}: {error}. A configuration is YAML, such as that of conf/point.yaml."
            ) from error


def _holds_zero(value: Any) -> bool:
    """Whether the character 0, which no path may have, is in a text or in one of a collection's."""
    if isinstance(value, Mapping):
        value = [*value, *value.values()]
    return "\0" in value if isinstance(value, str) else isinstance(value, list) and any(map(_holds_zero, value))


def _elsewhere(name: str, flags: Sequence[str]) -> str:
    """Suggest an option of the same last name in another group, as a file of another command may have it."""
    last = name.lstrip("-").rpartition(".")[2]
    return next((f" Did you mean {other}?" for other in flags if other.lstrip("-").rpartition(".")[2] == last), "")


def _unknown(found: re.Match) -> str:
    return f"unrecognized option --{'.'.join(filter(None, found.groups()))}"


def about_trainer(message: str, options: Any) -> str:
    """Put the trainer's option that an error of Lightning's is about before the error.

    It is the option that the error names, or whose value it has.

    >>> about_trainer("`num_nodes` must be a positive integer.", {"num_nodes": 0})
    '--trainer.num_nodes=0: `num_nodes` must be a positive integer.'
    """
    named = [name for name in re.findall(r"`(?:Trainer\()?(\w+)", message) if name in options]
    named += [name for name, value in options.items() if isinstance(value, str) and repr(value) in message]
    return f"--trainer.{named[0]}={options[named[0]]}: {message}" if named else f"--trainer: {message}"


def missing_package(message: str) -> str:
    """Say which package a class among the trainer's options needs, as Lightning says it.

    The result is empty for other errors.

    >>> missing_package("Problem with given class_path 'loggers.WandbLogger': Requirement 'wandb' not met. Try")
    "--trainer: WandbLogger: Requirement 'wandb' not met. Try"
    """
    found = re.search(r"Problem with given class_path '(?:\w+\.)*(\w+)':\s*(Requirement .* not met.*)", message)
    return f"--trainer: {found[1]}: {found[2]}" if found else ""


def check_trainer(options: Any, updates_per_epoch: int) -> None:
    """Refuse options of the trainer that Lightning takes although they end in nothing, a crash or another precision.

    Args:
        options: all of them.
        updates_per_epoch: of the data.

    Raises:
        UserError: naming the option.
    """
    if not hasattr(options, "accumulate_grad_batches"):
        raise UserError(f"--trainer={options}: its options are a mapping, such as trainer: {{max_epochs: 3}}.")
    least = {
        "accumulate_grad_batches": 1,
        "check_val_every_n_epoch": 1,
        "log_every_n_steps": 0,
        "num_sanity_val_steps": -1,
    }
    for name, value in (*least.items(), ("gradient_clip_val", 0), ("overfit_batches", 0)):
        if options[name] is not None:
            check_range(f"--trainer.{name}", options[name], value)
    check_range("--data.updates_per_epoch", updates_per_epoch, 1)
    batches = updates_per_epoch * (options.accumulate_grad_batches or 1)
    limit = options.limit_train_batches
    for name, nothing in (
        ("max_epochs", options.max_epochs == 0),
        ("max_steps", options.max_steps == 0),
        ("limit_train_batches", limit is not None and (limit * batches if isinstance(limit, float) else limit) < 1),
    ):
        if nothing:
            raise UserError(
                f"--trainer.{name}={options[name]} trains nothing. Raise it; to tune alone there is pdt_lightning.tune."
            )
    every = options.val_check_interval
    if isinstance(every, int | float):
        check_range("--trainer.val_check_interval", every, 0, above=True)
    if options.check_val_every_n_epoch is not None and isinstance(every, int | float) and max(every, 1) > batches:
        raise UserError(
            f"--trainer.val_check_interval={every}: an epoch has --data.updates_per_epoch={updates_per_epoch} updates. "
            "Lower it, or set --trainer.check_val_every_n_epoch=null to count across epochs."
        )
    if options.barebones:
        raise UserError(
            "--trainer.barebones=True measures Lightning itself: it turns off the checkpoints and numbers that a run "
            "consists of. Leave it out; --trainer.profiler=simple tells where the time goes."
        )
    on_cpu = options.accelerator == "cpu" or (options.accelerator == "auto" and not torch.accelerator.is_available())
    if on_cpu and options.precision is not None and str(options.precision) not in CPU_PRECISIONS:
        raise UserError(
            f"--trainer.precision={options.precision} does not run on a CPU: choose one of {', '.join(CPU_PRECISIONS)}."
        )


def precision(accelerator: str) -> str:
    """`bf16-mixed` where the hardware that `accelerator` means gains by it, else `32-true`."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capable = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )
    return "bf16-mixed" if capable else "32-true"
