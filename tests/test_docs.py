"""The pages under docs/ do what they say."""

import re
import sys
import tomllib
from importlib.metadata import EntryPoint

import gymnasium as gym
import pytest

from tests.processes import ROOT


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
