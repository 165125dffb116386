"""Packages that are not there: as if they were not installed, and with a MuJoCo that cannot be imported."""

import sys

import gymnasium as gym
import pytest

from pdt_lightning import info
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.extras import extras_for
from pdt_lightning.tasks.base import Task, make_family
from tests.processes import command


@pytest.fixture
def without(monkeypatch):
    """Hide packages, and forget what has imported them."""

    def hide(*packages):
        users = (
            "pdt_lightning.tasks.metaworld",
            "pdt_lightning.tasks.half_cheetah",
            "pdt_lightning.tasks.ant",
            "gymnasium.envs.mujoco",
        )
        for name in list(sys.modules):
            if name.startswith((*users, *(f"{package}." for package in packages))):
                monkeypatch.delitem(sys.modules, name)
        for package in packages:
            monkeypatch.setitem(sys.modules, package, None)

    return hide


@pytest.mark.parametrize(
    ("family", "package", "extra"),
    [
        ("metaworld", "metaworld", "metaworld"),
        ("metaworld-set", "metaworld", "metaworld"),
        ("half-cheetah-vel", "mujoco", "mujoco"),
        ("half-cheetah-dir", "mujoco", "mujoco"),
        ("ant-dir", "mujoco", "mujoco"),
        ("ant-dir", "imageio", "mujoco"),
    ],
)
def test_a_family_names_the_extra_that_it_lacks(without, family, package, extra):
    without(package)
    with pytest.raises(UserError) as refused:
        make_family(family)
    assert f"`data.family`={family} needs {package}" in str(refused.value)
    assert f"pip install 'pdt-lightning[{extra}]'" in str(refused.value)


def test_the_environment_of_a_dataset_names_the_extra_that_it_lacks(without):
    task = Task("own/0", gym.spec("HalfCheetah-v5"))
    without("mujoco")
    with pytest.raises(
        UserError, match=r"own/0: its environment HalfCheetah-v5 needs mujoco.*'pdt-lightning\[mujoco\]'"
    ):
        task.make_env()


def test_families_without_a_simulator_do_without(without):
    without("mujoco", "metaworld", "stable_baselines3")
    env = make_family("point").tasks[0].make_env()
    assert env.reset(seed=0)[0].shape == (2,)
    env.close()


def test_other_errors_pass():
    for error in (ModuleNotFoundError("No module named 'own'", name="own"), ImportError("cannot"), KeyError("here")):
        with pytest.raises(type(error)) as passed, extras_for("it"):
            raise error
        assert passed.value is error


@pytest.mark.parametrize("renderer", ["osmesa", "no-such"])
@pytest.mark.parametrize("start", ["fit --config=conf/metaworld.yaml --tuning.videos=1", "collect ant-dir"])
def test_a_renderer_that_is_not_there_is_one_message(renderer, start, tmp_path):
    if renderer == "osmesa" and info.renderer("osmesa") == "works":
        pytest.skip("osmesa works on this machine")
    ended = command(*start.split(), check=False, MUJOCO_GL=renderer, MINARI_DATASETS_PATH=str(tmp_path))
    (message,) = [line for line in ended.stderr.splitlines() if not line.endswith(" ...")]
    assert ended.returncode == 2
    assert message.startswith(f"error: MUJOCO_GL={renderer}: ")
    assert "python -m pdt_lightning.info" in message
    assert list(tmp_path.iterdir()) == []
