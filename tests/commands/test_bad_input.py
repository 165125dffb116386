"""What a user may get wrong, one row each.

Every one ends in one message that names it, with exit code 2 and nothing written.

A row: what is wrong; the flags; the same flags with good values, of which the controls are made; and pieces that the
message must have. `{folder}` stands for the test's own folder.
"""

import json
import shutil
from dataclasses import dataclass, field

import gymnasium as gym
import h5py
import lightning
import numpy as np
import pytest
import torch
from lightning.pytorch.demos.boring_classes import BoringModel
from safetensors.torch import load_file, save_file

from pdt_lightning import collect, fit, tune
from pdt_lightning.data import minari
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.tasks import make_family
from tests.conftest import POINT_FLAGS
from tests.data import test_prompt_dt as files
from tests.processes import command

# Lightning's use of jsonargparse, which in a process of its own nobody sees.
pytestmark = pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")

QUIET = ["--data.progress=false", "--tuning.progress=false", "--trainer.max_epochs=1"]
POINT = [*POINT_FLAGS, *QUIET]
HUGE = 10**12


@dataclass(frozen=True)
class Wrong:
    """See the module's docstring."""

    what: str
    flags: list[str]
    good: list[str]
    message: list[str] = field(default_factory=list)

    def __str__(self):
        return self.what


def option(flag, good, *message, what=None):
    """A single flag; the message names at least its option."""
    name, value = flag.split("=", 1)
    return Wrong(what or f"{name.removeprefix('--')} = {value[:40]}", [flag], [f"{name}={good}"], [name, *message])


def also(flags, *rows):
    """The same rows with further flags, in which they are wrong, and good too."""
    return [Wrong(row.what, [*flags, *row.flags], [*flags, *row.good], row.message) for row in rows]


METAWORLD = ["--data.family=metaworld", "--data.family_options={extra_goal_seeds: []}", "--data.chunk_steps=null"]

OPTIONS = [
    # misspelt
    Wrong("misspelt option", ["--model.widht=16"], ["--model.width=16"],
          ["--model.widht", "Did you mean --model.width?"]),
    Wrong("half an option", ["--trainer.max_epoch=1"], ["--trainer.max_epochs=1"],
          ["Did you mean --trainer.max_epochs?"]),
    Wrong("option of another part", ["--data.width=16"], ["--model.width=16"], ["--data.width", "unrecognized"]),
    # the model
    option("--model.width=0", 16, "at least 1"),
    option("--model.width=sixteen", 16, "sixteen", "int"),
    option(f"--model.width={HUGE}", 16, "GiB", "--model.layers=2", "Lower"),
    option("--model.heads=3", 2, "--model.width=16 is not a multiple"),
    option("--model.layers=-1", 2, "at least 1"),
    option(f"--model.layers={HUGE}", 2, "GiB"),
    option("--model.inner=0", 32, "at least 1"),
    option("--model.dropout=1.0", 0.1, "below 1"),
    option("--model.dropout=.nan", 0.0, "nan", "below 1"),
    option("--model.learning_rate=0", 0.001, "above 0"),
    option("--model.learning_rate=.nan", 0.001, "nan", "above 0"),
    option("--model.learning_rate=1e30", 0.001, "at most 1"),
    option("--model.weight_decay=-1", 0.0, "at least 0"),
    option("--model.weight_decay=inf", 0.0, "inf"),
    option("--model.warmup_updates=-1", 0, "at least 0"),
    option("--model.gradient_clip=-0.5", 0.25, "at least 0"),
    option("--model.schedule=linear", "cosine", "choose one of constant, cosine"),
    option("--model.attention=windows", "window", "Did you mean window?"),
    option("--model.use_prompt=perhaps", "true", "perhaps"),
    # the data
    option("--data.context_steps=0", 5, "at least 1"),
    option(f"--data.context_steps={HUGE}", 5, "at most 100,000"),
    option("--data.chunk_steps=4", 12, "less than --data.context_steps=5"),
    *also(["--model.attention=published"], option("--data.chunk_steps=12", "null", "is for --model.attention=window")),
    option("--data.segments=0", 2, "at least 1"),
    option("--data.segments=100000000", 2, "GiB", "Lower"),
    option("--data.segment_steps=0", 3, "at least 1"),
    option("--data.segment_steps=31", 3, "no episode has more than 30 steps"),
    option("--data.segment_steps=29", 3, "Lower --data.segment_steps", what="segments longer than what was collected"),
    option("--data.prompt_sampling=head", "tail", "choose one of uniform, tail"),
    option("--data.task_sampling=luck", "success", "choose one of uniform, sensitivity, success"),
    *also(
        ["--data.task_sampling=sensitivity"],
        option("--model.use_prompt=false", "true", "--data.task_sampling=sensitivity", "=uniform"),
    ),
    option("--data.batch_size=0", 16, "at least 1"),
    option("--data.batch_size=1000000000", 16, "GiB"),
    option("--data.updates_per_epoch=0", 3, "at least 1"),
    option(f"--data.updates_per_epoch={HUGE}", 3, "at most"),
    option("--data.validation_share=1.5", 0.2, "below 1"),
    option("--data.validation_share=nan", 0.2, "nan"),
    option("--data.validation_share=0.9", 0.2, "point/00 has 4 training episodes and 4 of them validate",
           "add episodes"),
    option("--data.validation_windows=0", 26, "at least 1"),
    option("--data.validation_windows=1000000000", 26, "GiB"),
    option("--data.collection_workers=0", 1, "at least 1"),
    # families
    option("--data.family=pont", "point", "Choose one of", "Did you mean point?"),
    Wrong("misspelt family option", ["--data.family_options.horizn=30"], ["--data.family_options.horizon=30"],
          ["--data.family_options.horizn", "Did you mean horizon?"]),
    option("--data.family_options.horizon=0", 30, "at least 1"),
    option("--data.family_options.horizon=long", 30, "long", "int"),
    option("--data.family_options.held_out=[99]", "[3,7,11]", "[99]", "goals 0 to 15"),
    option("--data.family_options.held_out=[3,3]", "[3,7,11]", "each once"),
    option("--data.family_options.training_demonstrations=2", 4, "at least 3"),
    option("--data.family_options.candidate_demonstrations=0", 3, "at least 1"),
    option("--data.family_options.action_noise=.nan", 0.05, "nan"),
    option("--data.family_options.expert_share=1.5", 1.0, "at most 1"),
    # the tuning
    option("--tuning.tuner=structurd", "structured", "Did you mean structured?"),
    option("--tuning.rounds=-1", 8, "at least 0"),
    option(f"--tuning.rounds={HUGE}", 8, "at most 1,000,000"),
    option("--tuning.parallel=0", 2, "at least 1"),
    option("--tuning.tuner_options.features=pixels", "raw", "choose one of encoded, raw"),
    option("--tuning.tuner_options.reward_model=forest", "linear", "choose one of linear"),
    option("--tuning.tuner_options.exploration=none", "epsilon_greedy", "thompson, ucb, epsilon_greedy, sparsemax"),
    option("--tuning.objective=fame", "success", "choose one of auto, return, success"),
    option("--tuning.yardstick_episodes=0", 2, "at least 1"),
    option("--tuning.verdict_episodes=0", 4, "at least 1"),
    option("--tuning.oracle_candidates=-1", 4, "at least 0"),
    option("--tuning.oracle_episodes=0", 1, "at least 1"),
    option("--tuning.every_n_epochs=-1", 1, "at least 0"),
    option("--tuning.width=0", 8, "at least 1"),
    option(f"--tuning.width={HUGE}", 8, "at most 65,536"),
    option("--tuning.workers=-1", 0, "at least 0"),
    option("--tuning.workers=5000", 0, "at most 1,024"),
    option("--tuning.precision=16-true", "bf16-true", "choose one of 32-true, bf16-true"),
    option("--tuning.prompt_tokens=0", 3, "at least 1"),
    option("--tuning.tasks=[point/3]", "[point/03]", "point/03, point/07, point/11", "Did you mean point/03?"),
    option("--tuning.tasks=[]", "[point/03]", "names no task"),
    option("--tuning.validation_tasks=[point/03]", "[point/00]", "point/03 is not a training task"),
    # the trainer
    option("--trainer.max_epochs=0", 1, "trains nothing"),
    option("--trainer.max_epochs=-7", 1, "max_epochs"),
    option("--trainer.accelerator=abacus", "cpu", "abacus", "Available names are"),
    option("--trainer.devices=0", 1, "devices"),
    option("--trainer.devices=500", 1, "500", "Lower"),
    option("--trainer.num_nodes=0", 1, "num_nodes"),
    option("--trainer.precision=7", "32-true", "7", "bf16-mixed"),
    option("--trainer.precision=16-mixed", "32-true", "bf16-mixed"),
    option("--trainer.strategy=telepathy", "auto", "telepathy"),
    option("--trainer.limit_train_batches=0", 1.0, "trains nothing"),
    option("--trainer.accumulate_grad_batches=0", 1, "at least 1"),
    option("--trainer.check_val_every_n_epoch=0", 1, "at least 1"),
    option("--trainer.val_check_interval=0", 3, "above 0"),
    option("--trainer.val_check_interval=4", 3, "--data.updates_per_epoch=3"),
    option("--trainer.gradient_clip_val=-1", 1.0, "at least 0"),
    option("--trainer.max_time=soon", "00:00:10:00", "soon"),
    Wrong("fewer rows than ranks", ["--data.batch_size=1", "--trainer.devices=2"],
          ["--data.batch_size=2", "--trainer.devices=1"],
          ["--data.batch_size=1", "number of ranks, 2"]),
    # what is left
    option("--seed=one", 1, "one", "int"),
    option("--seed_everything=-1", 1, "at least 0"),
    option("--name=", "p", "--name"),
    option("--name=../p", "p", "--name=../p"),
    *also(
        METAWORLD,
        option("--data.family_options.env_name=pick-plaice-v3", "pick-place-v3", "Did you mean pick-place-v3?"),
        option("--data.family_options.horizon=501", 150, "at most 500"),
        option("--data.family_options.start_noise=-0.1", 0.01, "at least 0"),
        option("--data.family_options.extra_goal_seeds=[1]", "[2]", "seed 1 holds the goals that are held out"),
    ),
]  # fmt: skip

# Configurations, as the text of `bad.yaml`; in a control the text is that of `GOOD_YAML`.
GOOD_YAML = "model:\n  width: ${model.inner}\n"
YAMLS = {
    "YAML that is broken": ("model: [16\n", "bad.yaml"),
    "YAML that is a list": ("- model\n- data\n", "bad.yaml"),
    "YAML that is a word": ("model", "bad.yaml"),
    "YAML with an unknown key": ("model:\n  widht: 16\n", "--model.widht", "Did you mean --model.width?"),
    "YAML with an unknown part": ("modle:\n  width: 16\n", "--modle", "unrecognized"),
    "YAML with a list for a mapping": ("model:\n  - width\n", "--model"),
    "YAML with a word for a number": ("model:\n  width: wide\n", "--model.width", "wide"),
    "YAML with an unresolvable reference": ("model:\n  width: ${model.hieght}\n", "model.hieght", "${...}"),
    "YAML with a circular reference": ("model:\n  width: ${model.inner}\n  inner: ${model.width}\n", "${...}"),
    "YAML with null for a switch": ("model: {use_prompt: null}\n", "--model.use_prompt=None", "needs a value"),
    "YAML with null for a name": ("data: {family: null}\n", "--data.family=None"),
    "YAML with null for updates": ("data: {updates_per_epoch: null}\n", "--data.updates_per_epoch=None", "at least 1"),
    "YAML with null for episodes": ("tuning: {verdict_episodes: null}\n", "--tuning.verdict_episodes=None"),
    "YAML with the character 0": ('name: "a\\0b"\n', "--name=", "the character 0"),
    "YAML with the character 0 for a group": ('trainer: "\\0"\n', "bad.yaml", "null byte"),
    "YAML that is no text": (b"\x00\xff\xfe", "bad.yaml"),
}


def dataset(name, episodes=4, steps=8, states=2, **changes):
    """Walks of the point in a dataset of its own, each state a little off the last."""
    rng = np.random.default_rng(episodes)
    env = gym.make("pdt-lightning/Point-v0", goal=3)
    env.unwrapped.observation_space = gym.spaces.Box(-10.0, 10.0, (states,), np.float64)
    walks = []
    for _ in range(episodes):
        values = {
            "states": rng.normal(size=(steps, states)).cumsum(axis=0).astype(np.float32),
            "actions": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            "labels": rng.uniform(-1, 1, (steps, 2)).astype(np.float32),
            "rewards": rng.normal(size=steps),
            "success": 1.0,
        }
        walks.append(minari.Demonstration(**{**values, **changes}))
    minari.write(name, walks, [np.zeros(states)] * episodes, env, [False] * episodes, "test")


def data_of(name):
    return minari.path_of(name) / "data"


def edit(name, **changes):
    """Change what a dataset says of itself; None takes it away."""
    path = data_of(name) / "metadata.json"
    if "env_spec" in changes:  # both name it
        changes["eval_env_spec"] = changes["env_spec"]
    known = {**json.loads(path.read_text()), **changes}
    path.write_text(json.dumps({key: value for key, value in known.items() if value is not None}))


def specification(name, **changes):
    """The environment that a dataset names, changed."""
    known = json.loads(json.loads((data_of(name) / "metadata.json").read_text())["env_spec"])
    return json.dumps({**known, **changes})


def uneven(name):
    """Write a row too few of the observations into the second episode."""
    with h5py.File(data_of(name) / "main_data.hdf5", "r+") as file:
        values = file["episode_1/observations"][:]
        del file["episode_1/observations"]
        file["episode_1/observations"] = values[:-2]


def cut(path):
    """Leave the first half of a file."""
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


DISCRETE = '{"type": "Discrete", "dtype": "int64", "start": 0, "n": 3}'
POINT_MODULE = "pdt_lightning.tasks.point:"
# What happens to the dataset `bad/door-v0`, which trains the first task, and what the message has to say beside its
# name.
DATASETS = {
    "dataset that is missing": (lambda name: shutil.rmtree(minari.path_of(name)), "minari download bad/door-v0"),
    "dataset without metadata": (lambda name: (data_of(name) / "metadata.json").unlink(), "cannot be read", "Remove"),
    "dataset with broken metadata": (lambda name: cut(data_of(name) / "metadata.json"), "cannot be read", "Remove"),
    "dataset that is empty": (lambda name: edit(name, total_episodes=0), "no episode with a step"),
    "dataset that is truncated": (lambda name: cut(data_of(name) / "main_data.hdf5"), "cannot be read", "Remove"),
    "dataset with a row too few": (uneven, "episode 1", "observations", "Remove the episode"),
    "dataset of discrete actions": (
        lambda name: edit(name, action_space=DISCRETE),
        "Discrete(3)",
        "against Box(-1.0, 1.0, (2,), float32)",
    ),
    "dataset that names no environment": (lambda name: edit(name, env_spec=None), "names no environment"),
    "dataset of another version of the environment": (
        lambda name: edit(name, env_spec=specification(name, id="pdt-lightning/Point-v1")),
        "pdt-lightning/Point-v1",
        "pdt-lightning/Point-v0",
        "one version",
    ),
    "dataset of an environment that is not installed": (
        lambda name: edit(name, env_spec=specification(name, entry_point="doors_and_more:Door")),
        "pdt-lightning/Point-v0",
        "doors_and_more",
        "Install",
    ),
    "dataset of a version that is not installed": (
        lambda name: edit(name, env_spec=specification(name, entry_point=POINT_MODULE + "PointEnvV9")),
        "PointEnvV9",
        "Install",
    ),
}
# Written otherwise from the start.
WRITTEN = {
    "dataset with NaN": ({"rewards": np.full(8, np.nan)}, "episode 0", "rewards are not all finite"),
    "dataset with observations of another size": ({"states": 3}, "bad/door-v0 has observations unlike", "(3,)", "(2,)"),
    "dataset too short for H": ({"steps": 4}, "segments of 5 steps", "bad/door has 4", "Lower --data.segment_steps"),
    "dataset with too few episodes": ({"episodes": 2}, "--data.validation_share", "add episodes"),
}
# Changes of the first entry of the list.
ENTRIES = {
    "listed task with an unknown key": ({"colour": "red"}, "colour", "A task takes: id"),
    "listed task without an id": ({"id": None}, "lacks id"),
    "listed task without data": ({"training_data": []}, "lacks training_data"),
    "listed data that are no list": ({"training_data": "bad/door-v0"}, "bad/door-v0", "Give a list"),
    "listed horizon that is negative": ({"horizon": -1}, "horizon", "-1", "at least 1"),
    "listed horizon that is a word": ({"horizon": "long"}, "horizon", "long"),
    "listed scale that is zero": ({"return_scale": 0}, "return_scale", "above 0"),
    "two listed tasks of one id": ({"id": "bad/two"}, "bad/two", "its own"),
    "listed task over two environments": (
        {"training_data": ["bad/door-v0", "bad/other-goal-v0"]},
        "bad/other-goal-v0",
        "make two tasks",
    ),
}


def text(content):
    return lambda path, good: path.write_bytes(content)


def saved(content):
    return lambda path, good: torch.save(content, path)


def changed(**parts):
    def write(path, good):
        torch.save({**torch.load(good, weights_only=True), **parts}, path)

    return write


def truncated(path, good):
    path.write_bytes(good.read_bytes()[:-100])


def another_module(path, good):
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_checkpointing=False, barebones=True)
    trainer.strategy.connect(BoringModel())
    trainer.save_checkpoint(path)


# How `bad.ckpt` comes about, given a good one.
CHECKPOINTS = {
    "checkpoint that is missing": (lambda path, good: None, "there is no such file"),
    "checkpoint that is a folder": (lambda path, good: path.mkdir(), "is a folder"),
    "checkpoint that is empty": (text(b""), "0 bytes are no checkpoint"),
    "checkpoint that is text": (text(b"model: 16\n"), "10 bytes are no checkpoint"),
    "checkpoint that is truncated": (truncated, "not the whole of one"),
    "checkpoint of nothing but a tensor": (saved(torch.zeros(3)), "not a checkpoint of this package"),
    "checkpoint of another program": (saved({"state_dict": {}, "epoch": 3}), "not a checkpoint of this package"),
    "checkpoint of another Lightning module": (another_module, "not a checkpoint of this package"),
    "checkpoint with hyper-parameters of others": (
        changed(hyper_parameters={"lr": 1.0}),
        "not a checkpoint of this package",
    ),
    "checkpoint without its weights": (changed(state_dict={}), "weights"),
}
# What a run that goes on was trained with otherwise: the flag, and what of the message names both values.
RESUMED = [
    ("--model.width=32", "--model.width=16, now 32"),
    ("--model.learning_rate=0.5", "--model.learning_rate=0.0001, now 0.5"),
    ("--model.attention=published --data.chunk_steps=null", "--model.attention=window, now published"),
    ("--data.segments=1", "--data.segments=2, now 1"),
    ("--data.updates_per_epoch=4", "--data.updates_per_epoch=3, now 4"),
    ("--data.family_options.horizon=20", "--data.family_options.horizon=30, now 20"),
    ('--data.family=metaworld --data.family_options={"extra_goal_seeds":[]}', "--data.family=point, now metaworld"),
    ("--seed=7", "--seed=0, now 7"),
]
TUNED = [
    Wrong("misspelt option of tune", ["--round=8"], ["--rounds=8"], ["--round", "Did you mean --rounds?"]),
    option("--rounds=-1", 8, "at least 0"),
    option("--tuner=magic", "uniform", "choose one of structured"),
    option("--tasks=[point/00]", "[point/03]", "point/00 is not a held-out task"),
    option("--family_options.expert_share=2", 1.0, "at most 1"),
    option("--width=0", 8, "at least 1"),
    option("--workers=-1", 0, "at least 0"),
    option("--precision=8", "32-true", "choose one of"),
    option("--prompt_tokens=0", 3, "at least 1"),
    option("--out={folder}/file/below", "{folder}/out", "{folder}/file is a file"),
    Wrong(
        "prompts with rounds",
        ["--prompts={folder}/prompts"],
        ["--prompts={folder}/prompts", "--rounds=0"],
        ["add --rounds 0"],
    ),
    *also(
        ["--rounds=0"],
        option("--prompts={folder}/nowhere", "{folder}/prompts", "there is no such folder"),
        option("--prompts={folder}/lacking", "{folder}/prompts", "no prompt of point/07", "--tasks"),
        option("--prompts={folder}/cut", "{folder}/prompts", "point/07.safetensors", "not the whole of one"),
        option("--prompts={folder}/short", "{folder}/prompts", "point/07", "shape (1, 3, 1), not (1, 6, 1)"),
        option("--prompts={folder}/infinite", "{folder}/prompts", "point/07", "not all finite"),
    ),
]
CHEETAH = ["--data.family=half-cheetah-vel"]
LEARNED = [
    option("--data.family_options.split=publishd", "training", "choose one of published, training",
           "Did you mean published?"),
    option("--data.family_options.medium_share=0.5", 0.0, "--data.family_options.expert_share=1.0", "more than 1"),
    option("--data.family_options.medium_share=-0.5", 0.0, "at least 0"),
    option("--data.family_options.expert_share=0.01", 1.0, "candidate_demonstrations=", "rounds to no episode"),
    option("--data.family_options.training_source=web", "collected", "choose one of collected, prompt-dt"),
    Wrong("published data that were not imported", ["--data.family_options.training_source=prompt-dt"], [],
          ["prompt-dt/half-cheetah-vel/00-expert-v0", "import-prompt-dt DIR --family half-cheetah-vel"]),
    Wrong("prompts that are trained on",
          [f"--data.family_options.{source}"
           for source in ("training_source=prompt-dt-prompts", "candidate_source=prompt-dt", "split=training")], [],
          ["candidate_source=prompt-dt", "training_source=prompt-dt-prompts", "split=training"]),
    option("--data.family_options.candidate_source=web", "collected", "choose one of collected, prompt-dt"),
    option("--data.family_options.experts={folder}/nowhere", "null", "{folder}/nowhere", "there is no such file"),
    option("--data.family_options.experts={folder}/file", "null", "{folder}/file", "holds no expert"),
]  # fmt: skip
COLLECTED = [
    Wrong("family to collect that is misspelt", ["pont"], ["point"], ["family=pont", "Did you mean point?"]),
    Wrong("no family to collect", [], ["point"], ["family", "required"]),
    Wrong("misspelt option of collect", ["point", "--worker=1"], ["point", "--workers=1"], ["Did you mean --workers?"]),
    Wrong("family option of collect", ["point", '--family_options={"horizn": 3}'], ["point"],
          ["--family_options.horizn", "Did you mean horizon?"]),
    Wrong("workers of collect", ["point", "--workers=0"], ["point", "--workers=1"], ["--workers=0", "at least 1"]),
    Wrong("experts that are not learned", ["point", "--train"], ["point"], ["--train", "not learned"]),
    Wrong("steps of training experts", ["ant-dir", "--train", "--steps=10"], ["point"],
          ["--steps=10", "at least 10,000"]),
    Wrong("no steps of training experts", ["ant-dir", "--train", "--steps=0"], ["point"],
          ["--steps=0", "at least 10,000"]),
    Wrong("file of experts that are not trained", ["point", "--out=a"], ["point"], ["--out=a", "without --train"]),
    Wrong("experts to train and to use", ["ant-dir", "--train", '--family_options={"experts": "a"}'], ["point"],
          ["--family_options.experts=a", "Leave one of them out"]),
    Wrong("family option of training experts", ["half-cheetah-vel", "--train", '--family_options={"split": "nope"}'],
          ["point"],
          ["--family_options.split=nope", "published"]),
    Wrong("experts below a file", ["ant-dir", "--train", "--out={folder}/file/a"], ["point"],
          ["--out", "{folder}/file is a file"]),
    Wrong("experts over a file", ["ant-dir", "--train", "--out={folder}/file"], ["point"],
          ["{folder}/file is there already"]),
    Wrong("published files of no family", ["import-prompt-dt", "{folder}"], ["point"], ["--family", "required"]),
    Wrong("published files of the point", ["import-prompt-dt", "{folder}", "--family=point"], ["point"],
          ["no files of it"]),
    Wrong("no folder of published files", ["import-prompt-dt", "{folder}/no", "--family=ant-dir"], ["point"],
          ["{folder}/no"]),
    Wrong("empty folder of published files", ["import-prompt-dt", "{folder}", "--family=ant-dir"], ["point"],
          ["no files such as ant_dir-0-prompt-expert.pkl"]),
]  # fmt: skip
PLACES = [
    option("--trainer.default_root_dir={folder}/file/a", "{folder}/runs", "{folder}/file is a file",
           what="runs below a file"),
    option("--config={folder}/nowhere.yaml", "{folder}/good.yaml", "nowhere.yaml", what="YAML that is missing"),
    option("--config={folder}", "{folder}/good.yaml", "{folder}", what="YAML that is a folder"),
    option("--ckpt_path=last", "null", "there is no run under {folder}/runs/run", what="last checkpoint of no run"),
]  # fmt: skip


def tree(folder):
    """Every file with its size and time, by which a change is seen; what was computed once and is kept apart from."""
    return {
        str(path): path.is_file() and (path.stat().st_size, path.stat().st_mtime_ns)
        for path in sorted(folder.rglob("*"))
        if ".pdt-lightning" not in path.parts or path.name.startswith(".partial")
    }


@pytest.fixture
def refused(tmp_path, capsys):
    """Runs a command in-process, which has to end as all mistakes do.

    The result is the one message, in which `{folder}` is the test's own.
    """

    def run(main, flags):
        flags = [str(flag).replace("{folder}", str(tmp_path)) for flag in flags]
        before = tree(tmp_path)
        capsys.readouterr()
        with pytest.raises(SystemExit) as ended:
            main(flags)
        said = capsys.readouterr().err
        assert ended.value.code == 2
        lines = [line for line in said.splitlines() if not line.endswith(" ...")]
        assert len(lines) == 1, said
        assert lines[0].startswith("error: ")
        assert tree(tmp_path) == before
        assert not list(tmp_path.rglob(".partial-*"))
        return lines[0].replace(str(tmp_path), "{folder}")

    return run


def lacking(said, pieces):
    """Those of the pieces that a message does not have."""
    return [piece for piece in pieces if piece not in said]


@pytest.fixture
def accepted(tmp_path):
    """Runs a command in-process, which has to end well."""

    def run(main, flags):
        main([str(flag).replace("{folder}", str(tmp_path)) for flag in flags])

    return run


@pytest.fixture
def no_training(monkeypatch):
    """A run that is given up when training would begin, after all checks. The models that were to be trained."""
    begun = []
    monkeypatch.setattr(lightning.Trainer, "fit", lambda trainer, model, *args, **options: begun.append(model))
    return begun


@pytest.fixture
def runs(tmp_path):
    """Flags of a run in the test's folder."""
    return f"--trainer.default_root_dir={tmp_path / 'runs'}"


@pytest.mark.parametrize("row", OPTIONS, ids=str)
def test_an_option(row, refused, runs, point_data):
    assert lacking(refused(fit.main, [*POINT, runs, *row.flags]), row.message) == []


@pytest.mark.parametrize("row", PLACES, ids=str)
def test_a_place(row, refused, runs, point_data, tmp_path):
    (tmp_path / "file").write_text("")
    assert lacking(refused(fit.main, [*POINT, runs, *row.flags]), row.message) == []


@pytest.mark.parametrize("what", YAMLS)
def test_a_configuration(what, refused, runs, point_data, tmp_path):
    content, *message = YAMLS[what]
    (tmp_path / "bad.yaml").write_bytes(content if isinstance(content, bytes) else content.encode())
    assert lacking(refused(fit.main, [*POINT, runs, f"--config={tmp_path / 'bad.yaml'}"]), message) == []


@pytest.fixture
def listed(tmp_path, monkeypatch):
    """Lays out datasets in a folder of their own; gives the flags of a run on them."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))

    def lay_out(door=None, entry=None):
        for name, options in (("door", door or {}), ("two", {}), ("held", {})):
            dataset(f"bad/{name}-v0", **options)
        (tmp_path / "listed.yaml").write_text(
            json.dumps(
                {
                    "data": {
                        "family": "minari",
                        "family_options": {
                            "training": [
                                {"id": "bad/door", "training_data": ["bad/door-v0"], **(entry or {})},
                                {"id": "bad/two", "training_data": ["bad/two-v0"]},
                            ],
                            "held_out": [{"id": "bad/held", "prompt_data": ["bad/held-v0"]}],
                        },
                    }
                }
            )
        )
        point = [flag for flag in POINT if not flag.startswith("--data.family")]
        return [*point, f"--config={tmp_path / 'listed.yaml'}", "--data.segment_steps=5"]

    return lay_out


@pytest.mark.parametrize("what", DATASETS)
def test_a_dataset(what, refused, runs, listed):
    break_it, *message = DATASETS[what]
    flags = listed()
    break_it("bad/door-v0")
    assert lacking(refused(fit.main, [*flags, runs]), ["bad/door", *message]) == []


@pytest.mark.parametrize("what", WRITTEN)
def test_a_dataset_that_was_recorded_badly(what, refused, runs, listed):
    door, *message = WRITTEN[what]
    assert lacking(refused(fit.main, [*listed(door=door), runs]), ["bad/door", *message]) == []


@pytest.mark.parametrize("what", ENTRIES)
def test_an_entry_of_the_list(what, refused, runs, listed):
    entry, *message = ENTRIES[what]
    flags = listed(entry=entry)
    dataset("bad/other-goal-v0")
    edit("bad/other-goal-v0", env_spec=specification("bad/other-goal-v0", kwargs={"goal": 5}))
    assert (
        lacking(
            refused(fit.main, [*flags, runs]),
            ["--data.family_options.training" if "environments" not in what else "", *message],
        )
        == []
    )


def test_success_where_the_environment_knows_none(refused, runs, listed):
    flags = listed()
    for name in ("door", "two", "held"):
        edit(
            f"bad/{name}-v0",
            env_spec=specification(f"bad/{name}-v0", entry_point="tests.commands.test_bad_input:Unjudged"),
        )
    assert (
        lacking(
            refused(fit.main, [*flags, runs, "--tuning.objective=success"]),
            ["--tuning.objective=success", "bad/held", "Choose return or auto"],
        )
        == []
    )


class Unjudged(gym.Wrapper):
    """The point, without success in its info."""

    def __init__(self, **options):
        from pdt_lightning.tasks.point import PointEnv

        super().__init__(PointEnv(**options))

    def reset(self, **options):
        return super().reset(**options)[0], {}

    def step(self, action):
        return *super().step(action)[:4], {}


def test_a_dataset_of_ours_from_another_environment(refused, runs, monkeypatch, tmp_path, accepted, no_training):
    """What is collected bears a name that follows from the task; what stands under it may have come from elsewhere."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    accepted(fit.main, [*POINT, runs])
    name = next((tmp_path / "minari").glob("pdt-lightning/point/03-prompt-*")).relative_to(tmp_path / "minari")
    edit(str(name), env_spec=specification(str(name), id="pdt-lightning/Point-v7"))
    assert (
        lacking(
            refused(fit.main, [*POINT, runs]),
            [str(name), "pdt-lightning/Point-v7", "pdt-lightning/Point-v0", "point/03", "Remove"],
        )
        == []
    )


@pytest.mark.parametrize(
    ("variable", "message"),
    [("MINARI_DATASETS_PATH", "{folder}/file/below is no folder"), ("PDT_LIGHTNING_CACHE", "cannot be written")],
)
def test_data_in_a_place_that_cannot_be(variable, message, refused, runs, monkeypatch, tmp_path, point_data):
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(variable, str(tmp_path / "file" / "below"))
    assert lacking(refused(fit.main, [*POINT, runs]), [variable, message]) == []


@pytest.fixture(scope="module")
def run(tmp_path_factory, point_data):
    """A finished run, whose flags are those of the table."""
    root = tmp_path_factory.mktemp("good")
    fit.main([*POINT, f"--trainer.default_root_dir={root}"])
    return root / "run" / "version_0"


@pytest.mark.parametrize("what", CHECKPOINTS)
@pytest.mark.parametrize("main", [fit.main, tune.main], ids=["fit", "tune"])
def test_a_checkpoint(what, main, refused, run, runs, tmp_path):
    make, *message = CHECKPOINTS[what]
    make(tmp_path / "bad.ckpt", run / "checkpoints" / "last.ckpt")
    flags = [*POINT, runs] if main is fit.main else []
    assert (
        lacking(refused(main, [*flags, "--ckpt_path={folder}/bad.ckpt"]), ["--ckpt_path={folder}/bad.ckpt", *message])
        == []
    )


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
@pytest.mark.parametrize(("flags", "message"), RESUMED, ids=[flags for flags, _ in RESUMED])
def test_a_run_that_goes_on_otherwise(flags, message, refused, run, tmp_path):
    shutil.copytree(run.parents[1], tmp_path / "runs")
    resumed = [*POINT, f"--trainer.default_root_dir={tmp_path / 'runs'}", "--trainer.max_epochs=2", "--ckpt_path=last"]
    assert lacking(refused(fit.main, [*resumed, *flags.split()]), [message]) == []


@pytest.fixture
def prompts(run, tmp_path):
    """Folders of prompts, good and bad."""
    for name in ("prompts", "lacking", "cut", "short", "infinite"):
        shutil.copytree(run / "prompts", tmp_path / name)
    seven = "point/07.safetensors"
    (tmp_path / "lacking" / seven).unlink()
    cut(tmp_path / "cut" / seven)
    values = load_file(tmp_path / "short" / seven)
    save_file({name: value[:, :3].contiguous() for name, value in values.items()}, tmp_path / "short" / seven)
    save_file({**values, "states": values["states"] * float("inf")}, tmp_path / "infinite" / seven)
    (tmp_path / "file").write_text("")


@pytest.mark.parametrize("row", TUNED, ids=str)
def test_an_option_of_tune(row, refused, run, prompts):
    assert (
        lacking(refused(tune.main, [f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}", *row.flags]), row.message) == []
    )


def test_tune_on_tasks_of_other_sizes_than_the_checkpoint_knows(refused, run, tmp_path):
    good = run / "checkpoints" / "last.ckpt"
    data = torch.load(good, weights_only=True)["datamodule_hyper_parameters"]
    changed(datamodule_hyper_parameters={**data, "family": "half-cheetah-vel", "family_options": {}})(
        tmp_path / "other.ckpt", good
    )
    said = refused(tune.main, ["--ckpt_path={folder}/other.ckpt", "--rounds=3"])
    assert lacking(said, ["other.ckpt", "state_size of 2, not of 20", "--family_options"]) == []


def test_tune_needs_a_checkpoint(refused):
    assert lacking(refused(tune.main, ["--rounds=3"]), ["--ckpt_path", "required"]) == []


@pytest.fixture
def own_minari(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path / "minari"))
    (tmp_path / "minari").mkdir()


@pytest.mark.parametrize("row", LEARNED, ids=str)
def test_an_option_of_a_family_with_learned_experts(row, refused, runs, own_minari, tmp_path):
    (tmp_path / "file").write_text("")
    assert lacking(refused(fit.main, [*POINT, *CHEETAH, runs, *row.flags]), row.message) == []


@pytest.mark.parametrize("row", COLLECTED, ids=str)
def test_an_option_of_collect(row, refused, own_minari, tmp_path):
    (tmp_path / "file").write_text("")
    assert lacking(refused(collect.main, row.flags), row.message) == []


@pytest.mark.parametrize("what", files.BROKEN)
def test_a_published_file(what, refused, own_minari, tmp_path):
    files.write(tmp_path, files.BROKEN[what][0]())
    said = refused(collect.main, ["import-prompt-dt", "{folder}", "--family=half-cheetah-vel", "--progress=false"])
    assert lacking(said, ["{folder}/cheetah_vel-0-prompt-expert.pkl"]) == []
    assert files.RAN == []


# Controls: the same flags with good values.


def test_all_options_with_good_values_in_one_run(accepted, runs, tmp_path):
    (tmp_path / "good.yaml").write_text(GOOD_YAML)
    rows = [row for row in [*OPTIONS, *PLACES] if row.flags[: len(METAWORLD)] != METAWORLD]
    accepted(fit.main, [*POINT, runs, *(flag for row in rows for flag in row.good)])
    assert json.loads((tmp_path / "runs" / "p" / "version_0" / "summary.json").read_text())["final"]


def test_good_options_of_metaworld(accepted, runs, no_training, monkeypatch):
    for step in ("prepare_data", "setup"):  # collection would take minutes
        monkeypatch.setattr(MultiTaskDataModule, step, lambda *args: None)
    rows = [row for row in OPTIONS if row.flags[: len(METAWORLD)] == METAWORLD]
    assert len(rows) > 2
    accepted(fit.main, [*POINT, runs, *(flag for row in rows for flag in row.good)])
    assert [model.hparams["state_size"] for model in no_training] == [39]


def test_good_options_of_a_family_with_learned_experts(accepted, runs, no_training, monkeypatch):
    for step in ("prepare_data", "setup"):
        monkeypatch.setattr(MultiTaskDataModule, step, lambda *args: None)
    accepted(fit.main, [*POINT, *CHEETAH, runs, *(flag for row in LEARNED for flag in row.good)])
    assert [model.hparams["state_size"] for model in no_training] == [20]


def test_good_options_of_collect(accepted, own_minari):
    small = '--family_options={"training_demonstrations": 3, "candidate_demonstrations": 1}'
    accepted(collect.main, ["point", "--workers=1", "--progress=false", small])
    family = make_family("point", {"training_demonstrations": 3, "candidate_demonstrations": 1})
    wanted = [name for task in family.training_tasks for name in task.training_data]
    wanted += [name for task in family.heldout_tasks for name in task.prompt_data]
    assert [name for name in wanted if not minari.exists(name)] == []


def test_good_datasets(accepted, runs, listed, tmp_path):
    accepted(fit.main, [*listed(), runs, "--tuning.objective=success"])
    assert (tmp_path / "runs" / "run" / "version_0" / "summary.json").exists()


@pytest.mark.filterwarnings("ignore:The dirpath has changed")
def test_a_run_that_goes_on_with_what_may_differ(accepted, run, tmp_path):
    shutil.copytree(run.parents[1], tmp_path / "runs")
    resumed = [*POINT, f"--trainer.default_root_dir={tmp_path / 'runs'}", "--trainer.max_epochs=2", "--ckpt_path=last"]
    accepted(fit.main, [*resumed, "--data.collection_workers=1", "--tuning.rounds=4", "--trainer.log_every_n_steps=2"])
    summary = json.loads((tmp_path / "runs" / "run" / "version_0" / "summary.json").read_text())
    assert (summary["epoch"], summary["tasks"]["point/03"]["rollouts"]) == (1, 4)


def test_all_options_of_tune_with_good_values(accepted, run, prompts, tmp_path):
    checkpoint = f"--ckpt_path={run / 'checkpoints' / 'last.ckpt'}"
    accepted(tune.main, [checkpoint, *(flag for row in TUNED for flag in row.good)])
    judged = json.loads((tmp_path / "out" / "summary.json").read_text())
    assert judged["tasks"]["point/03"]["rollouts"] == 0
    accepted(tune.main, [checkpoint, "--out={folder}/tuned", "--rounds=4", "--tuner=uniform", "--tasks=[point/03]"])
    assert set(json.loads((tmp_path / "tuned" / "summary.json").read_text())["tasks"]) == {"point/03"}


# How a command ends.


def test_as_a_process(tmp_path):
    flags = [*POINT, "--model.widht=16", f"--trainer.default_root_dir={tmp_path / 'runs'}"]
    done = command("fit", *flags, check=False, bare=True)
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.count("error: ") == 1
    assert "Traceback" not in done.stderr
    assert not list(tmp_path.iterdir())


def test_debug_shows_where(capsys):
    with pytest.raises(SystemExit) as ended:
        fit.main(["--model.widht=16", "--debug"])
    said = capsys.readouterr().err
    assert ended.value.code == 2
    assert "Traceback" in said
    assert "UserError: " in said


def test_of_several_processes_on_a_machine_one_speaks(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    with pytest.raises(SystemExit) as ended:
        fit.main(["--model.widht=16"])
    assert ended.value.code == 2
    assert "error" not in capsys.readouterr().err


def test_bugs_keep_their_traceback(monkeypatch):
    def broken(*args):
        raise ValueError("a bug")

    monkeypatch.setattr("pdt_lightning.commands.cli.RunCLI.__init__", broken)
    with pytest.raises(ValueError, match="a bug"):
        fit.main([])


def test_there_are_at_least_sixty_kinds():
    tables = (OPTIONS, PLACES, YAMLS, DATASETS, WRITTEN, ENTRIES, CHECKPOINTS, RESUMED, TUNED, LEARNED, COLLECTED)
    assert sum(len(table) for table in tables) >= 60
    assert len({str(row) for table in tables for row in table}) == sum(len(table) for table in tables)
