"""LitPDT: loss, optimiser and logging around the transformer."""

import inspect
import math
import time
from typing import TYPE_CHECKING, Any, Literal

import lightning
import torch
from lightning.pytorch.utilities.types import OptimizerLRScheduler
from torch import Tensor

from pdt_lightning.core.distributed import ALIKE, gather, mean
from pdt_lightning.core.errors import UserError, check_memory
from pdt_lightning.core.plain import plain
from pdt_lightning.core.ranges import NonNegativeFloat, NonNegativeInt, PositiveInt, check_types, number
from pdt_lightning.core.seeding import integer
from pdt_lightning.core.terminal import say
from pdt_lightning.data.batches import Batch
from pdt_lightning.data.option_types import Attention
from pdt_lightning.model.guests import check_options, make_transformer
from pdt_lightning.model.learning_rate import begin_with, factor
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.model.sensitivity import check_task_sampling, follow_sensitivity
from pdt_lightning.model.strategies import fit_strategy
from pdt_lightning.model.validation import TaskError, Validation
from pdt_lightning.model.whole import whole

__all__ = ["LitPDT", "TaskError"]  # the metric too, by which best.ckpt is chosen

if TYPE_CHECKING:
    Dropout = float
    LearningRate = float
else:
    Dropout = number(float, 0, 1, below=True)
    LearningRate = number(float, 0, 1, above=True)

SIZES = inspect.getfullargspec(PromptDecisionTransformer).args[1:-2]  # choices and window have other names here
LOOK_EVERY = 10  # updates between two looks whether they were finite, for each of which the device has to be waited for


class LitPDT(lightning.LightningModule):
    """A Prompting Decision Transformer with its training.

    Args:
        state_size: `S`; from the data.
        action_size: `A`; from the data.
        max_timesteps: steps of the longest episode; from the data.
        context_steps: `K`; from the data.
        width: width of the transformer.
        layers: number of blocks.
        heads: attention heads.
        inner: width inside the perceptrons.
        dropout: rate, in training.
        use_prompt: false: no prompt (MT-ORL).
        use_return_to_go: false: steps are (state, action) (Prompt-MT-BC).
        attention: `published`: a context is a window of `K` steps, gone through again at each step of a rollout.
            `window`: a step attends to the prompt and to the last `K` steps, so that long rows train in one pass and a
            rollout computes what is new.
        transformer: `pdt`, ours; or one of your own, by the path of a class derived from
            `model.PromptDecisionTransformer`.
        transformer_options: of a transformer of your own: what its constructor takes besides.
        compile: compile the model with torch, which takes a minute or two at the start; it pays on GPUs.
        learning_rate: of AdamW, after the warm-up.
        weight_decay: of AdamW.
        warmup_updates: updates over which the learning rate rises from 0.
        schedule: after the warm-up `constant`, as published, or `cosine`, down to 0 at the end of the run.
        gradient_clip: largest norm of the gradient; applies where the trainer's own gradient_clip_val is not set.
        skip_not_finite: pass over updates whose gradient is not finite, and count them, instead of stopping.
        seed: of initialisation and dropout.
        action_choices: number of options of each choice that an action consists of; from the data; null: actions are
            vectors in a box.

    Source: Xu et al. 2022 (arXiv 2206.13499), table 5, for the defaults.
    """

    def __init__(
        self,
        state_size: int,
        action_size: int,
        max_timesteps: int,
        context_steps: int = 20,
        width: PositiveInt = 128,
        layers: PositiveInt = 3,
        heads: PositiveInt = 1,
        inner: PositiveInt = 512,
        dropout: Dropout = 0.1,
        use_prompt: bool = True,
        use_return_to_go: bool = True,
        attention: Attention = "published",
        transformer: str = "pdt",
        transformer_options: dict[str, Any] | None = None,
        compile: bool = False,
        learning_rate: LearningRate = 1e-4,
        weight_decay: NonNegativeFloat = 1e-4,
        warmup_updates: NonNegativeInt = 10_000,
        schedule: Literal["constant", "cosine"] = "constant",
        gradient_clip: NonNegativeFloat = 0.25,
        skip_not_finite: bool = False,
        seed: int = 0,
        action_choices: list[int] | None = None,
    ):
        super().__init__()
        check_types("model", LitPDT.__init__, locals())
        weights = float(layers) * width * (4 * width + 2 * inner) + 2.0 * width * (
            max_timesteps + state_size + action_size
        )
        check_memory(
            f"A transformer of `model.width`={width}, `model.layers`={layers} and `model.inner`={inner} for episodes "
            f"of {max_timesteps} steps",
            4 * weights,
            "Lower the largest of them.",
        )
        guest_options = check_options(transformer, transformer_options or {})
        self.save_hyperparameters()
        # A NumPy number among them would make checkpoints that cannot be read.
        self.hparams.update(plain({**self.hparams, "transformer_options": guest_options or None}))
        self.model = self.make_model()
        self.keeps_statistics = False  # those of the weights that training begins with, in place of the data's
        self.validation: Validation | None = None
        self._clock: tuple[int, float] | None = None
        self._rate: float | None = None  # that our own schedule begins with
        self.skipped = 0  # updates that were passed over
        # Since it was last looked at, on the device: whether each update was passed over; of each batch the tasks of
        # its rows, and whether their errors are not finite.
        self._passed_over: list[Tensor] = []
        self._rows: list[tuple[list[int], Tensor]] = []

    def make_model(self) -> PromptDecisionTransformer:
        """A model of these options, with the weights that it begins with; the caller's generator stays as it was."""
        options = self.hparams
        sizes = {name: options[name] for name in SIZES}
        sizes["action_choices"] = tuple(options["action_choices"] or ())
        sizes["window_steps"] = options["context_steps"] if options["attention"] == "window" else None
        with torch.random.fork_rng():
            torch.manual_seed(integer(int(options["seed"]), "initialisation"))
            return make_transformer(options["transformer"], options["transformer_options"] or {}, **sizes)

    def setup(self, stage: str) -> None:
        """Take the statistics and the names of the tasks from the data module."""
        data: Any = self.trainer.datamodule  # type: ignore[attr-defined]
        if data is None or not hasattr(data, "validation_names"):
            raise UserError(
                "LitPDT needs a MultiTaskDataModule: Trainer(...).fit(LitPDT(...), MultiTaskDataModule(...))."
            )
        if data.hparams["attention"] != self.hparams["attention"]:
            raise UserError(
                f"LitPDT has attention={self.hparams['attention']}, MultiTaskDataModule {data.hparams['attention']}: "
                "give both the same, since the data decide how long the rows are that the model trains on."
            )
        if self.trainer.precision in ("bf16-true", "16-true"):
            # Lightning would round states, actions and returns before they are normalised; the model rounds them
            # afterwards.
            self.trainer.precision_plugin.convert_input = _unchanged  # type: ignore[method-assign,assignment]
        if stage == "fit":
            check_task_sampling(data, self.hparams["use_prompt"])
            if not self.keeps_statistics:
                self.model.set_statistics(data.statistics)
            fit_strategy(self.trainer, self)
            if self.hparams["compile"]:
                self.model.compile()
        self.validation = Validation(data.validation_names(), self.model)

    def on_fit_start(self) -> None:
        """Take over the learning rate that a finder of Lightning's has just found; the schedule would lead back."""
        rate = self.hparams["learning_rate"] = float(self.hparams["learning_rate"])
        for config in self.trainer.lr_scheduler_configs if self._rate not in (None, rate) else ():
            begin_with(config.scheduler, rate)

    def errors(self, batch: Batch) -> Tensor:
        """`(B, T)` error of the predicted actions; see `PromptDecisionTransformer.errors`."""
        return self.model.errors(self.model(batch.context, batch.prompt), batch.labels)

    def on_train_batch_start(self, batch: Batch, batch_idx: int) -> None:
        """Reseed torch's generator, for dropout: what this update draws depends on nothing that came before."""
        torch.manual_seed(
            integer(int(self.hparams["seed"]), "dropout", self.trainer.global_step, batch_idx, self.global_rank)
        )

    def training_step(self, batch: Batch, batch_idx: int) -> Tensor:
        """Mean error over the valid context steps of the global batch."""
        errors = self.errors(batch) * batch.context.mask
        self._rows.append((batch.task, ~errors.detach().isfinite().all(-1)))
        loss = errors.sum() / batch.steps
        self.log("train/loss", mean(loss), prog_bar=True)
        return loss

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """Look whether updates were finite, and log updates per second, since the last time it was logged."""
        if len(self._passed_over) >= LOOK_EVERY or batch_idx + 1 >= self.trainer.num_training_batches:
            self._check_finite()
        step, every = self.trainer.global_step, self.trainer.log_every_n_steps  # type: ignore[attr-defined]
        if every and step % every == 0:
            now = time.monotonic()
            if self._clock is not None and step > self._clock[0]:
                self.log(
                    "train/updates_per_second", (step - self._clock[0]) / (now - self._clock[1]), rank_zero_only=True
                )
            self._clock = (step, now)

    def on_train_epoch_start(self) -> None:
        """Measure what tasks are drawn by; neither that nor validation and tuning are training time."""
        follow_sensitivity(self.trainer, self)
        self._clock = None

    def validation_step(self, batch: Batch, batch_idx: int, dataloader_idx: int = 0) -> None:
        """Error of each task, and of choices the accuracy, on validation episodes and on held-out tasks."""
        assert self.validation is not None
        self.validation.update(dataloader_idx, self.model, batch)

    def on_validation_epoch_end(self) -> None:
        """Log the mean over tasks and each task's own error."""
        assert self.validation is not None
        whole, single = self.validation.computed()
        self.log_dict(whole, prog_bar=True, **ALIKE)
        self.log_dict(single, **ALIKE)

    def configure_optimizers(self) -> OptimizerLRScheduler:
        """AdamW with linear warm-up."""
        self._rate = self.hparams["learning_rate"]
        optimizer = torch.optim.AdamW(
            self.parameters(),
            lr=self.hparams["learning_rate"],
            weight_decay=self.hparams["weight_decay"],
            # With a loss scaler a fused optimiser would unscale by itself, after clipping.
            fused=self.trainer.precision != "16-mixed",
        )
        warmup, total = self.hparams["warmup_updates"], self.trainer.estimated_stepping_batches
        if warmup > total and self.trainer.is_global_zero:
            say(
                f"`model.warmup_updates`={warmup:,} is more than the {total:,} updates of the run, so that the "
                f"learning rate never gets to `model.learning_rate`={self.hparams['learning_rate']}. Set it to a "
                "twentieth of the run."
            )
        cosine = self.hparams["schedule"] == "cosine"
        if cosine and not math.isfinite(total):
            raise UserError("`model.schedule`=cosine needs an end: set `trainer.max_epochs` or `trainer.max_steps`.")
        scheduler = torch.optim.lr_scheduler.LambdaLR(
            optimizer, lambda update: factor(update, warmup, total if cosine else None)
        )
        return {"optimizer": optimizer, "lr_scheduler": {"scheduler": scheduler, "interval": "step"}}

    def configure_gradient_clipping(
        self, optimizer: Any, gradient_clip_val: float | None = None, gradient_clip_algorithm: str | None = None
    ) -> None:
        """Clip as the trainer says; where it says nothing, by the module's own `gradient_clip`."""
        value = self.hparams["gradient_clip"] if gradient_clip_val is None else gradient_clip_val
        algorithm = gradient_clip_algorithm or "norm"
        if not optimizer.defaults.get("fused"):  # the user's own, or with a loss scaler, which passes over by itself
            self.clip_gradients(optimizer, value, algorithm)
            return
        norm = torch.nn.utils.get_total_norm(
            [parameter.grad for parameter in self.parameters() if parameter.grad is not None]
        )
        if value and algorithm == "norm":  # Lightning refuses to clip for fused optimisers, scaler or not
            torch.nn.utils.clip_grads_with_norm_(self.parameters(), value, norm)
        elif value:
            torch.nn.utils.clip_grad_value_(self.parameters(), value)
        # A fused optimiser leaves weights and state as they are where this is 1, and nobody has to wait for it.
        optimizer.found_inf = (~whole(norm).isfinite()).float()
        self._passed_over.append(optimizer.found_inf)

    def _check_finite(self) -> None:
        """Where updates were passed over, count them, or stop; all ranks see the same, as they share the gradient."""
        passed_over = torch.stack(self._passed_over).tolist() if self._passed_over else []
        rows, first = self._rows, self.trainer.global_step - len(passed_over)
        self._passed_over, self._rows = [], []
        if not any(passed_over):
            return
        if self.hparams["skip_not_finite"]:
            self.skipped += int(sum(passed_over))
            self.log("train/skipped_updates", float(self.skipped), rank_zero_only=True)
            return
        number = passed_over.index(1.0)
        each = self.trainer.accumulate_grad_batches
        assert self.validation is not None
        names, batches = self.validation.names[0][1], rows[number * each : (number + 1) * each]
        wrong = {names[task] for tasks, row in batches for task, bad in zip(tasks, row.tolist(), strict=True) if bad}
        share = wrong or {names[task] for tasks, _ in batches for task in tasks}
        tasks = sorted(set().union(*gather(share)))
        raise UserError(
            f"Update {first + number:,}: the loss or its gradient is not finite, with windows of {', '.join(tasks)}. "
            "It was not made: weights and checkpoints are without it. Look at these data, lower `model.learning_rate`, "
            "take `trainer.precision`=32-true, or pass over such updates with `model.skip_not_finite`=true."
        )

    def on_save_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Keep the count."""
        checkpoint["skipped_updates"] = self.skipped

    def on_load_checkpoint(self, checkpoint: dict[str, Any]) -> None:
        """Count on."""
        self.skipped = checkpoint.get("skipped_updates", 0)


def _unchanged(batch: Any) -> Any:
    return batch
