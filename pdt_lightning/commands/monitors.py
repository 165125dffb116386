"""What a callback or a schedule may monitor: the names of a run's metrics.

A misspelt one is refused before training.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import lightning

from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.core.errors import UserError, suggestion
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.rollouts.environments import reports_success

OF_EVERY_RUN = ("train/loss", "train/updates_per_second", "val/action_error", "epoch", "step")
GIVEN_WITH = {"callbacks": "--trainer.callbacks", "lr_scheduler": "--lr_scheduler"}


def monitored_names(data: MultiTaskDataModule, validation_tasks: Iterable[str]) -> list[str]:
    """List the names of a run's metrics, those of single tasks last.

    The oracle's are left out: only the last phase finds them.

    Args:
        data: of the run.
        validation_tasks: ids of the training tasks that are tuned too.
    """
    family = data.family
    names, single = list(OF_EVERY_RUN), [f"val_task/{task.id}" for task in family.training_tasks]
    if family.heldout_tasks:
        names.append("heldout/action_error")
        single += [f"heldout_task/{task.id}" for task in family.heldout_tasks]
    keys = ("return", "success") if reports_success(family.tasks[0]) else ("return",)
    groups = {"tuning": [task.id for task in family.heldout_tasks], "tuning_validation": list(validation_tasks)}
    for group, tasks in groups.items():
        for name in (f"{kind}_{key}" for kind in ("tuned", "untuned") for key in keys):
            names += [f"{group}/{name}"] if tasks else []
            single += [f"{group}_{name}/{task}" for task in tasks]
    return names + single


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
