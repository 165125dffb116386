"""The wheel, installed into an environment of its own outside of the checkout, has all that a run needs."""

import os
import shutil
import subprocess
import sys
import sysconfig
import tomllib
import zipfile
from importlib.metadata import EntryPoint
from pathlib import Path

import pytest

from tests.processes import ROOT

PIP = [sys.executable, "-m", "pip", "--disable-pip-version-check"]


def done(*arguments, folder, limit=240):
    """What a process prints that sees nothing of the checkout."""
    variables = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    process = subprocess.run(
        [*map(str, arguments)],
        cwd=folder,
        env={**variables, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=limit,
        check=False,
    )
    assert process.returncode == 0, process.stdout[-3000:] + process.stderr[-6000:]
    return process.stdout


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """Built from a copy, since a build leaves its folders behind."""
    source, made = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("wheel")
    for name in ("pdt_lightning", "conf"):
        shutil.copytree(ROOT / name, source / name, ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, source)
    done(*PIP, "wheel", "--no-deps", "--no-index", "--no-build-isolation", "--wheel-dir", made, source, folder=made)
    (path,) = made.glob("*.whl")
    return path


@pytest.fixture(scope="module")
def environment(wheel, tmp_path_factory):
    """The folder of an environment's programs; what the package depends on comes from the environment of the tests."""
    home = tmp_path_factory.mktemp("environment")
    done(sys.executable, "-m", "venv", "--without-pip", home, folder=home)
    programs = home / ("Scripts" if os.name == "nt" else "bin")
    done(*PIP, "--python", programs / "python", "install", "--no-deps", "--no-index", wheel, folder=home)
    own = done(programs / "python", "-c", "import sysconfig; print(sysconfig.get_path('purelib'))", folder=home).strip()
    # Behind its own packages on the path; and `.pth` files there, such as that of an editable install, are not read.
    others = dict.fromkeys(sysconfig.get_path(name) for name in ("purelib", "platlib"))
    (Path(own) / "dependencies.pth").write_text("\n".join(others))
    return programs


def test_the_wheel_holds_every_module_and_configuration(wheel):
    with zipfile.ZipFile(wheel) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    files = [path for kind in ("*.py", "*.safetensors", "py.typed") for path in (ROOT / "pdt_lightning").rglob(kind)]
    modules = {path.relative_to(ROOT).as_posix() for path in files}
    configurations = {f"pdt_lightning/conf/{path.name}" for path in (ROOT / "conf").glob("*.yaml")}
    assert "pdt_lightning/py.typed" in modules
    assert held == modules | configurations


def test_its_commands_run_in_an_empty_folder(environment, tmp_path):
    where = "import pdt_lightning; print(pdt_lightning.__file__)"
    assert Path(done(environment / "python", "-c", where, folder=tmp_path).strip()).is_relative_to(environment.parent)
    said = done(
        environment / "pdt-fit",
        "--config",
        "point.yaml",
        "--config=debug.yaml",
        "--data.collection_workers=1",
        folder=tmp_path,
    )
    assert [path.name for path in tmp_path.iterdir()] == ["runs"]
    assert (tmp_path / "runs" / "debug" / "version_0" / "summary.json").is_file()
    assert "Written to runs/debug/version_0" in said


def test_the_package_of_pretrained_models_is_found_by_name(environment, tmp_path):
    shutil.copytree(ROOT / "models", tmp_path / "models", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info"))
    bare = ["--no-deps", "--no-index", "--no-build-isolation"]
    done(*PIP, "wheel", *bare, "--wheel-dir", tmp_path, tmp_path / "models", folder=tmp_path)
    (path,) = tmp_path.glob("pdt_lightning_models-*.whl")
    done(*PIP, "--python", environment / "python", "install", *bare[:2], path, folder=tmp_path)
    use = "import pdt_lightning; print(pdt_lightning.load('point', prompt='point/03').facts['task'])"
    assert done(environment / "python", "-c", use, folder=tmp_path).strip() == "point/03"
    with zipfile.ZipFile(path) as opened:
        held = {name for name in opened.namelist() if ".dist-info/" not in name}
    package = ROOT / "models" / "pdt_lightning_models"
    files = {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts}
    assert held == {path.relative_to(ROOT / "models").as_posix() for path in files}


def test_every_command_is_installed(environment):
    scripts = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["scripts"]
    assert [name.removeprefix("pdt-") for name in sorted(scripts)] == [
        *("collect", "compare", "export", "fit", "info", "transfer", "tune"),
    ]
    for name, value in scripts.items():
        assert (environment / name).exists()
        assert callable(EntryPoint(name, value, "console_scripts").load())
