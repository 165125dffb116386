"""What the command line of a run adds to Lightning's: files that add to mappings, and weights to begin with."""

import pytest
import torch
import yaml

from pdt_lightning import fit as command_fit
from pdt_lightning.model.checkpoints import read
from tests.conftest import POINT_FLAGS
from tests.processes import command


def configured(capsys, *args):
    with pytest.raises(SystemExit):
        command_fit.main([*map(str, args), "--print_config"])
    return yaml.safe_load(capsys.readouterr().out)


def test_a_later_file_changes_those_options_of_a_mapping_that_it_has(tmp_path, capsys):
    second, third = tmp_path / "second.yaml", tmp_path / "third.yaml"
    second.write_text("data:\n  family_options:\n    horizon: 100\ntuning:\n  tuner_options:\n    features: raw\n")
    third.write_text(
        "data:\n  family: point\n  family_options:\n    held_out: [3]\ntuning:\n  tuner_options:\n    credit: whole\n"
    )
    first = configured(capsys, "--config=conf/metaworld.yaml")["data"]["family_options"]
    both = configured(capsys, "--config=conf/metaworld.yaml", f"--config={second}")
    assert both["data"]["family_options"] == {**first, "horizon": 100}
    other = configured(capsys, "--config=conf/metaworld.yaml", f"--config={second}", f"--config={third}")
    assert other["data"]["family_options"] == {"held_out": [3]}  # of another family nothing is left
    assert other["tuning"]["tuner_options"] == {"features": "raw", "credit": "whole"}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, point_data):
    folder = tmp_path_factory.mktemp("first")
    command("fit", *POINT_FLAGS, "--name=run", f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=1")
    return folder / "run" / "version_0" / "checkpoints" / "last.ckpt"


def test_new_training_begins_with_saved_weights(trained, tmp_path):
    flags = [*POINT_FLAGS, "--name=run", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1"]
    changed = ["--data.family_options.held_out=[2]", "--model.learning_rate=1e-12", "--model.weight_decay=0"]
    done = command("fit", *flags, *changed, f"--init_from={trained}")
    assert "from the start" in done.stdout
    before = read(trained)
    after = read(tmp_path / "run" / "version_0" / "checkpoints" / "last.ckpt")
    assert after["global_step"] == before["global_step"] == 3
    for name, values in before["state_dict"].items():
        assert torch.allclose(values, after["state_dict"][name], atol=1e-8), name  # statistics too


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--model.width=32"], "is of another model: width is 32, there 16"),
        (["--ckpt_path=last"], "Give one of them"),
    ],
)
def test_weights_that_do_not_fit_are_refused(trained, tmp_path, flags, words):
    root = f"--trainer.default_root_dir={tmp_path}"
    done = command("fit", *POINT_FLAGS, root, f"--init_from={trained}", *flags, check=False)
    assert done.returncode == 2
    assert words in done.stderr
    assert not list(tmp_path.iterdir())


def test_lightnings_own_optimizer_and_schedule_work(tmp_path, point_data):
    flags = [*POINT_FLAGS, "--name=run", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1"]
    command(
        "fit",
        *flags,
        "--optimizer=SGD",
        "--optimizer.lr=0.01",
        "--lr_scheduler=ExponentialLR",
        "--lr_scheduler.gamma=0.5",
    )
    saved = read(tmp_path / "run" / "version_0" / "checkpoints" / "last.ckpt")
    assert "momentum" in saved["optimizer_states"][0]["param_groups"][0]
    assert saved["lr_schedulers"][0]["gamma"] == 0.5
