"""The way from a list of one's own datasets to tuned prompts, as README has it."""

import json

import pytest
import yaml

from pdt_lightning import collect, fit, tune
from tests.processes import ROOT
from tests.walks import record, walk

# jsonargparse's, of what Lightning calls.
pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")


@pytest.fixture
def own_data(tmp_path, monkeypatch):
    """A copy of the configuration to copy, in a folder with the datasets that it lists."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()
    monkeypatch.chdir(tmp_path)
    for goal, name in ((0, "door-a"), (1, "door-b"), (1, "door-b-more"), (2, "door-c"), (3, "door-d")):
        record(f"me/{name}-v0", walk(goal=goal, success="number"), steps=8, seed=goal)
    (tmp_path / "own_data.yaml").write_text((ROOT / "conf" / "own_data.yaml").read_text())
    return tmp_path


def test_readmes_three_commands(own_data, capsys):
    collect.main(["check", "--config", "own_data.yaml"])
    said = capsys.readouterr().out
    assert "3 tasks, 0 warnings" in said
    small = ["--trainer.enable_progress_bar=false", "--model.width=16", "--model.layers=1", "--model.inner=16"]
    fit.main(["--config=own_data.yaml", f"--config={ROOT / 'conf' / 'debug.yaml'}", *small, "--name=own_data"])
    held_out = "[{id: door/d, prompt_data: [me/door-d-v0]}]"
    flags = ["--rounds=2", "--verdict_episodes=2", "--yardstick_episodes=1", "--out=tuned"]
    tune.main(
        ["--ckpt_path=runs/own_data/version_0/checkpoints/last.ckpt", f"--family_options.held_out={held_out}", *flags]
    )
    assert list(json.loads((own_data / "tuned" / "summary.json").read_text())["tasks"]) == ["door/d"]


def test_check_says_what_is_odd(own_data, capsys):
    config = yaml.safe_load((own_data / "own_data.yaml").read_text())
    listed = config["data"]["family_options"]
    record("me/dense-v0", walk(goal=1), eval_env=walk(goal=5), seed=5)
    record("me/cut-v0", walk(goal=1), lengths=(8, 8, 4, 8), seed=6, options={"goal": 2})
    listed["training"] = [
        {"id": "dense", "training_data": ["me/dense-v0"]},
        {"id": "cut", "training_data": ["me/cut-v0"]},
        {"id": "short", "training_data": ["me/door-a-v0"], "horizon": 5},
        {"id": "long", "training_data": ["me/door-b-v0"], "horizon": 50},
    ]
    config["model"]["warmup_updates"] = 10_000
    (own_data / "odd.yaml").write_text(yaml.safe_dump(config))
    collect.main(["check", "--config", "own_data.yaml", "--config", "odd.yaml"])
    said = capsys.readouterr().out
    for words in (
        "! dense: rollouts are in the evaluation environment",
        "! dense: recorded actions do not bring the recorded returns again",
        '! cut: episodes begin with the recorded reset options, {"goal": 2}',
        "! cut: 1 of 4 episodes were cut off",
        "! short: demonstrations have up to 8 steps",
        "! long: no demonstration gets to the horizon of 50",
        "! --model.warmup_updates=10,000 is more than the 2,000 updates",
    ):
        assert words in said


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("trainer: {max_epochs: 1}", "the following arguments are required: --data.family_options.training"),
        ("data: {famly: minari}", "unrecognized option --data.famly. Did you mean --data.family?"),
        ("data: {batch_size: 0}", "--data.batch_size=0"),
        ("data: [", "A configuration is YAML"),
        (
            "data: {family: minari, family_options: {training: [{id: x, training_data: [me/no-v0]}], held_out: []}}",
            "me/no-v0",
        ),
    ],
)
def test_check_refuses_by_name(own_data, capsys, text, words):
    (own_data / "bad.yaml").write_text(text)
    with pytest.raises(SystemExit) as end:
        collect.main(["check", "--config=bad.yaml"])
    assert end.value.code == 2
    assert words in capsys.readouterr().err
