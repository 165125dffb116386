"""A run that is killed and resumed equals one that never stopped, to the bit."""

import csv
import json

import pytest
import torch
from safetensors.torch import load_file
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.commands import command
from tests.conftest import POINT_FLAGS

# Ends the process, as a kill would, at a moment named by an environment variable.
KILLER = """
import os
import lightning
import pdt_lightning.search as search_module

EPOCH, WHERE = os.environ["KILL"].split("-") if os.environ.get("KILL") else (-1, "")


if WHERE == "collection":
    import pdt_lightning.data.datamodule as data_module
    data_module.collect = lambda *a: os._exit(9)


class Killer(lightning.Callback):
    def on_train_batch_end(self, trainer, module, outputs, batch, batch_idx):
        if WHERE == "training" and trainer.current_epoch == int(EPOCH) and batch_idx == 1:
            os._exit(9)

    def on_validation_epoch_start(self, trainer, module):
        search_module.integer = self.integer(trainer, search_module.integer)

    def on_validation_end(self, trainer, module):
        if WHERE == "checkpoint" and trainer.current_epoch == int(EPOCH):
            os._exit(9)  # tuned and written, but not in a checkpoint yet

    @staticmethod
    def integer(trainer, before):
        def counted(*key):
            if WHERE == "tuning" and trainer.current_epoch == int(EPOCH) and key[-1] == 5:
                os._exit(9)
            return before(*key)
        return counted
"""
FLAGS = [*POINT_FLAGS, "--trainer.max_epochs=3", "--name=run", "--model.dropout=0.1", "--model.schedule=cosine"]


def fit(folder, *flags, **environment):
    killer = folder.parent / "killer.py"
    killer.write_text(KILLER)
    callbacks = '--trainer.callbacks=[{"class_path": "killer.Killer"}]'
    return command(
        "fit", *FLAGS, callbacks, f"--trainer.default_root_dir={folder}", *flags, PYTHONPATH=str(killer.parent), **environment
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
    main = {tag: [(e.step, e.value) for e in events.Scalars(tag)] for tag in events.Tags()["scalars"] if "per_second" not in tag}
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


@pytest.mark.parametrize("moment", ["0-collection", "0-training", "1-training", "1-tuning", "1-checkpoint"])
def test_killed_and_resumed_equals_never_stopped(tmp_path, uninterrupted, moment):
    folder = tmp_path / "runs"
    assert fit(folder, KILL=moment, check=False).returncode == 9
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
    start = "from the start" if moment.startswith("0") else "last.ckpt"
    assert start in done.stdout


def test_what_is_killed_never_leaves_a_broken_checkpoint(tmp_path, uninterrupted):
    for name in ("last.ckpt", "best.ckpt"):
        assert torch.load(uninterrupted / "run" / "version_0" / "checkpoints" / name, weights_only=True)["epoch"] >= 0
    assert not list(uninterrupted.rglob("*.partial"))


def test_without_a_run_there_is_nothing_to_go_on_from(tmp_path):
    done = fit(tmp_path / "runs", "--ckpt_path=last", check=False)
    assert done.returncode != 0
    assert "--ckpt_path=last: there is no run under" in done.stderr
