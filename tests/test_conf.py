"""Every configuration is parsed at full size, and run for two updates."""

import json
import re

import pytest
import yaml

from tests.processes import FIGURES, ROOT, command
from tests.walks import record, walk

OVERLAYS = ("debug", "ddp")
RUNS = sorted(path.stem for path in (ROOT / "conf").glob("*.yaml") if path.stem not in OVERLAYS)
# Fewer demonstrations, so that collecting them takes seconds.
FEW = ["--data.family_options.training_demonstrations=3", "--data.family_options.candidate_demonstrations=1"]
SMALLER = {
    "metaworld": [
        "--data.family_options.extra_goal_seeds=[]",
        "--data.family_options.training_demonstrations=3",
        "--data.family_options.candidate_demonstrations=2",
        "--data.family_options.horizon=40",
        "--tuning.tasks=[pick-place-v3/11]",
    ],
    "point": [],
    "own_data": [],
    "half_cheetah_vel": [*FEW, "--tuning.tasks=[half-cheetah-vel/02]"],
    "half_cheetah_dir": [*FEW, "--tuning.tasks=[half-cheetah-dir/01]"],
    "ant_dir": ["--data.family_options.split=ood", *FEW, "--tuning.tasks=[ant-dir/04]"],
    "ml10": [
        "--data.family_options.goals=1",
        *FEW,
        "--data.family_options.horizon=40",
        "--tuning.tasks=[ml10/drawer-open-v3-00]",
    ],
}


def test_the_configurations_are_the_documented_ones():
    assert RUNS == ["ant_dir", "half_cheetah_dir", "half_cheetah_vel", "metaworld", "ml10", "own_data", "point"]
    assert sorted(path.stem for path in (ROOT / "conf").glob("*.yaml")) == sorted([*RUNS, *OVERLAYS])


@pytest.fixture(scope="module")
def doors():
    """The datasets that `own_data` lists."""
    for goal, name in ((0, "door-a"), (1, "door-b"), (1, "door-b-more"), (2, "door-c")):
        record(f"me/{name}-v0", walk(goal=goal), steps=8, seed=goal)


@pytest.mark.parametrize("name", RUNS)
def test_it_parses_at_full_size_and_overrides_reach_it(name):
    flags = ["--model.width=64", "--tuning.rounds=51", "--seed=${oc.env:SEED}", "--print_config"]
    printed = yaml.safe_load(command("fit", "--config", f"conf/{name}.yaml", *flags, SEED="7").stdout)
    assert printed["model"]["width"] == 64
    assert printed["tuning"]["rounds"] == 51
    assert str(printed["seed"]) in ("7", "${oc.env:SEED}")


@pytest.mark.parametrize("name", [*RUNS, *OVERLAYS])
def test_every_key_is_explained(name):
    lines = (ROOT / "conf" / f"{name}.yaml").read_text().splitlines()
    values = [line for line in lines if re.match(r"\s*\w+: +[^\s#]", line)]
    assert [line for line in values if " # " not in line and "class_path" not in line] == []


@pytest.mark.parametrize("name", RUNS)
def test_the_warm_up_is_at_most_a_twentieth_of_the_run(name):
    config = yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text())
    updates = config["trainer"]["max_epochs"] * config["data"]["updates_per_epoch"]
    assert config["model"]["warmup_updates"] <= updates / 20


@pytest.mark.parametrize("name", RUNS)
def test_it_runs_for_two_updates(name, tmp_path, doors):
    flags = ["--config", f"conf/{name}.yaml", "--config", "conf/debug.yaml", *SMALLER[name]]
    done = command("fit", *flags, f"--trainer.default_root_dir={tmp_path}", draws=FIGURES)
    folder = tmp_path / "debug" / "version_0"
    assert json.loads((folder / "summary.json").read_text())["final"]
    assert (folder / "checkpoints" / "last.ckpt").exists()
    assert (folder / "checkpoints" / "best.ckpt").exists()
    assert len(list((folder / "checkpoints").iterdir())) == 2
    assert (folder / "config.yaml").exists()
    assert "pdt_lightning.tune --ckpt_path" in done.stdout
    assert "Warning" not in done.stderr
