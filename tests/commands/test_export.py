"""An exported model is the checkpoint that it came from, wherever a checkpoint is asked for."""

import json
import re
import shutil
from importlib.metadata import EntryPoint

import gymnasium as gym
import numpy as np
import pytest
import torch
import yaml

import pdt_lightning
from pdt_lightning import compare, export, fit, tune
from pdt_lightning.commands.checkpoint_options import saved_options
from pdt_lightning.core.errors import NotFoundError, UserError
from pdt_lightning.model import checkpoints, exported, pretrained
from pdt_lightning.model.lit_pdt import LitPDT
from tests.conftest import POINT_FLAGS
from tests.processes import ROOT, command

# Lightning's use of jsonargparse, which in a process of its own nobody sees.
pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

LIMIT = 4e6  # bytes of a model of the shipped configurations
TASKS = ["point/03", "point/07", "point/11"]


@pytest.fixture(scope="module")
def run(tmp_path_factory, point_data):
    folder = tmp_path_factory.mktemp("run")
    command("fit", *POINT_FLAGS, "--name=p", f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=2")
    return folder / "p" / "version_0"


@pytest.fixture(scope="module")
def model(run, tmp_path_factory):
    """The folder of the exported model."""
    folder = tmp_path_factory.mktemp("exported") / "small_point"
    export.main([f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", f"--out={folder}", "--torch_export=true"])
    return folder


@pytest.fixture
def installed(model, tmp_path, monkeypatch):
    """The model as one that a package brings."""
    package = tmp_path / "some_models"
    shutil.copytree(model, package / "small_point")
    (package / "__init__.py").write_text("")
    (package / "not_a_model").mkdir()
    monkeypatch.syspath_prepend(tmp_path)
    entry = EntryPoint("mine", "some_models", pretrained.GROUP)
    monkeypatch.setattr(pretrained, "entry_points", lambda group: [entry] if group == pretrained.GROUP else [])


def refused(capsys, main, *flags):
    with pytest.raises(SystemExit) as end:
        main([*map(str, flags)])
    assert end.value.code == 2
    return capsys.readouterr().err.splitlines()[-1]


def total(policy):
    env, over, reward, found = gym.make(policy.environment), False, None, 0.0
    observation, _ = env.reset(seed=3)
    policy.reset()
    while not over:
        observation, reward, terminated, truncated, _ = env.step(policy.act(observation, reward))
        over, found = terminated or truncated, found + float(np.abs(observation).sum())
    return found


def test_it_holds_what_the_checkpoint_holds_and_nothing_that_could_run(run, model):
    assert {path.relative_to(model).as_posix() for path in model.rglob("*") if path.is_file()} == {
        *("README.md", "config.yaml", "model.safetensors", "policy.pt2", "summary.json"),
        *(f"prompts/{task}.safetensors" for task in TASKS),
    }
    checkpoint = run / "checkpoints" / "last.ckpt"
    before, after = checkpoints.read(checkpoint), checkpoints.read(model)
    assert before["state_dict"].keys() == after["state_dict"].keys()
    for name, weights in before["state_dict"].items():
        assert torch.equal(weights, after["state_dict"][name])
    for part in ("hyper_parameters", "datamodule_hyper_parameters"):
        assert {**after[part], "_instantiator": before[part]["_instantiator"]} == before[part]
    assert after["MultiTaskDataModule"] == before["MultiTaskDataModule"]
    arguments = [[f"--ckpt_path={path}"] for path in (checkpoint, model)]
    assert saved_options(tune.parser(), arguments[0]) == saved_options(tune.parser(), arguments[1])
    assert (model / "summary.json").read_text() == (run / "summary.json").read_text()
    for task in TASKS:
        name = f"prompts/{task}.safetensors"
        assert (model / name).read_bytes() == (run / name).read_bytes()


def test_the_card_says_what_the_model_is_and_its_examples_run(model, installed, monkeypatch):
    card = (model / "README.md").read_text()
    front = yaml.safe_load(card.split("---\n")[1])
    assert front["library_name"] == "pdt-lightning"
    assert "6 updates with seed 0" in card
    assert "| `model.width` | 16 |" in card
    assert f"| torch | {torch.__version__} |" in card
    summary = json.loads((model / "summary.json").read_text())
    assert f"success {summary['tasks']['point/03']['tuned']['success']:.2f}" in card
    assert all(f"| `{task}` |" in card for task in TASKS)
    loads, alone = re.findall(r"```python\n(.*?)```", card, re.S)
    shown: dict = {}
    exec(compile(loads, "README.md", "exec"), shown)
    assert shown["over"]
    monkeypatch.chdir(model)
    exec(compile(alone, "README.md", "exec"), shown)
    policy = shown["policy"]
    policy.reset()
    assert shown["action"][0].numpy() == pytest.approx(policy.act(np.zeros(2)), abs=1e-5)
    commands = re.findall(r"^python -m pdt_lightning\.(.*)", card, re.M)
    assert commands[0] == "tune --ckpt_path small_point --rounds 60"
    assert commands[1].startswith("collect point --family_options='{")
    assert "training_demonstrations: 4" in commands[1]


def test_it_does_not_say_where_the_checkpoint_lay(run, tmp_path):
    checkpoint, results = run / "checkpoints" / "last.ckpt", tmp_path / "tuned"
    tune.main([f"--ckpt_path={checkpoint}", "--rounds=0", "--verdict_episodes=1", f"--out={results}"])
    assert str(run) in (results / "summary.json").read_text()
    export.main([f"--ckpt_path={checkpoint}", f"--results={results}", f"--out={tmp_path / 'shared'}"])
    written = "".join(path.read_text() for path in (tmp_path / "shared").iterdir() if path.suffix in (".json", ".md"))
    assert str(run) not in written
    assert json.loads((tmp_path / "shared" / "summary.json").read_text())["checkpoint"] == "checkpoints/last.ckpt"


def test_it_acts_as_the_run_does_by_path_and_by_name(run, model, installed):
    checkpoint = run / "checkpoints" / "last.ckpt"
    expected = total(pdt_lightning.load(checkpoint, prompt=run / "prompts" / "point" / "07.safetensors"))
    for place in (checkpoint, model, str(model), "small_point"):
        assert total(pdt_lightning.load(place, prompt="point/07")) == expected
    with pytest.raises(NotFoundError, match=r"prompt=point/08: there is no such file.*: point/03, point/07, point/11"):
        pdt_lightning.load("small_point", prompt="point/08")
    with pytest.raises(UserError, match=r"small_point needs a prompt: give prompt=.*point/03"):
        pdt_lightning.load("small_point")


def test_commands_take_it_as_they_take_a_checkpoint(run, model, installed, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    small = ["--rounds=3", "--verdict_episodes=2", "--yardstick_episodes=2", "--tasks=[point/03]"]
    tune.main([f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", "--out=first", *small])
    tune.main(["--ckpt_path=small_point", *small])
    found = [
        json.loads((tmp_path / name / "summary.json").read_text()) for name in ("first", "runs/small_point/tune_0")
    ]
    assert found[0]["tasks"] == found[1]["tasks"]
    flags = ["--tuners", "random_search", "--rounds=2", "--seeds=1", "--verdict_episodes=2", "--oracle_candidates=1"]
    small = [*flags, "--oracle_episodes=1", "--workers=1", "--tasks=[point/03]", "--out=report"]
    compare.main(["--ckpt_path", str(model), *small])  # whose worker processes do not know of the test's package
    assert json.loads((tmp_path / "report" / "summary.json").read_text())["tuners"]
    # What tune has left can be exported, and what is exported too.
    export.main(["--ckpt_path=small_point", "--results=runs/small_point/tune_0", "--out=again"])
    assert [path.name for path in (tmp_path / "again" / "prompts" / "point").iterdir()] == ["03.safetensors"]
    assert (tmp_path / "again" / "model.safetensors").read_bytes() == (model / "model.safetensors").read_bytes()


def test_training_begins_with_its_weights_but_does_not_go_on_from_it(model, point_data, capsys):
    content = checkpoints.read(model)
    module = LitPDT(**content["hyper_parameters"] | {"seed": 5})
    checkpoints.start_from(module, model)
    assert all(torch.equal(values, content["state_dict"][name]) for name, values in module.state_dict().items())
    flags = [*POINT_FLAGS, "--data.progress=false", f"--ckpt_path={model}"]
    said = refused(capsys, fit.main, *flags)
    assert f"--ckpt_path={model} holds no state of training" in said
    assert f"--init_from={model}" in said


def test_a_name_that_is_not_there_says_what_is_and_what_to_install(installed, monkeypatch, capsys):
    said = refused(capsys, tune.main, "--ckpt_path=smal_point")
    assert "--ckpt_path=smal_point: there is no such file." in said
    assert said.endswith("models that are installed are small_point. Did you mean small_point?")
    assert "pretrained" not in refused(capsys, tune.main, "--ckpt_path=runs/last.ckpt")
    monkeypatch.setattr(pretrained, "entry_points", lambda group: [])
    with pytest.raises(
        NotFoundError, match=r"checkpoint`=small_point.* pip install pdt-lightning-models, or .* ./models"
    ):
        pdt_lightning.load("small_point", prompt="point/03")


def test_a_folder_that_is_broken_or_newer_is_refused(model, tmp_path):
    for name, content, message in (
        ("config.yaml", (model / "config.yaml").read_text().replace("format: 1", "format: 2"), "format 2, but"),
        ("config.yaml", "model: [", "not what pdt_lightning.export wrote"),
        ("config.yaml", "format: 1\nmodel: {}\n", "not what pdt_lightning.export wrote.*KeyError: 'data'"),
        ("model.safetensors", "no weights", "not what pdt_lightning.export wrote"),
    ):
        shutil.copytree(model, tmp_path / "model", dirs_exist_ok=True)
        (tmp_path / "model" / name).write_text(content)
        with pytest.raises(UserError, match=message):
            checkpoints.load(tmp_path / "model")


def test_what_does_not_go_together_is_refused_before_anything_is_written(run, tmp_path, capsys):
    last, out = run / "checkpoints" / "last.ckpt", f"--out={tmp_path / 'model'}"
    assert "holds something already" in refused(capsys, export.main, f"--ckpt_path={last}", f"--out={run}")
    assert "no such folder" in refused(capsys, export.main, f"--ckpt_path={last}", out, f"--results={tmp_path / 'no'}")
    (tmp_path / "checkpoints").mkdir()
    alone = shutil.copy(last, tmp_path / "checkpoints" / "last.ckpt")
    assert "has no prompts/, without which" in refused(capsys, export.main, f"--ckpt_path={alone}", out)
    early = torch.load(last, weights_only=True) | {"epoch": 0}
    torch.save(early, run / "checkpoints" / "early.ckpt")
    said = refused(capsys, export.main, f"--ckpt_path={run / 'checkpoints' / 'early.ckpt'}", out)
    assert "are of checkpoints/last.ckpt after epoch 1, not of this checkpoint" in said
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("name", ["ant_dir", "half_cheetah_vel", "half_cheetah_dir", "metaworld", "ml10", "point"])
def test_models_of_the_configurations_are_small(name):
    options = yaml.safe_load((ROOT / "conf" / f"{name}.yaml").read_text())
    module = LitPDT(40, 8, 500, **options["model"])  # none of their tasks has more, or longer episodes
    assert sum(values.numel() * values.element_size() for values in module.state_dict().values()) < 0.9 * LIMIT


SHIPPED = sorted(path for path in (ROOT / "models" / "pdt_lightning_models").iterdir() if exported.is_exported(path))


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda path: path.name)
def test_the_shipped_models_are_whole_and_name_no_machine(folder):
    module = checkpoints.load_module(folder)
    prompts = list((folder / "prompts").rglob("*.safetensors"))
    assert prompts
    for path in prompts:
        policy = pdt_lightning.load(folder, prompt=path)
        policy.reset()
        observation = np.zeros(module.hparams["state_size"])
        assert np.isfinite(policy.act(observation)).all() if policy.environment is not None else True
    assert f"# {folder.name}\n" in (folder / "README.md").read_text()
    assert sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) < LIMIT
    for path in folder.rglob("*"):
        assert path.is_dir() or not re.search(rb"/(home|tmp|root|work)/", path.read_bytes())
