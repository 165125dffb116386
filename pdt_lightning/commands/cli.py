"""The command line of a run: it reads the configuration, gives the run its folder, and goes on from a checkpoint."""

import os
import shutil
import signal
from collections.abc import Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import IO, Any

from lightning.pytorch import Trainer
from lightning.pytorch.accelerators import CPUAccelerator
from lightning.pytorch.callbacks import (
    Callback,
    Checkpoint,
    LearningRateFinder,
    LearningRateMonitor,
    ModelCheckpoint,
    ProgressBar,
    RichProgressBar,
)
from lightning.pytorch.cli import LightningArgumentParser
from lightning.pytorch.plugins.io import TorchCheckpointIO
from lightning.pytorch.utilities.exceptions import MisconfigurationException
from omegaconf.errors import OmegaConfBaseException

from pdt_lightning.callbacks import PromptTuning, TaskSuccess
from pdt_lightning.callbacks.board import SaveAndShowConfig
from pdt_lightning.callbacks.interruption import Best, Interruption, WholeFiles
from pdt_lightning.callbacks.progress import ProgressLines
from pdt_lightning.commands.loggers import loggers_of
from pdt_lightning.commands.monitors import check_monitors
from pdt_lightning.commands.parser import DEBUG, about_trainer, check_trainer, missing_package, precision
from pdt_lightning.commands.resume import check_same
from pdt_lightning.commands.run_folder import (
    checkpoint_of,
    export_run_folder,
    find_run,
    inherited_run_folder,
    lock_run_folder,
    make_version,
    record_slurm_job,
    requeued,
    slurm_job,
)
from pdt_lightning.commands.run_options import RunOptions
from pdt_lightning.core.distributed import attempt, gather
from pdt_lightning.core.errors import UserError, check_range, check_writable
from pdt_lightning.core.processes import end_with_parent
from pdt_lightning.core.terminal import in_terminal, quiet
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model import checkpoints
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.model.strategies import FullySharded


class RunCLI(RunOptions):
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
                "usage": "python -m pdt_lightning.fit --config FILE [--config FILE ...] [--OPTION=VALUE ...]",
                "description": "pdt_lightning: pretrain a Prompting Decision Transformer on many tasks and tune "
                "its prompts on held-out ones.",
                "allow_abbrev": False,
                "epilog": DEBUG,
            },
        )

    def parse_arguments(self, parser: LightningArgumentParser, args: Any) -> None:
        """Parse the arguments. What OmegaConf cannot resolve is the user's error too."""
        try:
            self.config = parser.parse_args(args)
        except OmegaConfBaseException as error:
            raise UserError(f"{str(error).splitlines()[0]}. Correct what stands in ${{...}}.") from error
        if not isinstance(self.config.seed_everything, bool):
            check_range("--seed_everything", self.config.seed_everything, 0, 2**32 - 1)

    def before_instantiate_classes(self) -> None:
        """Check what can be told before the trainer is built."""
        config = self.config
        check_trainer(config.trainer, config.data.updates_per_epoch)
        if not config.name or Path(config.name).is_absolute() or ".." in Path(config.name).parts:
            raise UserError(f"--name={config.name}: give a name for a folder in --trainer.default_root_dir.")
        self.home = Path(config.trainer.default_root_dir) / config.name
        self.checkpoint_wanted = config.ckpt_path
        self.is_new = False  # whether the run's folder was made by this process
        self._missing: list[Path] = []  # folders above it that were made with it
        self._lock: IO[str] | None = None  # keeps the run's folder to this process
        self._why = ""  # the checkpoint is not the one that one would expect
        config.ckpt_path = None  # the saved configuration says what the run is, not where it was taken up

    def instantiate_classes(self) -> None:
        """Build trainer, model and data. A logger whose package is not installed is the user's to mend."""
        try:
            super().instantiate_classes()
        except ValueError as error:
            if missing := missing_package(str(error)):
                raise UserError(missing) from error
            raise

    def instantiate_trainer(self, **kwargs: Any) -> Trainer:
        """Build the trainer, with precision, logger and checkpoints where they are left to us.

        What is decided here stays out of the saved configuration, which may start another run, elsewhere.
        """
        options = self.config_init.trainer
        self.precision_reason = "as asked"
        if options.precision is None:
            kwargs["precision"] = precision(options.accelerator)
            self.precision_reason = "chosen for this hardware"
        kwargs["logger"] = False  # until the run has its folder
        # Lightning takes up what it finds there of its own under Slurm: nothing, since a job is taken up by our rules.
        kwargs["default_root_dir"] = str(self.home)
        if options.strategy == "fsdp":
            kwargs["strategy"] = FullySharded()  # Lightning's of this name leaves checkpoints and clipping in shares
        chosen = options.callbacks or []
        callbacks: list[Callback] = [chosen] if isinstance(chosen, Callback) else list(chosen)
        if options.enable_checkpointing is False:
            if any(isinstance(callback, Checkpoint) for callback in callbacks):
                raise UserError(
                    "--trainer.enable_checkpointing=False, but --trainer.callbacks has one that saves. Leave one out."
                )
            self.interruption = Interruption(None)
        else:
            callbacks.append(Best(self.home / "checkpoints"))  # likewise
            self.interruption = Interruption(self.home / "checkpoints")
        kwargs["enable_checkpointing"] = True  # what saves is among the callbacks
        callbacks.append(self.interruption)
        if options.logger is not False:
            callbacks.append(LearningRateMonitor("step"))
        if any(isinstance(callback, ProgressBar) for callback in callbacks):
            kwargs["enable_progress_bar"] = True  # the user's own
        elif options.enable_progress_bar is not False:
            callbacks.append(RichProgressBar(refresh_rate=20) if in_terminal() else ProgressLines())
        try:
            trainer = super().instantiate_trainer(callbacks=callbacks, **kwargs)
        # The trainer has its options from the user alone, so that what it raises on them is about them.
        except (MisconfigurationException, RuntimeError, ValueError, TypeError, ImportError) as error:
            raise UserError(about_trainer(str(error), self.config.trainer)) from error
        strategy: Any = trainer.strategy
        if type(strategy.checkpoint_io) is TorchCheckpointIO:  # and not one of the user's
            strategy.checkpoint_io = WholeFiles()
        return trainer

    def after_instantiate_classes(self) -> None:
        """Refuse what would only be found out after work was done."""
        data, trainer = self.datamodule, self.trainer
        cores = os.cpu_count() or 1
        if trainer.num_devices > max(8, cores) and isinstance(trainer.accelerator, CPUAccelerator):
            raise UserError(
                f"--trainer.devices={trainer.num_devices}: there are {cores} cores. Lower it to at most "
                f"{max(8, cores)}."
            )
        data.check(trainer.num_devices * trainer.num_nodes)
        if self.config.init_from is not None:
            if self.checkpoint_wanted is not None:
                raise UserError(
                    f"--init_from={self.config.init_from} begins new training, --ckpt_path={self.checkpoint_wanted} "
                    "goes on with one. Give one of them."
                )
            checkpoints.start_from(self.model, self.config.init_from)
        callbacks: list[Callback] = trainer.callbacks  # type: ignore[attr-defined]  # as above
        for callback in list(callbacks):
            if isinstance(callback, PromptTuning):
                callback.check(data)
                if data.task_sampling.name == "success":
                    callbacks.insert(callbacks.index(callback) + 1, TaskSuccess(callback))
        self.check_monitors()
        check_writable("--trainer.default_root_dir", self.home)

    def check_monitors(self) -> None:
        """Refuse monitors that no metric is called; of success for sure only when demonstrations are there."""
        check_monitors(self.trainer.callbacks, self.config.get("lr_scheduler"), self.datamodule)  # type: ignore[attr-defined]  # as above

    def begin(self, args: Sequence[str]) -> None:
        """Give the run its folder: rank 0 makes or finds it, and all ranks learn which it is.

        Args:
            args: of the command.

        Raises:
            UserError: on all ranks, if there is nothing to go on from, or not with these options.
        """
        place = inherited_run_folder()
        if place is not None:  # Lightning has started this rank, and does not see to it that it ends with the first one
            end_with_parent()
        strategy: Any = self.trainer.strategy
        environment = getattr(strategy, "cluster_environment", None)
        if self.trainer.world_size > 1 and environment is not None and environment.creates_processes_externally:
            strategy.connect(self.model)
            strategy.setup_environment()  # which `fit` would do: torchrun's and Slurm's processes meet there
        if place is None:
            claim = partial(self._claim, args) if self.trainer.is_global_zero else lambda: None
            place = gather(attempt(claim))[0]
        assert place is not None
        self.run_folder, self.checkpoint = place
        saved = checkpoints.read(self.checkpoint) if self.checkpoint else None
        self._begins_after = int(saved["global_step"]) if saved else 0  # this update
        self.start = "from the start"
        if saved is not None:
            self.start = f"from {self.checkpoint}, after update {saved['global_step']:,} in epoch {saved['epoch']}"
        if self.checkpoint_wanted == "last":
            self.start = f"the newest of this name, {self.start}" + (
                "" if saved else ", since it has no checkpoint yet"
            )
        if self._why:
            self.start += f" ({self._why})"
        if slurm_job():
            # In place of Lightning, which would leave a checkpoint of its own.
            self.interruption.request.listen(signal.SIGUSR1)
        if self.interruption.path:
            self.interruption.path = self.run_folder / "checkpoints" / "last.ckpt"
        callbacks: list[Callback] = self.trainer.callbacks  # type: ignore[attr-defined]  # the trainer has it, its stub has not
        for callback in list(callbacks):
            if isinstance(callback, PromptTuning):
                callback.folder, callback.request = self.run_folder, self.interruption.request
            elif isinstance(callback, SaveAndShowConfig):
                callback.folder = self.run_folder
            elif isinstance(callback, ModelCheckpoint) and (callback.dirpath is None or isinstance(callback, Best)):
                callback.dirpath = str(self.run_folder / "checkpoints")
            elif isinstance(callback, LearningRateFinder) and saved:  # it has found one
                self.model.hparams["learning_rate"] = saved["hyper_parameters"]["learning_rate"]
                callbacks.remove(callback)
        # What an earlier process logged into this folder is hidden from where this one goes on.
        hidden = int(saved["global_step"]) if saved else None if self.is_new else 0
        self.trainer.loggers = loggers_of(self.config_init.trainer.logger, self.run_folder, hidden)

    def _claim(self, args: Sequence[str]) -> tuple[Path, Path | None]:
        """Find the run's folder, or make a new one, and find the checkpoint to go on from."""
        folder, checkpoint, self._why = find_run(self.home, self.checkpoint_wanted)
        if self.checkpoint_wanted is None and (again := requeued(self.home, args)):
            folder, (checkpoint, self._why) = again, checkpoint_of(again)
            if self._why and checkpoint is None:
                raise UserError(self._why)
        if checkpoint is not None:
            found = any(isinstance(one, LearningRateFinder) for one in self.trainer.callbacks)  # type: ignore[attr-defined]
            check_same(checkpoint, self.model, self.datamodule, ("learning_rate",) if found else ())
        self.is_new = folder is None
        self._missing = [path for path in (self.home, *self.home.parents) if not path.exists()]
        if folder is None:
            folder = make_version(self.home)
        self._lock = lock_run_folder(folder)
        record_slurm_job(folder, args)
        export_run_folder(folder, checkpoint)
        return folder, checkpoint

    def nothing_was_left(self) -> str:
        """That nothing was trained, where the run had reached its end before, and what to raise; else nothing."""
        trainer = self.trainer
        if self.checkpoint is None or trainer.global_step > self._begins_after:
            return ""
        limits = {name: self.config.trainer[name] for name in ("max_epochs", "max_steps", "max_time")}
        given = [f"--trainer.{name}={limit}" for name, limit in limits.items() if limit not in (None, -1)]
        update = f"{trainer.global_step:,}"
        return f"Nothing was left to train after update {update}: {', '.join(given)} was reached. Raise it to go on."

    def release(self) -> None:
        """Let others have the run's folder."""
        if self._lock:
            self._lock.close()

    def forget(self) -> None:
        """Remove the folder that was made for a run which has not begun, and those above it that were made with it."""
        if self.trainer.is_global_zero and self.is_new and not self.trainer.global_step:
            shutil.rmtree(self.run_folder, ignore_errors=True)
            with suppress(OSError):  # another run has put something there
                for above in self._missing:
                    above.rmdir()
