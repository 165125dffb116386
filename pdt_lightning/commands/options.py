"""The command line's own errors: a parser that explains, and the trainer's options where Lightning takes more than make sense."""

import re
from typing import Any, NoReturn

import torch
from jsonargparse import ArgumentParser, Namespace

from pdt_lightning.core.errors import UserError, as_typed, check_range, suggestion

CPU_PRECISIONS = ("32-true", "32", "bf16-mixed", "bf16", "bf16-true", "64-true", "64")
DEBUG = "--debug adds to an error where it was found."


def first_sentence(text: str | None) -> str:
    """Of a command's docstring, without its example, as the title of its help.

    >>> first_sentence("Tune prompts.\\n\\npython -m ...")
    'tune prompts.'
    """
    first = (text or "").split("\n\n")[0]
    return first[:1].lower() + first[1:]


class Explaining(ArgumentParser):
    """A parser whose errors name the option as it is typed and suggest the nearest one, without the list of all that there are."""

    def error(self, message: str, ex: Exception | None = None) -> NoReturn:
        """Raise what is wrong, as jsonargparse found it."""
        if not self.exit_on_error:  # one of jsonargparse's own parsers, within
            super().error(message, ex)
        unknown = r"(?:Group|Option) '([\w.]+)' (?:does not accept option|is not accepted) ?'?([\w.]*)'?"
        message = re.sub(unknown, _unknown, as_typed(message))
        known = [name for name in self._option_string_actions if name.startswith("--")]
        for name in dict.fromkeys(re.findall(r"--[\w.]+", message)):
            if name not in known and "unrecognized" in message:
                message += suggestion(name, known)
        raise UserError(message) from ex

    def parse_path(self, path: Any, *args: Any, **kwargs: Any) -> Namespace:
        """As jsonargparse's, with the file named."""
        try:
            return super().parse_path(path, *args, **kwargs)
        except (UserError, UnicodeDecodeError) as error:
            raise UserError(f"--config={path}: {error}. A configuration is YAML, such as that of conf/point.yaml.") from error


def _unknown(found: re.Match) -> str:
    return f"unrecognized option --{'.'.join(filter(None, found.groups()))}"


def about_trainer(message: str, options: Any) -> str:
    """An error of Lightning's with the trainer's option that it is about: named in its code, or by its value.

    >>> about_trainer("`num_nodes` must be a positive integer.", {"num_nodes": 0})
    '--trainer.num_nodes=0: `num_nodes` must be a positive integer.'
    """
    named = [name for name in re.findall(r"`(?:Trainer\()?(\w+)", message) if name in options]
    named += [name for name, value in options.items() if isinstance(value, str) and repr(value) in message]
    return f"--trainer.{named[0]}={options[named[0]]}: {message}" if named else f"--trainer: {message}"


def check_trainer(options: Any, updates_per_epoch: int) -> None:
    """Refuse those of the trainer's options that Lightning takes, and that end in nothing, a crash or another precision.

    Args:
        options: all of them.
        updates_per_epoch: of the data.

    Raises:
        UserError: naming the option.
    """
    if not hasattr(options, "accumulate_grad_batches"):
        raise UserError(f"--trainer={options}: its options are a mapping, such as trainer: {{max_epochs: 3}}.")
    least = {"accumulate_grad_batches": 1, "check_val_every_n_epoch": 1, "log_every_n_steps": 0, "num_sanity_val_steps": -1}
    for name, value in (*least.items(), ("gradient_clip_val", 0), ("overfit_batches", 0)):
        if options[name] is not None:
            check_range(f"--trainer.{name}", options[name], value)
    batches = updates_per_epoch * options.accumulate_grad_batches
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
            f"--trainer.val_check_interval={every}: an epoch has --data.updates_per_epoch={updates_per_epoch} updates. Lower it, "
            "or set --trainer.check_val_every_n_epoch=null to count across epochs."
        )
    if options.barebones:
        raise UserError(
            "--trainer.barebones=True measures Lightning itself: it turns off the checkpoints and numbers that a run consists of. "
            "Leave it out; --trainer.profiler=simple tells where the time goes."
        )
    on_cpu = options.accelerator == "cpu" or (options.accelerator == "auto" and not torch.accelerator.is_available())
    if on_cpu and options.precision is not None and str(options.precision) not in CPU_PRECISIONS:
        raise UserError(
            f"--trainer.precision={options.precision} does not run on a CPU: choose one of {', '.join(CPU_PRECISIONS)}."
        )
