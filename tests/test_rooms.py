"""The structure of the package: commands at its root, and rooms whose imports point one way."""

import ast
import re
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "pdt_lightning"
# What is imported lies to the left of what imports it.
ROOMS = [
    "core",
    "tasks",
    "data",
    "model",
    "rollouts",
    "tuners",
    "tuning",
    "results",
    "comparison",
    "callbacks",
    "commands",
]
COMMANDS = {"fit", "tune", "compare", "transfer", "collect", "export", "info"}
LONGEST = 300  # lines of a file


def modules():
    return {
        ".".join(path.relative_to(PACKAGE.parent).with_suffix("").parts): path for path in sorted(PACKAGE.rglob("*.py"))
    }


def imports(path, known):
    """Modules of ours that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path} imports relatively"
            for alias in node.names:
                whole = f"{node.module}.{alias.name}"
                found |= {name for name in (whole, node.module) if name in known} or (
                    {f"{node.module}.__init__"} if f"{node.module}.__init__" in known else set()
                )
        elif isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names if alias.name in known}
    return found


def room(module):
    parts = module.split(".")
    return parts[1] if len(parts) > 2 else ""


def test_at_the_root_lie_the_commands_alone():
    files = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    folders = {path.name for path in PACKAGE.iterdir() if (path / "__init__.py").is_file()}
    assert files == COMMANDS
    assert folders == set(ROOMS)


def test_imports_point_one_way():
    known, wrong = modules(), []
    for name, path in known.items():
        for other in imports(path, known):
            if room(name) and (not room(other) or ROOMS.index(room(other)) > ROOMS.index(room(name))):
                wrong.append(f"{name} imports {other}")
    assert not wrong


def test_no_module_imports_itself_in_a_circle():
    known = modules()
    TopologicalSorter(
        {name: imports(path, known) - {name} for name, path in known.items()}
    ).prepare()  # raises on a circle


def test_every_room_says_what_it_is_for():
    for name in ROOMS:
        assert len(ast.get_docstring(ast.parse((PACKAGE / name / "__init__.py").read_text())).split()) > 5


def test_files_are_read_in_one_sitting():
    assert {
        str(path): lines for path in modules().values() if (lines := len(path.read_text().splitlines())) > LONGEST
    } == {}


@pytest.mark.parametrize(
    ("what", "room", "files"),
    [
        ("a tuner", "tuners", ["base.py"]),
        ("a task family", "tasks", ["base.py"]),
        ("a simulator", "tasks", []),
        ("a reward model", "tuners", ["reward_models.py"]),
        ("a plot", "results", ["figures.py"]),
        ("a plot of a comparison", "comparison", ["figures.py"]),
        ("an importer", "data", ["prompt_dt.py"]),
        ("the transformer", "model", ["guests.py"]),
        ("an option of `fit`", "commands", ["run_options.py"]),
        ("what is maximised", "tuning", ["objective.py"]),
        ("when a search ends early", "tuners", ["base.py", "confidence.py"]),
    ],
)
def test_a_stranger_learns_from_a_room_where_to_add_something(what, room, files):
    docstring = " ".join(ast.get_docstring(ast.parse((PACKAGE / room / "__init__.py").read_text())).split())
    assert re.search(rf"(add|added|exchange|change)\b.*\b{what.removeprefix('a ')}", docstring)
    for name in {*files, *re.findall(r"`(\w+\.py)`", docstring)}:
        assert name in docstring
        assert (PACKAGE / room / name).is_file() or (PACKAGE / name).is_file()
