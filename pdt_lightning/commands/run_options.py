"""The options of a run: ours before the trainer's, what follows from what, and our own defaults."""

from typing import Any

import lightning
from lightning.pytorch import Trainer
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI

from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.commands.configurations import ConfigurationFile
from pdt_lightning.commands.loggers import DEFAULT
from pdt_lightning.commands.parser import Explaining
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.checkpoints import FROM_DATA
from pdt_lightning.model.lit_pdt import LitPDT


class RunParser(Explaining, LightningArgumentParser):
    """The parser of `fit`: ours, and all that Lightning adds to its own."""


class RunOptions(LightningCLI):
    """What a run is told: the options in the order in which `--help` shows them, and which follow from others."""

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """Make the parser, whose `--config` knows the shipped configurations."""
        parser = RunParser(dump_header=[f"lightning.pytorch=={lightning.__version__}"], **kwargs)
        parser.add_argument(
            "-c",
            "--config",
            action=ConfigurationFile,
            help="A YAML file, or the name of a shipped one, such as metaworld.yaml.",
        )
        return parser

    def add_default_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add what is asked for first, since `--help` shows options in the order in which they are added."""
        parser.add_argument("--name", type=str, default="run", help="The name of the run's folder.")
        parser.add_argument("--seed", type=int, default=0, help="The seed of everything that is random.")
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="The checkpoint to go on from: a path, or `last` for that of the newest run of this name.",
        )
        parser.add_argument(
            "--init_from",
            type=str | None,
            default=None,
            help="A checkpoint whose weights a new training begins with. Data, learning rate and length may be others.",
        )
        super().add_default_arguments_to_parser(parser)

    def add_core_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Add our options before Lightning's."""
        parser.add_lightning_class_args(MultiTaskDataModule, "data")
        parser.add_lightning_class_args(LitPDT, "model")
        parser.add_lightning_class_args(PromptTuning, "tuning")
        parser.add_lightning_class_args(Trainer, "trainer")
        assert parser.groups is not None
        parser.groups["trainer"].title = "The trainer's options, which are Lightning's"

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Say which options follow from others, and set our defaults of the trainer's options."""
        for target in ("data.seed", "model.seed", "tuning.seed"):
            parser.link_arguments("seed", target)
        parser.link_arguments("tuning.validation_tasks", "data.tuned_training_tasks")
        parser.link_arguments("data.context_steps", "model.context_steps")
        parser.link_arguments("model.attention", "data.attention")
        for fact in FROM_DATA:
            parser.link_arguments(f"data.{fact}", f"model.{fact}", apply_on="instantiate")
        parser.set_defaults(
            {"trainer.default_root_dir": "runs", "trainer.enable_model_summary": False, "trainer.logger": DEFAULT}
        )
