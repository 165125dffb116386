"""The site builds without a warning, and what its pages show is true: commands are parsed, Python is run."""

import ast
import json
import re
import shlex
import shutil
import subprocess
import sys
import tomllib
from importlib.metadata import EntryPoint

import pytest
import yaml

from pdt_lightning import collect, compare, export, fit, transfer, tune
from pdt_lightning.comparison.plan import tuner_names, variant_options
from pdt_lightning.data import minari
from pdt_lightning.data.collect import demonstrate
from pdt_lightning.model import pretrained
from pdt_lightning.tasks import make_family
from pdt_lightning.tasks.listed import OPTIONS
from pdt_lightning.tuners import TUNERS
from pdt_lightning.tuning.options import TuningOptions
from tests.processes import ROOT

# Lightning's use of jsonargparse, which in a process of its own nobody sees.
pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
PAGES = {path.stem: path.read_text() for path in sorted((ROOT / "docs").rglob("*.md"))}
BLOCK = re.compile(r"^( *)```(\w+)\n(.*?)^\1```$", re.M | re.S)
BLOCKS = {name: [(kind, text) for _, kind, text in BLOCK.findall(page)] for name, page in PAGES.items()}
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
GROUPS = {f"pdt_lightning.{name}" for name in ("families", "tuners", "models")}
SETTINGS = re.compile(r"(#|export \w+=|$)")  # lines of a script that start nothing


def lines(*kinds):
    return [
        line.strip()
        for blocks in BLOCKS.values()
        for kind, text in blocks
        if kind in kinds
        for line in text.splitlines()
    ]


def of_the_tests(line):
    """A command with what stands for a user's own replaced by what the tests have."""
    for user, ours in (
        ("my_package.Mine", "tests.guests.Every"),
        ("options.width", "options.stride"),
        ("Every:width", "Every:stride"),
    ):
        line = line.replace(user, ours)
    return re.sub(r"(--config[ =])own_data\.yaml", r"\1conf/own_data.yaml", line)


COMMANDS = [line for line in lines("console", "bash") if not SETTINGS.match(line)]
OURS = sorted({found[1] for line in COMMANDS if (found := re.search(r"-m pdt_lightning\.(.*)", of_the_tests(line)))})


def options_of(command):
    """Parse a command of ours at full size, as it parses its arguments itself."""
    name, *flags = shlex.split(command)
    if name == "fit":
        with pytest.raises(SystemExit) as end:
            fit.main([*flags, *(() if "--print_config" in flags else ("--print_config",))])
        assert end.value.code == 0
    elif name == "collect" and flags[0] == collect.CHECK:
        options_of(shlex.join(["fit", *flags[1:]]))
    elif name == "collect":
        imports = flags[0] == collect.IMPORT
        collect.import_parser().parse_args(flags[1:]) if imports else collect.parser().parse_args(flags)
    elif name == "tune":
        config = tune.parser().parse_args(flags)
        TuningOptions(**{option: config[option] for option in TuningOptions.__dataclass_fields__})
    elif name == "compare":
        for tuner in tuner_names(compare.parser().parse_args(flags).tuners):
            variant_options(tuner, TuningOptions())
    else:
        {"export": export, "transfer": transfer}[name].parser().parse_args(flags)


@pytest.mark.parametrize("command", OURS)
def test_a_command_is_understood_at_full_size(command, monkeypatch, capsys):
    monkeypatch.chdir(ROOT)
    options_of(command)
    assert "error:" not in capsys.readouterr().err


def test_all_other_commands_are_there():
    targets = re.findall(r"^(\w+):.*## ", (ROOT / "Makefile").read_text(), re.M)
    for line in COMMANDS:
        if "-m pdt_lightning." in line or line.startswith("tensorboard "):
            continue
        if found := re.match(r"python -m benchmarks(?:\.(\w+))?", line):
            module = (ROOT / "benchmarks" / f"{found[1] or '__main__'}.py").read_text()
            assert all(f'"{flag}"' in module for flag in re.findall(r"--\w+", line)), line
        elif found := re.match(r"pip install '?pdt-lightning\[(\w+)\]'?$", line):
            assert found[1] in PROJECT["optional-dependencies"]
        elif found := re.match(r"pip install \./(\w+)$", line):
            assert (ROOT / found[1] / "pyproject.toml").is_file()
        else:
            assert line.removeprefix("make ") in targets, line


@pytest.fixture
def models(monkeypatch):
    """The package of pretrained models, as if it were installed."""
    monkeypatch.syspath_prepend(ROOT / "models")
    entry = EntryPoint("models", "pdt_lightning_models", pretrained.GROUP)
    monkeypatch.setattr(pretrained, "entry_points", lambda group: [entry])


@pytest.fixture(scope="module")
def candidates():
    """The candidates of the point family, collected here, since processes that do so take seconds to start."""
    family = make_family("point", None)
    for name in {name for task in family.heldout_tasks for name in task.prompt_data}:
        if not minari.exists(name):
            demonstrate(family.recipes[name])


@pytest.mark.parametrize("page", [name for name, blocks in BLOCKS.items() if "python" in dict(blocks)])
def test_the_python_of_a_page_runs(page, models, candidates, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    if page == "adding_a_family":  # which test_docs.py runs as the package that it is
        assert all(ast.parse(text) for kind, text in BLOCKS[page] if kind == "python")
        return
    shown = {"__name__": page}
    for kind, text in BLOCKS[page]:
        if kind == "python":
            exec(compile(text, f"{page}.md", "exec"), shown)
    if page == "quick_start":
        assert shown["reward"] == 10.0
        assert shown["model"].hparams["state_size"] == 2


def test_the_quick_start_tunes_the_pretrained_model(models, candidates, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    commands = [command for command in OURS if command.startswith("tune --ckpt_path point ")]
    assert len(commands) == 2
    for command in commands:
        tune.main([*shlex.split(command)[1:], "--verdict_episodes=2", "--yardstick_episodes=2", "--tasks=[point/07]"])
    found = [json.loads((tmp_path / "runs" / "point" / f"tune_{n}" / "summary.json").read_text()) for n in (0, 1)]
    assert [set(one["tasks"]) for one in found] == [{"point/07"}, {"point/07"}]


def test_data_in_blocks_is_data():
    assert {kind for blocks in BLOCKS.values() for kind, _ in blocks} <= {
        "console",
        "bash",
        "python",
        "yaml",
        "toml",
        "json",
    }
    for blocks in BLOCKS.values():
        for kind, text in blocks:
            if kind == "yaml":
                options = yaml.safe_load(text)["data"]["family_options"]
                assert all(set(entry) <= set(OPTIONS) for entry in [*options["training"], *options["held_out"]])
            elif kind == "toml":
                assert set(tomllib.loads(text)["project"]["entry-points"]) <= GROUPS
            elif kind == "json":
                entry = json.loads(text)
                assert entry == json.loads((ROOT / "docs" / "submissions" / f"{entry['name']}.json").read_text())


def test_every_page_is_in_the_navigation_and_every_tuner_has_a_section():
    navigation = re.findall(r"- (?:studies/)?(\w+)\.md", (ROOT / "mkdocs.yml").read_text())
    assert sorted(navigation) == sorted(PAGES)
    sections = re.findall(r"^## (\w+)$", PAGES["methods"], re.M)
    assert sorted(sections) == sorted([*TUNERS, "finetune"])


@pytest.mark.parametrize("path", sorted((ROOT / "docs" / "submissions").glob("*.json")), ids=lambda path: path.stem)
def test_a_result_by_others_has_the_form_and_its_row(path):
    entry = json.loads(path.read_text())
    assert {"name", "by", "date", "benchmark", "code", "about", "tuner", "summary"} == set(entry)
    summary, goal = entry["summary"], entry["summary"]["goal"]
    by_rollouts = {int(n): figures for n, figures in summary["tuners"][entry["tuner"]]["by_rollouts"].items()}
    for figures in (summary["untuned"], *by_rollouts.values()):
        assert figures["low"] is None or figures["low"] <= figures["return"] <= figures["high"]
    best = max(by_rollouts, key=lambda number: by_rollouts[number][goal])
    row = f"| {entry['benchmark']} | {entry['by']} | {by_rollouts[best][goal]} | {best} |"
    assert f"| [{path.stem}](submissions/{path.name}) {row}" in PAGES["results_by_others"]


def test_it_builds_without_a_warning(tmp_path):
    for name in ("docs", "benchmarks", "pdt_lightning"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "mkdocs.yml", tmp_path)
    build = [sys.executable, "-m", "zensical", "build", "--strict"]
    done = subprocess.run(build, cwd=tmp_path, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "No issues found" in done.stdout + done.stderr
    assert "of a run, such as" in (tmp_path / "site" / "api" / "index.html").read_text()
