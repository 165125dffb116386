"""The command line of a run: configuration, run folder, resuming."""

import os
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import LearningRateMonitor, ModelCheckpoint, RichProgressBar, TQDMProgressBar
from lightning.pytorch.cli import LightningArgumentParser, LightningCLI
from lightning.pytorch.loggers import TensorBoardLogger
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException

from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.callbacks.board import SaveAndShowConfig
from pdt_lightning.callbacks.interruption import Interruption
from pdt_lightning.commands.configurations import ConfigurationFile
from pdt_lightning.commands.options import DEBUG, Explaining, about_trainer, check_trainer
from pdt_lightning.commands.resume import check_same
from pdt_lightning.core.errors import NotFoundError, UserError, check_range, check_writable
from pdt_lightning.core.terminal import in_terminal, quiet
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model import checkpoints
from pdt_lightning.model.lit_pdt import LitPDT


def precision(accelerator: str) -> str:
    """`bf16-mixed` where the hardware that `accelerator` means gains by it, else `32-true`."""
    if accelerator != "cpu" and torch.cuda.is_available():
        return "bf16-mixed" if torch.cuda.is_bf16_supported() else "32-true"
    capable = (
        getattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)()
        or getattr(torch.cpu, "_is_amx_tile_supported", lambda: False)()
    )
    return "bf16-mixed" if capable else "32-true"


class RunParser(Explaining, LightningArgumentParser):
    """Of a run."""


class RunCLI(LightningCLI):
    """Builds trainer, model and data from YAML files and flags; `run_folder` is where the run lives."""

    def __init__(self, args: list[str] | None = None):
        quiet()
        super().__init__(
            LitPDT,
            MultiTaskDataModule,
            args=args,
            run=False,
            seed_everything_default=False,
            save_config_callback=SaveAndShowConfig,
            save_config_kwargs={"overwrite": True},
            parser_kwargs={
                "parser_mode": "omegaconf+",
                "prog": "python -m pdt_lightning.fit",
                "allow_abbrev": False,
                "epilog": DEBUG,
            },
        )

    def init_parser(self, **kwargs: Any) -> LightningArgumentParser:
        """The parser, whose `--config` knows the shipped configurations."""
        parser = RunParser(dump_header=[f"lightning.pytorch=={lightning.__version__}"], **kwargs)
        parser.add_argument(
            "-c", "--config", action=ConfigurationFile, help="YAML file, or the name of a shipped one, such as metaworld.yaml."
        )
        return parser

    def add_arguments_to_parser(self, parser: LightningArgumentParser) -> None:
        """Options beside those of trainer, model and data, and what follows from what."""
        parser.add_argument("--name", type=str, default="run", help="Name of the run's folder.")
        parser.add_argument("--seed", type=int, default=0, help="Seed of everything.")
        parser.add_argument(
            "--ckpt_path",
            type=str | None,
            default=None,
            help="Checkpoint to go on from: a path, or `last`: of the newest run of this name.",
        )
        parser.add_lightning_class_args(PromptTuning, "tuning")
        for target in ("data.seed", "model.seed", "tuning.seed"):
            parser.link_arguments("seed", target)
        parser.link_arguments("tuning.validation_tasks", "data.tuned_training_tasks")
        parser.link_arguments("data.context_steps", "model.context_steps")
        parser.link_arguments("model.attention", "data.attention")
        for fact in ("state_size", "action_size", "max_timesteps"):
            parser.link_arguments(f"data.{fact}", f"model.{fact}", apply_on="instantiate")
        parser.set_defaults({"trainer.default_root_dir": "runs", "trainer.enable_model_summary": False})

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse; what OmegaConf cannot resolve is the user's error too."""
        try:
            self.config = parser.parse_args(args)
        except OmegaConfBaseException as error:
            raise UserError(f"{str(error).splitlines()[0]}. Correct what stands in ${{...}}.") from error
        if not isinstance(self.config.seed_everything, bool):
            check_range("--seed_everything", self.config.seed_everything, 0, 2**32 - 1)

    def before_instantiate_classes(self) -> None:
        """Find the run folder, before the trainer is built."""
        config = self.config
        check_trainer(config.trainer, config.data.updates_per_epoch)
        if not config.name or Path(config.name).is_absolute() or ".." in Path(config.name).parts:
            raise UserError(f"--name={config.name}: give a name for a folder in --trainer.default_root_dir.")
        self.run_folder, self.checkpoint = find_run(Path(config.trainer.default_root_dir), config.name, config.ckpt_path)
        self.start = "from the start"
        self._saved: dict[str, Any] = {}
        if self.checkpoint is not None:
            saved = checkpoints.read(self.checkpoint)
            self._saved = {name: saved[name] for name in ("global_step", "epoch")}
            self.start = f"from {self.checkpoint}, after update {self._saved['global_step']:,} in epoch {self._saved['epoch']}"
        if config.ckpt_path == "last":
            self.start = f"the newest of this name, {self.start}" + ("" if self._saved else ", since it has no checkpoint yet")
        config.ckpt_path = None  # the saved configuration says what the run is, not where it was taken up

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """The trainer, with precision, logger and checkpoints where they are left to us.

        What is decided here stays out of the saved configuration, which may start another run, elsewhere.
        """
        wanted = self.config_init.trainer
        self.precision_reason = "as asked"
        if wanted.precision is None:
            kwargs["precision"] = precision(wanted.accelerator)
            self.precision_reason = "chosen for this hardware"
        if wanted.logger is None or wanted.logger is True:
            version = int(self.run_folder.name.removeprefix("version_"))
            home = self.run_folder.parent
            kwargs["logger"] = TensorBoardLogger(
                home.parent, home.name, version, default_hp_metric=False, purge_step=self._purge_step()
            )
        folder = self.run_folder / "checkpoints"
        every_validation: dict[str, Any] = {"enable_version_counter": False, "save_on_train_epoch_end": False}
        callbacks = [
            *(wanted.callbacks or []),
            ModelCheckpoint(folder, "best", monitor="val/action_error", **every_validation),
            ModelCheckpoint(folder, "last", **every_validation),
        ]
        self.interruption = Interruption(folder)
        callbacks.append(self.interruption)
        if wanted.logger is not False:
            callbacks.append(LearningRateMonitor("step"))
        if wanted.enable_progress_bar is not False:
            # In a log file tqdm's shows progress too, which the rich one does not.
            callbacks.append(RichProgressBar(refresh_rate=20) if in_terminal() else TQDMProgressBar(refresh_rate=20))
        try:
            trainer = super().instantiate_trainer(callbacks=callbacks, **kwargs)
        # The trainer has its options from the user alone, so that what it raises on them is about them.
        except (MisconfigurationException, ValueError, TypeError, ImportError) as error:
            raise UserError(about_trainer(str(error), self.config.trainer)) from error
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # the trainer has it, its stub has not
            if isinstance(callback, PromptTuning):
                callback.folder, callback.request = self.run_folder, self.interruption.request
        return trainer

    def after_instantiate_classes(self) -> None:
        """Refuse what would only be found out after work was done."""
        data, trainer = self.datamodule, self.trainer
        cores = os.cpu_count() or 1
        if trainer.num_devices > max(2, cores) and isinstance(trainer.accelerator, CPUAccelerator):
            raise UserError(
                f"--trainer.devices={trainer.num_devices}: there are {cores} cores. Lower it to at most {max(2, cores)}."
            )
        data.check(trainer.num_devices * trainer.num_nodes)
        for callback in trainer.callbacks:  # type: ignore[attr-defined]  # as above
            if isinstance(callback, PromptTuning):
                callback.check(data)
        check_writable("--trainer.default_root_dir", self.run_folder)
        if self.checkpoint is not None:
            check_same(self.checkpoint, self.model, data)

    def _purge_step(self) -> int | None:
        """From where on TensorBoard hides what an earlier process logged into this folder."""
        if self.checkpoint is not None:
            return int(self._saved["global_step"])
        return 0 if self.run_folder.exists() else None


def find_run(root: Path, name: str, ckpt_path: str | None) -> tuple[Path, Path | None]:
    """The run folder `root/name/version_N` and the checkpoint to go on from.

    Without `ckpt_path` a new version begins. `last` goes on in the newest version: from its last checkpoint, or from the start if
    it was stopped before the first one. A path goes on in the version that the checkpoint lies in.

    Raises:
        UserError: if there is nothing to go on from.
    """
    home = root / name
    versions = sorted((int(p.name[8:]), p) for p in home.glob("version_*") if p.name[8:].isdigit()) if home.is_dir() else []
    if ckpt_path is None:
        return home / f"version_{versions[-1][0] + 1 if versions else 0}", None
    if ckpt_path != "last":
        path = Path(ckpt_path)
        inside = path.parent.name == "checkpoints" and path.parent.parent.name.startswith("version_")
        return (path.parent.parent if inside else find_run(root, name, None)[0]), path
    if not versions:
        raise NotFoundError(f"--ckpt_path=last: there is no run under {home}. Leave --ckpt_path out to start one.")
    folder = versions[-1][1]
    checkpoint = folder / "checkpoints" / "last.ckpt"
    return folder, checkpoint if checkpoint.is_file() else None
