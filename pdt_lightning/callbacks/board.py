"""What TensorBoard shows of a run beside its curves: configuration, a row in the table of hyper-parameters, a layout of charts."""

from collections.abc import Iterator, Mapping
from typing import Any

import lightning
from lightning.pytorch.cli import SaveConfigCallback
from lightning.pytorch.loggers import TensorBoardLogger
from torch.utils.tensorboard import SummaryWriter
from torch.utils.tensorboard.summary import hparams

# What a run is compared by. TensorBoard takes the last value of each curve; one without a curve stays empty.
METRICS = (
    *(f"tuning/{kind}_{key}" for kind in ("tuned", "untuned", "oracle") for key in ("return", "success")),
    "val/action_error",
    "epoch",
)
LAYOUT = {
    "Prompts of the held-out tasks": {
        "success: untuned, tuned, oracle": ["Multiline", [f"^tuning/{kind}_success$" for kind in ("untuned", "tuned", "oracle")]],
        "return: untuned, tuned, oracle": ["Multiline", [f"^tuning/{kind}_return$" for kind in ("untuned", "tuned", "oracle")]],
    },
    "Training": {
        "loss": ["Multiline", ["^train/loss$"]],
        "action error: validation, held-out tasks": ["Multiline", ["^val/action_error$", "^heldout/action_error$"]],
    },
}
# Of the trainer's many options, those that change results. The length of a run is not among them: it may be another when the run is
# taken up again, and TensorBoard keeps what it read first. The epoch reached is a metric instead.
TRAINER = ("precision", "accumulate_grad_batches", "gradient_clip_val")
# Of other groups, those that change none, or follow from others.
NO_MATTER = ("seed", "progress", "workers", "collection_workers", "tuned_training_tasks")


class SaveAndShowConfig(SaveConfigCallback):
    """Saves the configuration as Lightning does, and shows it in TensorBoard."""

    def save_config(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Once a process, on the first rank."""
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                describe(logger.experiment, self.config.as_dict(), self.parser.dump(self.config, skip_none=False))


def describe(board: SummaryWriter, config: Mapping[str, Any], text: str) -> None:
    """Write everything into the run's own event file, so that the curves of its phases are no runs of their own in the tables.

    Args:
        board: of the run.
        config: with the groups `data`, `model`, `tuning` and `trainer`, and `seed`.
        text: the same as YAML.
    """
    board.add_text("configuration", "".join(f"    {line}\n" for line in text.splitlines()), 0)
    board.add_custom_scalars(LAYOUT)
    # Not by `add_hparams`, which makes a run of its own, and without values, which would be points on the curves.
    for summary in hparams(dict(plain_options(config)), dict.fromkeys(METRICS, 0.0)):
        board._get_file_writer().add_summary(summary, 0)


def plain_options(config: Mapping[str, Any]) -> Iterator[tuple[str, str | float]]:
    """Options that decide the results, by their dotted names, without those that are null."""
    trainer = {name: config["trainer"][name] for name in TRAINER}
    groups = {
        group: {name: value for name, value in config[group].items() if name not in NO_MATTER}
        for group in ("data", "model", "tuning")
    }
    yield from _flat({"seed": config["seed"], **groups, "trainer": trainer}, "")


def _flat(options: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str | float]]:
    for name, value in options.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        elif value is not None:
            yield prefix + name, value if isinstance(value, float | int) and not isinstance(value, bool) else str(value)
