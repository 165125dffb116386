"""A run that is killed and resumed equals one that never stopped, to the bit."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import POINT_FLAGS
from tests.processes import command

# Ends the process, as a kill would, or sends it a signal, at a moment named by an environment variable:
# epoch-where-how.
KILLER = """
import os
import signal
import lightning
import pdt_lightning.tuning.search as search_module

EPOCH, WHERE, HOW = os.environ["KILL"].split("-") if os.environ.get("KILL") else (-1, "", "")
ENDED = []


def end():
    if HOW == "KILL":
        os._exit(9)
    if not ENDED:  # a second signal would end it at once
        ENDED.append(True)
        os.kill(os.getpid(), getattr(signal, "SIG" + HOW))


if WHERE == "collection":
    import pdt_lightning.data.datamodule as data_module
    data_module.collect = lambda *a: end()


class Killer(lightning.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if WHERE == "training" and trainer.current_epoch == int(EPOCH) and batch_idx == 0:
            end()

    def on_validation_batch_start(self, trainer, *args):
        if WHERE == "validation" and trainer.current_epoch == int(EPOCH) and not trainer.sanity_checking:
            end()

    def on_validation_epoch_start(self, trainer, module):
        search_module.integer = self.integer(trainer, search_module.integer)

    def on_validation_end(self, trainer, module):
        if WHERE == "checkpoint" and trainer.current_epoch == int(EPOCH):
            end()  # tuned and written, but not in a checkpoint yet

    @staticmethod
    def integer(trainer, before):
        def counted(*key):
            if WHERE == "tuning" and trainer.current_epoch == int(EPOCH) and key[-1] == 5:
                end()
            return before(*key)
        return counted
"""
FLAGS = [
    *POINT_FLAGS,
    "--tuning.tasks=[point/07]",
    "--trainer.max_epochs=3",
    "--name=run",
    "--tuning.remembered=0.5",
    "--model.dropout=0.1",
    "--model.schedule=cosine",
]


def fit(folder, *flags, **environment):
    killer = folder.parent / "killer.py"
    killer.write_text(KILLER)
    callbacks = '--trainer.callbacks=[{"class_path": "killer.Killer"}]'
    return command(
        "fit",
        *FLAGS,
        callbacks,
        f"--trainer.default_root_dir={folder}",
        *flags,
        PYTHONPATH=str(killer.parent),
        draws=["predictions"],
        **environment,
    )


def left(folder):
    version = folder / "run" / "version_0"
    checkpoint = torch.load(version / "checkpoints" / "last.ckpt", weights_only=True)
    prompts = {path.name: load_file(path) for path in sorted((version / "prompts").rglob("*.safetensors"))}
    with (version / "tuning.csv").open(newline="") as file:
        rows = list(csv.reader(file))
    return checkpoint, prompts, rows, json.loads((version / "summary.json").read_text())


def curves(folder):
    version = folder / "run" / "version_0"
    events = EventAccumulator(str(version), size_guidance={"scalars": 0, "images": 0}).Reload()
    main = {
        tag: [(e.step, e.value) for e in events.Scalars(tag)]
        for tag in events.Tags()["scalars"]
        if "per_second" not in tag
    }
    main |= {tag: [(e.step, e.encoded_image_string) for e in events.Images(tag)] for tag in events.Tags()["images"]}
    phases = {path.relative_to(version).as_posix(): path.read_bytes() for path in (version / "figures").rglob("*.*")}
    for phase in sorted((version / "tuning").iterdir()):
        own = EventAccumulator(str(phase), size_guidance={"scalars": 0}).Reload()
        phases |= {(phase.name, tag): [(e.step, e.value) for e in own.Scalars(tag)] for tag in own.Tags()["scalars"]}
    return main, phases


@pytest.fixture(scope="module")
def uninterrupted(tmp_path_factory, point_data):
    folder = tmp_path_factory.mktemp("whole") / "runs"
    fit(folder)
    return folder


def equal(a, b):
    if isinstance(a, torch.Tensor):
        return torch.equal(a, b)
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b, strict=True))
    return a == b


@pytest.mark.parametrize(
    "moment",
    [
        *("0-collection-KILL", "1-training-KILL", "1-tuning-KILL", "1-checkpoint-KILL"),
        *("0-training-INT", "1-training-TERM", "1-validation-INT", "2-tuning-INT"),
    ],
)
def test_stopped_and_resumed_equals_never_stopped(tmp_path, uninterrupted, moment):
    folder = tmp_path / "runs"
    epoch, where, how = moment.split("-")
    stopped = fit(folder, KILL=moment, check=False)
    assert stopped.returncode == {"KILL": 9, "INT": 130, "TERM": 143}[how], stopped.stderr
    checkpoint = folder / "run" / "version_0" / "checkpoints" / "last.ckpt"
    if how != "KILL":
        assert "Traceback" not in stopped.stderr
        place = {
            "training": f"after update {1 + 3 * int(epoch)}",
            "validation": "in the validation",
            "tuning": "in tuning phase",
        }
        assert f"Stopped {place[where]}" in stopped.stdout
        assert stopped.stdout.splitlines()[-1].endswith(f"--ckpt_path {checkpoint}")
        # Saved after the update that was stopped at, or before the last one of the epoch.
        assert torch.load(checkpoint, weights_only=True)["global_step"] == 3 * int(epoch) + (
            1 if where == "training" else 2
        )
    done = fit(folder, "--ckpt_path=last")
    assert [path.name for path in (folder / "run").iterdir()] == ["version_0"]
    expected, seen = left(uninterrupted), left(folder)
    assert equal(expected[0]["state_dict"], seen[0]["state_dict"])
    assert equal(expected[0]["optimizer_states"], seen[0]["optimizer_states"])
    assert seen[0]["global_step"] == 9
    assert equal(expected[1:], seen[1:])
    main, phases = curves(folder)
    expected_main, expected_phases = curves(uninterrupted)
    assert phases == expected_phases
    assert main == expected_main
    start = "from the start" if epoch == "0" and how == "KILL" else f"from {checkpoint}, after update"
    assert f"the newest of this name, {start}" in done.stdout
    assert not (folder / "run" / "version_0" / "journal").exists()


@pytest.mark.parametrize("by", ["sensitivity", "success"])
def test_tasks_are_drawn_by_what_was_measured_as_if_it_had_never_stopped(tmp_path, by):
    """Stopped in an epoch for which it was measured before, and killed before it is measured again."""
    flags = [f"--data.task_sampling={by}", "--tuning.every_n_epochs=0", "--tuning.oracle_candidates=0"]
    flags += ["--tuning.engine=tests.guests.Lucky"] if by == "success" else []
    wholly = tmp_path / "whole"
    fit(wholly, *flags)
    expected = left(wholly)
    state = expected[0]["MultiTaskDataModule"]["task_sampling"]
    assert state["epoch"] == 2
    assert len(set(state["weights"])) == 13 if by == "sensitivity" else len(set(state["weights"])) > 1
    main = curves(wholly)[0]
    assert [step for step, _ in main["train_share/point/00"]] == [3, 6]
    assert sum(main[name][1][1] for name in main if name.startswith("train_share/")) == pytest.approx(1)
    for moment in ("1-training-TERM", "1-checkpoint-KILL"):
        folder = tmp_path / moment
        assert fit(folder, *flags, KILL=moment, check=False).returncode
        fit(folder, *flags, "--ckpt_path=last")
        seen = left(folder)
        assert equal(expected[0]["state_dict"], seen[0]["state_dict"])
        assert expected[0]["MultiTaskDataModule"] == seen[0]["MultiTaskDataModule"]
        assert equal(expected[1:], seen[1:])
        assert curves(folder)[0] == main


def test_what_is_killed_never_leaves_a_broken_checkpoint(tmp_path, uninterrupted):
    for name in ("last.ckpt", "best.ckpt"):
        assert torch.load(uninterrupted / "run" / "version_0" / "checkpoints" / name, weights_only=True)["epoch"] >= 0
    assert not list(uninterrupted.rglob("*.partial"))


def test_without_a_run_there_is_nothing_to_go_on_from(tmp_path):
    done = fit(tmp_path / "runs", "--ckpt_path=last", check=False)
    assert done.returncode != 0
    assert "--ckpt_path=last: there is no run under" in done.stderr
