"""What a dataset's id promises: it changes with the code of expert and environment, and with what simulates."""

import dataclasses
import functools
import importlib
import sys

import gymnasium as gym
import pytest

from pdt_lightning.tasks import identity as identities
from pdt_lightning.tasks import make_family
from pdt_lightning.tasks.identity import identity_of, identity_of_environment

EXPERT = """
import gymnasium as gym
import numpy as np
{imports}
from worlds.speeds import SPEED

UNUSED = 1


class Env(gym.Env):
    '''A world.'''

    size = 3


def expert(env):
    return lambda observation: {act}
"""


@pytest.fixture
def world(tmp_path, monkeypatch):
    """Writes a package of a user's, and gives its module."""
    monkeypatch.syspath_prepend(tmp_path)
    folder = tmp_path / "worlds"
    folder.mkdir()
    (folder / "__init__.py").touch()

    def written(act="np.ones(2) * SPEED", speed="0.5 + 0.5", imports="", **changes):
        text = EXPERT.format(act=act, imports=imports)
        for before, after in changes.values():
            text = text.replace(before, after)
        (folder / "family.py").write_text(text)
        (folder / "speeds.py").write_text(f"SPEED = {speed}\n")
        for name in [name for name in sys.modules if name.startswith("worlds")]:
            del sys.modules[name]
        importlib.invalidate_caches()
        return importlib.import_module("worlds.family")

    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    yield written
    for name in [name for name in sys.modules if name.startswith("worlds")]:
        del sys.modules[name]


def test_it_changes_with_the_code_and_with_all_that_this_names(world):
    first = identity_of(world().expert)
    assert identity_of(world().expert) == first
    assert identity_of(world(unused=("UNUSED = 1", "UNUSED = 2")).expert) == first
    assert identity_of(world(act="np.zeros(2) * SPEED").expert) != first
    assert identity_of(world(speed="0.25 + 0.5").expert) != first  # in another module
    env = identity_of(world().Env)
    assert identity_of(world(size=("size = 3", "size = 4")).Env) != env


def test_ids_of_datasets_change_with_it(world):
    recipe = next(iter(make_family("point").recipes.values()))
    ids = {
        dataclasses.replace(recipe, expert=world(act=act).expert).dataset_id for act in ("np.ones(2)", "np.zeros(2)")
    }
    assert len(ids) == 2


def test_it_changes_with_the_versions_of_what_simulates(world, monkeypatch):
    made = world(imports="import mujoco")
    assert any(line.startswith("mujoco ") for line in identity_of(made.Env))
    half_cheetah = make_family("half-cheetah-vel").recipes
    before = next(iter(half_cheetah))
    version = identities.metadata.version
    monkeypatch.setattr(identities.metadata, "version", lambda name: "3.3.7" if name == "mujoco" else version(name))
    identities._code_and_versions.cache_clear()
    try:
        assert "mujoco 3.3.7" in identity_of_environment("pdt-lightning/HalfCheetahVelocity-v0")
        assert "mujoco 3.3.7" in identity_of_environment("pdt-lightning/ML1-v0")  # which comes by way of Meta-World
        assert next(iter(make_family("half-cheetah-vel").recipes)) != before
    finally:
        identities._code_and_versions.cache_clear()


def test_what_is_closed_over_and_what_is_bound_count():
    def at(speed):
        return lambda env: speed

    assert identity_of(at(1.0)) == identity_of(at(1.0)) != identity_of(at(2.0))
    assert identity_of(functools.partial(at, 1.0)) != identity_of(functools.partial(at, 2.0))


def test_code_without_a_text_counts_as_it_was_compiled():
    found = []
    for body in ("1.0", "2.0"):
        names = {"__name__": "nowhere"}
        exec(f"def expert(env):\n    return lambda observation: {body}", names)
        found.append(identity_of(names["expert"]))
    assert found[0] != found[1]


def test_an_environment_that_is_not_there_has_none():
    assert identity_of_environment("no/such-v0") == ()
    assert identity_of_environment(gym.envs.registration.EnvSpec("a/b-v0", entry_point="no.such:Env")) == ()
