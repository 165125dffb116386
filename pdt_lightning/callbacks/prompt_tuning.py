"""PromptTuning: runs a tuning phase between validation epochs, on every rank, with the transformer frozen."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import lightning
import torch
from lightning.pytorch.callbacks import ModelCheckpoint

from pdt_lightning.callbacks.interruption import Interruption
from pdt_lightning.callbacks.phase_results import boards, write_and_show
from pdt_lightning.callbacks.trainer_state import epoch_is_over, only_after_a_phase, run_ends
from pdt_lightning.callbacks.weights import saved_weights
from pdt_lightning.core.distributed import ALIKE, everywhere
from pdt_lightning.core.errors import UserError, check_range
from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import NonNegativeInt, Probability, check_types
from pdt_lightning.core.signals import StopRequest
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.model.whole import frozen_copy
from pdt_lightning.results import report
from pdt_lightning.results.videos import film_results, log_films
from pdt_lightning.rollouts.engine import RolloutEngine, StepTimeout, Width, Workers
from pdt_lightning.rollouts.engines import engine_class, make_engine
from pdt_lightning.rollouts.policy import Policy, Precision, PromptTokens, check_prompt_tokens
from pdt_lightning.tuning.journal import forget
from pdt_lightning.tuning.memory import PhaseMemory
from pdt_lightning.tuning.objective import check_objective
from pdt_lightning.tuning.on_ranks import tune_on_ranks
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.result import TaskResult
from pdt_lightning.tuning.subject import Subject, subjects_of

# Of the options, besides those of `TuningOptions`, those that `tune` takes as its defaults.
SAVED = ("tasks", "validation_tasks", "engine", "workers", "step_timeout", "width", "precision", "prompt_tokens")


class PromptTuning(lightning.Callback):
    """Between validation epochs, let a tuner find prompts of the held-out tasks by rollouts.

    It leaves the training's randomness untouched. The last phase of a run also looks for the best found (`oracle`).

    Args:
        every_n_epochs: epochs between two phases; the last epoch always ends with one. 0: only the last.
        tasks: ids of the held-out tasks to tune; null: all.
        validation_tasks: ids of training tasks to tune besides. They are logged apart, as `tuning_validation/...`, so
            that a checkpoint can be chosen by tuned return without a look at the tasks that are reported.
        remembered: probability with which an outcome of a phase still counts in the next one, whose model has changed a
            little; 0: each phase starts afresh. Of our tuners, `structured` makes use of it.
        engine: what plays rollouts: `pool`, ours; or one of your own, by the path of a class derived from
            `rollouts.RolloutEngine`.
        workers: processes that play rollouts on the CPU, of each rank; 0: the rank itself plays, and what hangs or dies
            there takes the run with it; null: one for each core that the run may use.
        step_timeout: seconds that an environment may take to be built, to be reset or for a step before it is held to
            hang, its worker is ended and its episode is played again; null: as long as it likes.
        width: rows in a forward pass. It decides the last bits of the results; the number of workers and ranks does
            not.
        precision: of the transformer in rollouts: `32-true`, or `bf16-true`, which is faster where the hardware has it.
        prompt_tokens: tokens that a rollout remembers of a prompt, each the mean of neighbouring ones; fewer than a
            step has cost return. Null: all.
        progress: show a bar with the time left.
        **options: see `TuningOptions`.
    """

    def __init__(
        self,
        every_n_epochs: NonNegativeInt = 1,
        tasks: list[str] | None = None,
        validation_tasks: list[str] | None = None,
        remembered: Probability = 0.0,
        engine: str = "pool",
        workers: Workers | None = 0,
        step_timeout: StepTimeout | None = 300.0,
        width: Width = 8,
        precision: Precision = "32-true",
        prompt_tokens: PromptTokens | None = None,
        progress: bool = True,
        **options: Any,
    ):
        check_types("tuning", PromptTuning.__init__, locals())
        self.options = TuningOptions(**options)
        check_range("`tuning.verdict_episodes`", self.options.verdict_episodes, 1)  # `tune` alone may leave them out
        self.every_n_epochs = every_n_epochs
        self.tasks = tasks
        self.validation_tasks = validation_tasks or []
        self.memory = PhaseMemory(remembered, self.options.seed)
        engine_class(engine)
        self.engine, self.workers = engine, workers
        self.step_timeout, self.width = step_timeout, width
        self.precision, self.prompt_tokens = precision, prompt_tokens
        self.progress = progress
        self.folder: Path | None = None  # where results are written; None: the trainer's log_dir
        self.request: StopRequest | None = None  # may end a phase between two blocks of rollouts
        self.phases = 0
        self.last_update = -1  # update after which the newest phase was run
        self.final_update = -1  # update after which the last phase, with its oracle, was run
        self._monitoring: list[lightning.Callback] = []  # callbacks that monitor a number of a phase
        self._to_be_saved = False  # whether the newest phase is missing in the last validation's checkpoint
        self.player: RolloutEngine | None = None
        self._subjects: list[Subject] = []

    def setup(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """Check tasks and objective, and make the engine, whose workers start when first needed."""
        data = getattr(trainer, "datamodule", None)
        if not isinstance(data, MultiTaskDataModule):
            raise UserError(
                "PromptTuning needs a MultiTaskDataModule: Trainer(...).fit(LitPDT(...), MultiTaskDataModule(...))."
            )
        self.check(data)
        if self.prompt_tokens is not None:
            check_prompt_tokens(pl_module.model, self.prompt_tokens)  # type: ignore[arg-type]
        self._subjects = self.subjects(data)
        check_objective(self.options.objective, self._subjects)
        self._monitoring = only_after_a_phase(trainer, lambda: self.last_update == trainer.global_step)
        self.player = make_engine(self.engine, self.workers, self.width, self.step_timeout, trainer.num_devices)

    def check(self, data: MultiTaskDataModule) -> None:
        """Refuse tasks that the data do not have.

        Raises:
            UserError: naming the option.
        """
        data.chosen(self.tasks)
        if missing := [
            name for name in self.validation_tasks if name not in (data.hparams["tuned_training_tasks"] or ())
        ]:
            raise UserError(
                f"validation_tasks: give MultiTaskDataModule(tuned_training_tasks=[{missing[0]!r}, ...]) too."
            )

    def due(self, trainer: lightning.Trainer) -> bool:
        """Whether a phase is to be run now, at a validation or an epoch's end; in the middle of an epoch never."""
        if trainer.sanity_checking or not self._any_tasks(trainer):
            return False
        if trainer.state.fn != "fit":
            return True
        every = self.every_n_epochs
        regular = every > 0 and (trainer.current_epoch + 1) % every == 0 and epoch_is_over(trainer)
        return self.last_update != trainer.global_step and (regular or run_ends(trainer))

    def _any_tasks(self, trainer: lightning.Trainer) -> bool:
        return bool(self.validation_tasks or trainer.datamodule.family.heldout_tasks)  # type: ignore[attr-defined]

    def on_validation_epoch_end(self, trainer: lightning.Trainer, pl_module: LitPDT) -> None:  # type: ignore[override]
        """Tune, and log the same numbers on every rank, so that anything may monitor them."""
        if self.due(trainer):
            metrics = self._run_phase(trainer, pl_module, trainer.current_epoch, final=run_ends(trainer))
            pl_module.log_dict(metrics, **ALIKE)
            self._to_be_saved = not trainer.validating

    def on_train_epoch_end(self, trainer: lightning.Trainer, pl_module: LitPDT) -> None:  # type: ignore[override]
        """As after a validation, where none has come at the end of the epoch."""
        self.on_validation_epoch_end(trainer, pl_module)

    def on_train_end(self, trainer: lightning.Trainer, pl_module: LitPDT) -> None:  # type: ignore[override]
        """Run the last phase if training ended earlier than planned (early stopping, `max_time`).

        If the final weights were already tuned, their phase is repeated with the oracle; its rollouts come from the
        journal.
        """
        if not trainer.interrupted and self.final_update != trainer.global_step and self._any_tasks(trainer):
            tuned_already = self.last_update == trainer.global_step
            self.phases -= tuned_already
            metrics = self._run_phase(trainer, pl_module, trainer.current_epoch - 1, final=True)
            self._to_be_saved = True
            new = {
                name: value
                for name, value in metrics.items()
                if not (tuned_already and name in trainer.callback_metrics)
            }
            for logger in trainer.loggers:
                logger.log_metrics(new, step=trainer.global_step)
            trainer.callback_metrics.update({name: torch.tensor(value) for name, value in metrics.items()})
            for callback in self._monitoring:
                if isinstance(callback, ModelCheckpoint):  # each acts in one of the two
                    callback.on_train_epoch_end(trainer, pl_module)
                    callback.on_validation_end(trainer, pl_module)
        for checkpoint in trainer.checkpoint_callbacks if self._to_be_saved else ():
            if isinstance(checkpoint, Interruption):
                checkpoint.save(trainer)
            elif isinstance(checkpoint, ModelCheckpoint) and checkpoint.monitor is None and checkpoint.dirpath:
                trainer.save_checkpoint(Path(checkpoint.dirpath) / "last.ckpt")
        self._forget_journals(trainer)

    def on_train_epoch_start(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule) -> None:
        """The phases before are in a checkpoint now: their journals are not needed any more."""
        self._forget_journals(trainer)

    def _forget_journals(self, trainer: lightning.Trainer) -> None:
        folder = self._run_folder(trainer)
        if trainer.is_global_zero and folder is not None:
            forget(folder / "journal", self.phases)

    def _run_folder(self, trainer: lightning.Trainer) -> Path | None:
        log_dir = trainer.log_dir  # a collective: read on every rank
        return self.folder or (Path(log_dir) if log_dir else None)

    def teardown(self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, stage: str) -> None:
        """End the worker processes."""
        if self.player is not None:
            self.player.close()

    def on_exception(
        self, trainer: lightning.Trainer, pl_module: lightning.LightningModule, exception: BaseException
    ) -> None:
        """End the worker processes; Lightning calls no `teardown` then."""
        self.teardown(trainer, pl_module, "fit")

    def subjects(self, data: MultiTaskDataModule) -> list[Subject]:
        """The tasks to tune: held-out ones, then validation tasks."""
        held_out = subjects_of(data, data.chosen(self.tasks))
        return [*held_out, *subjects_of(data, self.validation_tasks, held_out=False)]

    def _run_phase(self, trainer: lightning.Trainer, module: LitPDT, epoch: int, final: bool) -> dict[str, float]:
        data: MultiTaskDataModule = trainer.datamodule  # type: ignore[attr-defined]
        phase = self.phases
        if self.last_update != trainer.global_step:  # else the phase is repeated
            self.memory.begin(phase)
        folder = self._run_folder(trainer)
        with saved_weights(trainer, module, self):
            policy = everywhere(lambda: self._policy(module))
            results = self._tuned(data, policy, phase, final, folder)
            if not results:
                raise RuntimeError(
                    "All tasks were given up, as said above: there is nothing to report. Mend their environment "
                    "and delete the run's folder journal/, which keeps what failed."
                )
            self.memory.end(results)
            self.phases += 1
            self.last_update = trainer.global_step
            if final:
                self.final_update = trainer.global_step
            # What rank 0 alone does, the writing, is reported to all, so that a full disk ends the run everywhere.
            at = folder if trainer.is_global_zero else None
            everywhere(lambda: self._write(at, results, policy, phase, epoch, trainer, final) if at else None)
        return report.metrics(results)

    def _tuned(
        self, data: MultiTaskDataModule, policy: Policy, phase: int, final: bool, folder: Path | None
    ) -> list[TaskResult]:
        for subject in self._subjects:
            subject.remembered[:] = self.memory.told.get(subject.task.id, [])
        assert self.player is not None
        journals = folder / "journal" if folder else None
        return tune_on_ranks(
            policy,
            self._subjects,
            self.player,
            self.options,
            data.hparams["segments"],
            phase,
            final,
            journals,
            self.request,
            self.progress,
        )

    def _write(
        self,
        folder: Path,
        results: Sequence[TaskResult],
        policy: Policy,
        phase: int,
        epoch: int,
        trainer: Any,
        final: bool,
    ) -> None:
        options, subjects = self.options, self._subjects
        write_and_show(folder, results, subjects, options, trainer, phase, epoch, final)
        if final and options.videos:
            slots = trainer.datamodule.hparams["segments"]
            films = film_results(
                folder / "videos", results, subjects, options, slots, phase, policy, self.width, self.progress
            )
            for board in boards(trainer):
                log_films(board, films, trainer.global_step)

    def _policy(self, module: Any) -> Policy:
        return Policy(frozen_copy(module), int(module.hparams["context_steps"]), self.precision, self.prompt_tokens)

    def state_dict(self) -> dict[str, Any]:
        """Plain values: where the phases stand, and the options, which `tune` takes as its defaults."""
        return {
            "phases": self.phases,
            "last_update": self.last_update,
            "final_update": self.final_update,
            "memory": self.memory.state_dict(),
            "options": plain({**dataclasses.asdict(self.options), **{name: getattr(self, name) for name in SAVED}}),
        }

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Go on with the phase after the last one that the checkpoint knows."""
        self.phases = state_dict["phases"]
        self.last_update = state_dict.get("last_update", -1)
        self.final_update = state_dict["final_update"]
        if "memory" in state_dict:  # a checkpoint of an earlier build has none
            self.memory.load_state_dict(state_dict["memory"])
