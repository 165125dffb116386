"""What a callback or a schedule may monitor: the names of a run's metrics.

A misspelt one is refused before training.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import lightning

from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.core.errors import UserError, suggestion
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.tuning.objective import decide
from pdt_lightning.tuning.subject import subjects_of

OF_EVERY_RUN = ("train/loss", "train/updates_per_second", "val/action_error", "epoch", "step")
GIVEN_WITH = {"callbacks": "--trainer.callbacks", "lr_scheduler": "--lr_scheduler"}


def monitored_names(data: MultiTaskDataModule, validation_tasks: Iterable[str]) -> list[str]:
    """List the names of a run's metrics, those of single tasks last.

    The oracle's are left out: only the last phase finds them.

    Whether success is reported is asked of every task that is tuned, once its demonstrations are there; before that it
    may be.

    Args:
        data: of the run.
        validation_tasks: ids of the training tasks that are tuned too.
    """
    family = data.family
    names, single = list(OF_EVERY_RUN), [f"val_task/{task.id}" for task in family.training_tasks]
    if family.heldout_tasks:
        names.append("heldout/action_error")
        single += [f"heldout_task/{task.id}" for task in family.heldout_tasks]
    if data.action_choices:
        names += [f"{name.partition('/')[0]}/action_accuracy" for name in names if name.endswith("/action_error")]
    groups = {"tuning": [task.id for task in family.heldout_tasks], "tuning_validation": list(validation_tasks)}
    for group, tasks in groups.items():
        reporting = _reporting(data, tasks)
        for kind in ("tuned", "untuned") if tasks else ():
            names.append(f"{group}/{kind}_return")
            single += [f"{group}_{kind}_return/{task}" for task in tasks]
            names += [f"{group}/{kind}_success"] if reporting == tasks else []
            single += [f"{group}_{kind}_success/{task}" for task in reporting]
    return names + single


def _reporting(data: MultiTaskDataModule, tasks: list[str]) -> list[str]:
    """Those of the tasks whose environments report success, as their phases will find.

    Before demonstrations are there, all.
    """
    if data.statistics is None:
        return tasks
    return [subject.task.id for subject in subjects_of(data, tasks) if decide("auto", subject).reports_success]


def check_monitors(
    callbacks: Iterable[lightning.Callback], lr_scheduler: Mapping[str, Any] | None, data: MultiTaskDataModule
) -> None:
    """Refuse a monitor that no metric of the run is called.

    What a user's own callbacks log cannot be known: beside one of those every name is taken.

    Args:
        callbacks: of the trainer.
        lr_scheduler: of the configuration.
        data: of the run.

    Raises:
        UserError: naming the monitor.
    """
    callbacks = list(callbacks)
    monitored = [
        ("callbacks", type(one).__name__, monitor) for one in callbacks if (monitor := getattr(one, "monitor", None))
    ]
    if monitor := ((lr_scheduler or {}).get("init_args") or {}).get("monitor"):
        monitored.append(("lr_scheduler", str((lr_scheduler or {})["class_path"]).rpartition(".")[2], monitor))
    theirs = [one for one in callbacks if not type(one).__module__.startswith(("lightning.", "pdt_lightning."))]
    monitored = [one for one in monitored if one[2] not in OF_EVERY_RUN]
    if not monitored or theirs:
        return
    tuned = [task for one in callbacks if isinstance(one, PromptTuning) for task in one.validation_tasks]
    metrics = monitored_names(data, tuned)
    for group, name, monitor in monitored:
        if monitor not in metrics:
            some = ", ".join(one for one in metrics if "_task/" not in one and one.count("/") < 2)
            raise UserError(
                f"{GIVEN_WITH[group]}: {name} has monitor={monitor}, which is no metric of this run. Name one of them: "
                f"{some}; or that of a single task, such as {metrics[-1]}.{suggestion(monitor, metrics)}"
            )
