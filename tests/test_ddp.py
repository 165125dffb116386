"""One rank and two, as processes: the same tuning from one checkpoint, to the bit; the same weights, to rounding."""

import json
import socket
import subprocess
import sys

import numpy as np
import pytest
import torch
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from tests.conftest import POINT_FLAGS
from tests.processes import command, ranks

TWO = ["--config", "conf/ddp.yaml", "--trainer.accelerator=cpu"]


def options(folder, *flags):
    own = ["--name=run", f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=2", "--model.dropout=0.0"]
    return [*POINT_FLAGS, *own, *flags]


def fit(folder, *flags, **how):
    return command("fit", *options(folder, *flags), **how)


def two(folder, *flags, **environment):
    """Two ranks, which Lightning does not launch itself."""
    return ranks(2, *options(folder, *TWO, *flags), **environment)


def version(folder):
    return folder / "run" / "version_0"


@pytest.fixture(scope="module")
def one(tmp_path_factory, point_data):
    folder = tmp_path_factory.mktemp("one")
    fit(folder)
    return folder


def curves(folder):
    """What a run logs, by name, without the times that it took."""
    events = EventAccumulator(str(version(folder))).Reload()
    names = [name for name in events.Tags()["scalars"] if "per_second" not in name]
    return {name: [(event.step, event.value) for event in events.Scalars(name)] for name in names}


def test_two_ranks_train_the_same_weights_and_log_the_same_to_rounding(tmp_path, one):
    done = fit(tmp_path, *TWO)
    assert "sync_dist" not in done.stdout + done.stderr
    alone, both = curves(one), curves(tmp_path)
    assert {"train/loss", "val/action_error", "heldout_task/point/03", "tuning/tuned_return"} <= set(alone) == set(both)
    for name in alone:
        if "tuning" not in name:  # where a weight that was rounded otherwise may end in another episode
            assert np.array(both[name]) == pytest.approx(np.array(alone[name]), abs=1e-5)
    weights = [
        torch.load(version(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (one, tmp_path)
    ]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])


def test_two_nodes_train_the_same_weights_in_one_folder(tmp_path, one):
    """Two agents of `torchrun`, which meet by an address as on two machines, each with a rank."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    torchrun = [sys.executable, "-m", "torch.distributed.run", "--nnodes=2", "--nproc-per-node=1"]
    torchrun += ["--master-addr=127.0.0.1", f"--master-port={port}"]
    flags = options(tmp_path, *TWO, "--trainer.devices=1", "--trainer.num_nodes=2")
    agents = [
        subprocess.Popen(
            [*torchrun, f"--node-rank={node}", "-m", "pdt_lightning.fit", *map(str, flags)],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        for node in range(2)
    ]
    said = [agent.communicate(timeout=240)[0] for agent in agents]
    assert [agent.returncode for agent in agents] == [0, 0], said
    assert ["Written to" in of_node for of_node in said] == [True, False]
    assert [path.name for path in (tmp_path / "run").iterdir()] == ["version_0"]
    weights = [
        torch.load(version(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for folder in (one, tmp_path)
    ]
    assert all(torch.allclose(weights[0][name], weights[1][name], atol=1e-5) for name in weights[0])


@pytest.mark.parametrize("by", ["sensitivity", "success"])
def test_two_ranks_draw_tasks_by_the_same_measurements_as_one(tmp_path, by):
    flags = [f"--data.task_sampling={by}", "--tuning.every_n_epochs=0", "--tuning.oracle_candidates=0"]
    flags += ["--tuning.engine=tests.guests.Lucky"] if by == "success" else []
    fit(tmp_path / "alone", *flags)
    fit(tmp_path / "both", *flags, *TWO)
    alone, both = (
        torch.load(version(tmp_path / name) / "checkpoints" / "last.ckpt", weights_only=True)
        for name in ("alone", "both")
    )
    states = [one["MultiTaskDataModule"]["task_sampling"] for one in (alone, both)]
    assert states[0]["epoch"] == states[1]["epoch"] == 1
    assert states[0]["weights"] == pytest.approx(states[1]["weights"], abs=1e-5)
    assert states[0].get("posterior") == states[1].get("posterior")
    weights = alone["state_dict"]
    assert all(torch.allclose(weights[name], both["state_dict"][name], atol=1e-5) for name in weights)


def test_two_ranks_tune_exactly_alike_from_one_checkpoint(tmp_path, one):
    """The learning rate is 0, so that both go on with the same weights; one task is left over for the second rank."""
    checkpoint = version(one) / "checkpoints" / "last.ckpt"
    summaries, tables, prompts = [], [], []
    for name, start in (("alone", fit), ("both", two)):
        folder = tmp_path / name
        frozen = torch.load(checkpoint, weights_only=True)
        for state in frozen["optimizer_states"]:
            for group in state["param_groups"]:
                group["lr"] = group["weight_decay"] = 0.0
        for state in frozen["lr_schedulers"]:
            state["base_lrs"] = [0.0]
            state["_last_lr"] = [0.0]
        (tmp_path / f"{name}.ckpt").unlink(missing_ok=True)
        torch.save(frozen, tmp_path / f"{name}.ckpt")
        start(folder, "--trainer.max_epochs=3", f"--ckpt_path={tmp_path / (name + '.ckpt')}")
        trained = torch.load(version(folder) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        assert all(torch.equal(trained[key], frozen["state_dict"][key]) for key in trained)
        summaries.append(json.loads((version(folder) / "summary.json").read_text()))
        tables.append((version(folder) / "tuning.csv").read_text())
        prompts.append({p.name: p.read_bytes() for p in (version(folder) / "prompts").rglob("*.safetensors")})
    assert summaries[0] == summaries[1]
    assert tables[0] == tables[1]
    assert prompts[0] == prompts[1]


def test_more_ranks_than_tasks_do_not_hang(tmp_path):
    two(tmp_path, "--tuning.tasks=[point/07]", "--trainer.max_epochs=1")
    assert set(json.loads((version(tmp_path) / "summary.json").read_text())["tasks"]) == {"point/07"}


def test_two_ranks_train_without_prompts(tmp_path):
    two(tmp_path, "--model.use_prompt=false", "--trainer.max_epochs=1", "--tuning.oracle_candidates=0")
    assert (version(tmp_path) / "summary.json").exists()


BREAKS = """
import lightning
import pdt_lightning.tuning.on_ranks as module

class Breaks(lightning.Callback):
    def on_validation_epoch_start(self, trainer, pl_module):
        if trainer.global_rank == 1:
            module.tune = self.fail

    @staticmethod
    def fail(*args, **kwargs):
        raise ArithmeticError("rank one broke")
"""


def test_an_error_on_one_rank_ends_them_all(tmp_path):
    (tmp_path / "breaks.py").write_text(BREAKS)
    flags = ['--trainer.callbacks=[{"class_path": "breaks.Breaks"}]', "--trainer.max_epochs=1"]
    done = fit(tmp_path, *TWO, *flags, check=False, PYTHONPATH=str(tmp_path))
    assert done.returncode != 0
    assert "on rank 1: ArithmeticError: rank one broke" in done.stderr


STOPS = """
import os
import signal
import lightning

class Stops(lightning.Callback):
    def on_train_batch_start(self, trainer, *args):
        if os.environ.get("STOP") and trainer.global_rank == 0 and trainer.global_step == 3:
            os.kill(os.getpid(), signal.SIGTERM)
"""


def test_ranks_stop_together_and_go_on_exactly(tmp_path):
    """The first rank alone is told to; the ranks agree after ten updates."""
    (tmp_path / "stops.py").write_text(STOPS)
    flags = [
        '--trainer.callbacks=[{"class_path": "stops.Stops"}]',
        "--data.updates_per_epoch=14",
        "--trainer.max_epochs=1",
    ]
    flags += ["--tuning.oracle_candidates=0", "--tuning.tasks=[point/03,point/07]"]
    two(tmp_path / "whole", *flags, PYTHONPATH=str(tmp_path))
    stopped = fit(tmp_path / "part", *TWO, *flags, check=False, STOP="1", PYTHONPATH=str(tmp_path))
    assert stopped.returncode == 143, stopped.stderr
    assert stopped.stdout.count("Stopped after update 10, in epoch 0.") == 1
    checkpoint = version(tmp_path / "part") / "checkpoints" / "last.ckpt"
    assert torch.load(checkpoint, weights_only=True)["global_step"] == 10
    fit(tmp_path / "part", *TWO, *flags, "--ckpt_path=last", PYTHONPATH=str(tmp_path))
    whole, part = (
        torch.load(version(tmp_path / name) / "checkpoints" / "last.ckpt", weights_only=True)["state_dict"]
        for name in ("whole", "part")
    )
    assert all(torch.equal(whole[key], part[key]) for key in whole)
    assert (version(tmp_path / "whole") / "tuning.csv").read_bytes() == (
        version(tmp_path / "part") / "tuning.csv"
    ).read_bytes()
