"""Hostile input, drawn by seed: mutated configurations, checkpoints, prompts, pickles and datasets.

Each is to end in an error of the user's, or in what it would have done: without another exception, without a hang, and
without running what stands in it. `python -m tests.fuzz --count 500` tries as many of each kind; the tests try a few.
"""

import argparse
import contextlib
import copy
import functools
import io
import math
import os
import pickle
import shutil
import signal
import tempfile
import traceback
import warnings
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import lightning
import numpy as np
import torch
import yaml

from pdt_lightning import fit
from pdt_lightning.core.errors import UserError
from pdt_lightning.core.seeding import generator
from pdt_lightning.data import datamodule, minari, prompt_dt
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.mapped import open_episodes
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.checkpoints import load
from pdt_lightning.model.lit_pdt import LitPDT
from tests.conftest import POINT, POINT_FLAGS, SMALL

SECONDS = 120  # in which a case has to end
NUMBERS = [-1, 0, 1.5, 10**30, -(10**30), math.nan, math.inf]
VALUES: list[Any] = [*NUMBERS, None, True, "", "x", "../..", "\x00", "${a.b}", "{", [], {}, [[]]]
CODE = "!!python/object/apply:os.system ['touch {canary}']"


class Hang(BaseException):
    """A case took too long."""


class Evil:
    """Runs something when it is read by pickle."""

    def __init__(self, canary: Path):
        self.canary = canary

    def __reduce__(self) -> tuple:
        return os.system, (f"touch {self.canary}",)


def mutated_bytes(content: bytes, rng: np.random.Generator) -> bytes:
    """Cut short, overwritten, repeated or flipped somewhere."""
    found, place = bytearray(content), int(rng.integers(len(content)))
    way = rng.integers(5)
    if way == 0:
        return bytes(found[:place])
    if way == 1:
        found[place : place + 16] = rng.bytes(16)
    elif way == 2:
        found[place:place] = found[:64]
    elif way == 3:
        for spot in rng.integers(len(content), size=8):
            found[spot] ^= 1 << int(rng.integers(8))
    else:
        found[:16] = rng.bytes(16)  # where formats say what they are
    return bytes(found)


def mutated_tree(tree: Any, rng: np.random.Generator) -> Any:
    """One value somewhere replaced, left out or doubled."""
    tree = copy.deepcopy(tree)
    node, key = tree, rng.choice(sorted(tree))
    while isinstance(node[key], dict) and node[key] and rng.random() < 0.8:
        node, key = node[key], rng.choice(sorted(node[key]))
    way = rng.integers(6)
    if way == 0:
        del node[key]
    elif way == 1:
        node[f"{key}s"] = node[key]
    else:
        node[key] = VALUES[rng.integers(len(VALUES))]
    return tree


@functools.cache
def configuration() -> dict[str, Any]:
    """A small run of the point, as YAML has it."""
    tree: dict[str, Any] = {}
    for flag in [*POINT_FLAGS, "--trainer.max_epochs=1", "--trainer.logger=false", "--name=run", "--seed=0"]:
        name, value = flag.removeprefix("--").split("=", 1)
        node, *rest = name.split(".")
        at = tree
        for part in rest:
            at, node = at.setdefault(node, {}), part
        at[node] = yaml.safe_load(value)
    return tree


def configurations(folder: Path, canary: Path, rng: np.random.Generator) -> None:
    """All of a run but its training, and but the demonstrations that another family may ask for."""
    tree = configuration()
    for _ in range(int(rng.integers(1, 4))):
        tree = mutated_tree(tree, rng)
    text = yaml.safe_dump(tree)
    if rng.random() < 0.3:
        text = mutated_bytes(text.encode(), rng).decode(errors="replace")
    elif rng.random() < 0.2:
        text += f"name: {CODE.format(canary=canary)}\n"
    (folder / "run.yaml").write_text(text)
    trained, collected = lightning.Trainer.fit, datamodule.collect
    lightning.Trainer.fit = lambda *args, **kwargs: None  # type: ignore[method-assign]
    datamodule.collect = _not_collected  # type: ignore[assignment]
    try:
        fit.main([f"--config={folder / 'run.yaml'}", f"--trainer.default_root_dir={folder / 'runs'}"])
    except SystemExit as end:
        if end.code not in (0, None, 2):
            raise RuntimeError(f"exit code {end.code}") from end
    finally:
        lightning.Trainer.fit, datamodule.collect = trained, collected  # type: ignore[method-assign]


def _not_collected(wanted: Any, *rest: Any) -> None:
    if not all(map(minari.exists, wanted)):
        raise UserError("what the configuration asks for would take its time")


@functools.cache
def checkpoint() -> bytes:
    """Of an untrained model."""
    module, data = LitPDT(2, 2, 30, context_steps=5, **SMALL), MultiTaskDataModule(**POINT)
    content = {
        "state_dict": module.state_dict(),
        "hyper_parameters": dict(module.hparams),
        "datamodule_hyper_parameters": dict(data.hparams),
        "callbacks": {"PromptTuning": {"options": {"rounds": 3}}},
        "global_step": 3,
        "epoch": 0,
    }
    file = io.BytesIO()
    torch.save(content, file)
    return file.getvalue()


def checkpoints(folder: Path, canary: Path, rng: np.random.Generator) -> None:
    """Read as `tune` reads them."""
    content = checkpoint()
    way = rng.integers(3)
    if way == 0:
        content = mutated_bytes(content, rng)
    else:
        with zipfile.ZipFile(io.BytesIO(content)) as whole:
            parts = {name: whole.read(name) for name in whole.namelist()}
        name = next(name for name in parts if name.endswith("data.pkl"))
        parts[name] = mutated_bytes(parts[name], rng) if way == 1 else pickle.dumps({"state_dict": Evil(canary)}, 2)
        file = io.BytesIO()
        with zipfile.ZipFile(file, "w") as whole:
            for name, part in parts.items():
                whole.writestr(name, part)
        content = file.getvalue()
    (folder / "last.ckpt").write_bytes(content)
    load(folder / "last.ckpt")


@functools.cache
def prompt() -> bytes:
    """A saved one."""
    with tempfile.TemporaryDirectory() as folder:
        ones = torch.ones(1, 6, 2)
        made = Prompt(
            ones[..., :1].clone(), ones, ones.clone(), torch.arange(6)[None], torch.ones(1, 6, dtype=torch.bool)
        )
        made.save(Path(folder) / "a.safetensors", ["here"], task="point/03")
        return (Path(folder) / "a.safetensors").read_bytes()


def prompts(folder: Path, canary: Path, rng: np.random.Generator) -> None:
    """Read as `tune --prompts` reads them."""
    (folder / "a.safetensors").write_bytes(mutated_bytes(prompt(), rng))
    Prompt.load_with_origin(folder / "a.safetensors")


def pickles(folder: Path, canary: Path, rng: np.random.Generator) -> None:
    """Read as files of Prompt-DT are."""
    keys = ("observations", "next_observations", "actions", "rewards", "terminals")
    episode: dict[str, Any] = {key: rng.normal(size=(4, 2)).astype(np.float32) for key in keys}
    if rng.random() < 0.3:
        episode[str(rng.choice(keys))] = Evil(canary)
    content = pickle.dumps([episode], int(rng.integers(0, 6)))
    if rng.random() < 0.7:
        content = mutated_bytes(content, rng)
    (folder / "a.pkl").write_bytes(content)
    prompt_dt.read(folder / "a.pkl")


@functools.cache
def dataset() -> str:
    """Id of one that is whole."""
    data = MultiTaskDataModule(**POINT)
    data.prepare_data()
    return data.family.training_tasks[0].training_data[0]


def datasets(folder: Path, canary: Path, rng: np.random.Generator) -> None:
    """Mapped as a run maps them. HDF5 is cut short alone: what is flipped in it may end the library that reads it."""
    whole, name = minari.path_of(dataset()), f"fuzz/{folder.name.replace('_', '-')}-v0"
    place = minari.path_of(name)
    shutil.copytree(whole, place)
    try:
        files = sorted(path for path in place.rglob("*") if path.is_file())
        chosen = files[rng.integers(len(files))]
        content = chosen.read_bytes()
        chosen.write_bytes(
            content[: rng.integers(len(content))] if chosen.suffix == ".hdf5" else mutated_bytes(content, rng)
        )
        open_episodes([[name]], True, False)
    finally:
        shutil.rmtree(place)


KINDS: dict[str, Callable[[Path, Path, np.random.Generator], None]] = {
    made.__name__: made for made in (configurations, checkpoints, prompts, pickles, datasets)
}


@contextlib.contextmanager
def limited() -> Iterator[None]:
    """Raise `Hang` after so many seconds."""

    def over(number: int, frame: Any) -> None:
        raise Hang

    before = signal.signal(signal.SIGALRM, over)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def fault(kind: str, seed: int) -> str | None:
    """What is wrong with how a case ended; None where nothing is."""
    with tempfile.TemporaryDirectory(prefix=f"fuzz-{seed}-") as name, warnings.catch_warnings(), limited():
        warnings.simplefilter("ignore")
        folder, canary, said = Path(name), Path(name) / "canary", io.StringIO()
        try:
            with contextlib.redirect_stdout(said), contextlib.redirect_stderr(said):
                KINDS[kind](folder, canary, generator(seed, "fuzz", kind))
        except UserError:
            pass
        except Hang:
            return f"{kind} {seed}: no end after {SECONDS} s"
        except Exception as error:
            return f"{kind} {seed}: {''.join(traceback.format_exception(error)[-3:])}"
        if canary.exists():
            return f"{kind} {seed}: it ran what stood in the file"
        return None


def main() -> None:
    """Try many, and print what is wrong."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--count", type=int, default=200, help="Cases of each kind.")
    parser.add_argument("--seed", type=int, default=0, help="Of the first case.")
    parser.add_argument("--kinds", nargs="+", default=list(KINDS), choices=list(KINDS))
    options = parser.parse_args()
    faults = 0
    for kind in options.kinds:
        for seed in range(options.seed, options.seed + options.count):
            if wrong := fault(kind, seed):
                faults += 1
                print(wrong, flush=True)
        print(f"{kind}: {options.count} tried, {faults} faults so far", flush=True)
    raise SystemExit(bool(faults))


if __name__ == "__main__":
    main()
