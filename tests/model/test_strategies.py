"""Weights that are shared out over ranks; and strategies that do so in ways of their own, which are refused by name."""

import shutil
from types import SimpleNamespace

import pytest
import torch
from lightning.pytorch import strategies
from lightning.pytorch.callbacks import EMAWeightAveraging

from pdt_lightning.core.errors import UserError
from pdt_lightning.model.checkpoints import load
from pdt_lightning.model.strategies import FullySharded, fit_strategy
from tests.conftest import POINT_FLAGS
from tests.processes import command, ranks


@pytest.mark.parametrize("name", ["FSDPStrategy", "ModelParallelStrategy", "DeepSpeedStrategy"])
def test_a_strategy_that_shards_weights_is_refused_by_name(point_module, name):
    kind = getattr(strategies, name)
    with pytest.raises(
        UserError, match=f"`trainer.strategy`={name} shards the weights.*Take ddp: .* 0.0 million.* take fsdp"
    ):
        fit_strategy(SimpleNamespace(strategy=kind.__new__(kind)), point_module)


def test_averaged_weights_are_refused_where_they_are_shared_out(point_module):
    trainer = SimpleNamespace(strategy=FullySharded(), callbacks=[EMAWeightAveraging()])
    with pytest.raises(UserError, match="EMAWeightAveraging averages whole weights"):
        fit_strategy(trainer, point_module)


def test_the_command_refuses_it_too(tmp_path, point_data):
    kind = '{"class_path": "lightning.pytorch.strategies.ModelParallelStrategy"}'
    flags = [f"--trainer.strategy={kind}", "--trainer.devices=1"]
    done = command("fit", *POINT_FLAGS, *flags, f"--trainer.default_root_dir={tmp_path}", check=False)
    assert done.returncode == 2
    assert "--trainer.strategy=ModelParallelStrategy shards the weights" in done.stderr
    assert "Traceback" not in done.stderr


OWN = [
    "--name=run",
    "--model.layers=2",
    "--model.dropout=0.0",
    "--trainer.accelerator=cpu",
    "--tuning.tasks=[point/03]",
]
OWN += ["--tuning.oracle_candidates=0", "--data.task_sampling=sensitivity"]
TWO = ["--trainer.strategy=fsdp", "--trainer.devices=2"]


def sharded(folder, *flags):
    return ranks(2, *POINT_FLAGS, *OWN, *TWO, f"--trainer.default_root_dir={folder}", *flags)


def last(folder):
    return folder / "run" / "version_0" / "checkpoints" / "last.ckpt"


def weights(path):
    return torch.load(path, weights_only=True)["state_dict"]


@pytest.fixture(scope="module")
def one_epoch(tmp_path_factory, point_data):
    """A run of two ranks, each with a share of the weights."""
    folder = tmp_path_factory.mktemp("sharded")
    sharded(folder, "--trainer.max_epochs=1")
    return folder


def test_shared_weights_are_trained_as_whole_ones_and_saved_whole(tmp_path, one_epoch):
    command("fit", *POINT_FLAGS, *OWN, f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1")
    expected, found = weights(last(tmp_path)), weights(last(one_epoch))
    assert found.keys() == expected.keys()
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)
    first = torch.load(last(one_epoch), weights_only=True)["optimizer_states"][0]["state"][0]
    assert first["exp_avg"].shape == next(iter(load(last(one_epoch))[0].model.parameters())).shape


def test_a_phase_plays_with_the_weights_that_are_saved(one_epoch):
    version = last(one_epoch).parent.parent
    flags = [f"--ckpt_path={last(one_epoch)}", f"--prompts={version / 'prompts'}", "--rounds=0", "--tasks=[point/03]"]
    command("tune", *flags, "--verdict_episodes=8", f"--out={one_epoch / 'again'}")
    assert (one_epoch / "again" / "summary.json").exists()
    assert len((version / "tuning.csv").read_text().splitlines()) > 2


def test_a_run_goes_on_with_shared_weights_and_without(tmp_path, one_epoch):
    sharded(tmp_path / "whole", "--trainer.max_epochs=2")
    expected = weights(last(tmp_path / "whole"))
    for name in ("shared", "alone"):
        shutil.copytree(one_epoch / "run", tmp_path / name / "run")
    sharded(tmp_path / "shared", "--trainer.max_epochs=2", "--ckpt_path=last")
    found = weights(last(tmp_path / "shared"))
    assert all(torch.equal(found[name], expected[name]) for name in expected)
    flags = [f"--trainer.default_root_dir={tmp_path / 'alone'}", "--trainer.max_epochs=2", "--ckpt_path=last"]
    command("fit", *POINT_FLAGS, *OWN, *flags)
    found = weights(last(tmp_path / "alone"))
    assert all(torch.allclose(found[name], expected[name], atol=1e-5) for name in expected)


def test_an_update_that_is_not_finite_is_passed_over_on_all_ranks(tmp_path, point_data):
    broken = """
import lightning, torch

class Breaks(lightning.Callback):
    def on_after_backward(self, trainer, pl_module):
        if trainer.global_step == 2 and trainer.global_rank == 1:
            next(iter(pl_module.parameters())).grad.to_local().fill_(float("nan"))
"""
    (tmp_path / "breaks.py").write_text(broken)
    flags = [*POINT_FLAGS, *OWN, *TWO, f"--trainer.default_root_dir={tmp_path}", "--model.skip_not_finite=true"]
    flags += ["--trainer.max_epochs=1", '--trainer.callbacks=[{"class_path": "breaks.Breaks"}]']
    ranks(2, *flags, PYTHONPATH=str(tmp_path))
    content = torch.load(last(tmp_path), weights_only=True)
    assert content["skipped_updates"] == 1
    assert all(values.isfinite().all() for values in content["state_dict"].values())
