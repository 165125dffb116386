"""The pages under docs/ do what they say."""

import pickle
import re
import sys
import tomllib
from dataclasses import replace
from importlib.metadata import EntryPoint

import gymnasium as gym
import pytest

from tests.processes import ROOT, command


@pytest.fixture
def line_world(tmp_path, monkeypatch):
    """The package of docs/adding_a_family.md, as if it were installed; its blocks of Python by their first line."""
    page = (ROOT / "docs" / "adding_a_family.md").read_text()
    blocks = re.findall(r"```python\n(.*?)```", page, re.S)
    (tmp_path / "line_world").mkdir()
    for block in blocks:
        if name := re.match(r"# (line_world/\w+\.py)\n", block):
            (tmp_path / name[1]).write_text(block)
    (table,) = re.findall(r"```toml\n(.*?)```", page, re.S)
    ((group, entries),) = tomllib.loads(table)["project"]["entry-points"].items()
    installed = [EntryPoint(name, value, group) for name, value in entries.items()]
    about = tmp_path / "line_world-1.0.dist-info"  # for other processes
    about.mkdir()
    (about / "METADATA").write_text("Metadata-Version: 2.1\nName: line-world\nVersion: 1.0\n")
    (about / "entry_points.txt").write_text(
        f"[{group}]\n" + "".join(f"{name} = {value}\n" for name, value in entries.items())
    )
    monkeypatch.setattr("pdt_lightning.tasks.base.entry_points", lambda group: installed)
    monkeypatch.syspath_prepend(tmp_path)
    yield blocks[-1]
    gym.registry.pop("line-world/Line-v0", None)
    for name in ("line_world", "line_world.family"):
        sys.modules.pop(name, None)


def test_the_family_that_is_added_keeps_the_contract_and_is_collected(line_world, tmp_path, monkeypatch, capsys):
    from pdt_lightning import collect
    from pdt_lightning.tasks import make_family

    shown: dict = {}
    exec(compile(line_world, "adding_a_family.md", "exec"), shown)
    shown["test_it_keeps_the_contract"]()
    assert len(make_family("line", {"places": 12}).training_tasks) == 10
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    collect.main(["line", "--family_options={places: 3}", "--workers=1", "--progress=false"])
    assert "3 of them are new" in capsys.readouterr().out


RUN = [
    "--config=conf/point.yaml",
    "--config=conf/debug.yaml",
    "--data.family=line",
    "--data.family_options.demonstrations=3",
    "--data.family_options.places=5",
    "--model.width=16",
    "--model.layers=1",
]


def test_the_family_that_is_added_runs_with_workers_films_and_two_ranks(line_world, tmp_path):
    """Worker processes have not imported the package that registers the environment."""
    known = {"PYTHONPATH": str(tmp_path), "MINARI_DATASETS_PATH": str(tmp_path / "minari")}
    place = f"--trainer.default_root_dir={tmp_path / 'runs'}"
    ranks = ["--config=conf/ddp.yaml", "--trainer.accelerator=cpu"]
    command("fit", *RUN, place, *ranks, "--tuning.workers=1", "--tuning.videos=1", **known)
    run = tmp_path / "runs" / "debug" / "version_0"
    assert len(list((run / "videos").rglob("*.gif"))) == 1
    checkpoint = run / "checkpoints" / "last.ckpt"
    command("tune", f"--ckpt_path={checkpoint}", "--workers=2", f"--out={tmp_path / 'tuned'}", **known)
    assert (tmp_path / "tuned" / "summary.json").read_text().count("line/00") == 1


def test_an_environment_may_name_the_module_that_registers_it(line_world, monkeypatch):
    from pdt_lightning.tasks import check_family, make_family

    family = make_family("line", {"places": 3})
    tasks = [replace(task, env_id="line_world:line-world/Line-v0") for task in family.tasks]
    gym.registry.pop("line-world/Line-v0", None)
    sys.modules.pop("line_world", None)
    family.training_tasks, family.heldout_tasks, family.recipes = (tasks[0],), (tasks[1],), {}
    check_family(family)
    # Another process learns from the task where the environment is.
    travelled = pickle.dumps(replace(tasks[0], env_id="line-world/Line-v0"))
    gym.registry.pop("line-world/Line-v0")
    assert pickle.loads(travelled).make_env().unwrapped.place == 0.0
