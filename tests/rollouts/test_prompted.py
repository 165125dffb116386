"""A checkpoint and a saved prompt act as the rollouts do."""

import json
import subprocess
import sys
from dataclasses import replace

import gymnasium as gym
import numpy as np
import pytest
import torch
from gymnasium.envs.registration import EnvSpec
from gymnasium.error import ResetNeeded
from gymnasium.wrappers import FlattenObservation
from lightning import Trainer

import pdt_lightning
from pdt_lightning.core.seeding import integer
from pdt_lightning.data.segments import Prompt
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.prompted import PromptedPolicy
from pdt_lightning.rollouts.rollout import Row, rollout
from pdt_lightning.tasks.base import Task
from tests.conftest import POINT_FLAGS, untrained
from tests.processes import command

PARTS = EnvSpec("tests/Parts-v0", entry_point="tests.rollouts.test_prompted:Parts")
EPISODES = 5


class Parts(gym.Env):
    """A Dict observation whose parts are in an order of their own, and an action box that is narrow."""

    observation_space = gym.spaces.Dict(
        [("where", gym.spaces.Box(-1, 1, (1,), np.float64)), ("how", gym.spaces.Box(-1, 1, (1,), np.float64))]
    )
    action_space = gym.spaces.Box(-0.1, 0.1, (2,), np.float32)

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.state = self.np_random.uniform(-1, 1, 2)
        return self._seen(), {}

    def step(self, action):
        assert self.action_space.contains(action)
        self.state = np.clip(self.state + action, -1, 1)
        return self._seen(), float(self.state @ [1.0, -3.0]), False, False, {}

    def _seen(self):
        return {"how": self.state[1:], "where": self.state[:1]}  # not the space's order


@pytest.fixture(params=["published", "window"])
def saved(request, point_data, tmp_path):
    """A checkpoint, as Lightning writes it, its policy, and the saved prompts of two tasks."""
    module = untrained(point_data, attention=request.param)
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    prompts = {}
    for task in point_data.heldout_tasks[:2]:
        prompts[task.id] = point_data.segments(task.id).gather(np.array([[3, 11]]))
        prompts[task.id].save(tmp_path / f"{task.id}.safetensors", ["a", "b"], **task.facts())
    return tmp_path, Policy(module.model, 5), prompts


def returns_of(policy, seeds):
    """One environment, in Gymnasium's loop."""
    env, totals = gym.make(policy.environment), []
    for seed in seeds:
        observation, _ = env.reset(seed=seed)
        policy.reset()
        reward, total, over = None, 0.0, False
        while not over:
            observation, reward, terminated, truncated, _ = env.step(policy.act(observation, reward))
            total, over = total + reward, terminated or truncated
        totals.append(total)
    env.close()
    return totals


def returns_side_by_side(policy, seeds):
    """The same in a vector environment; rows that have ended are left out."""
    envs = gym.make_vec(policy.environment, num_envs=len(seeds), vectorization_mode="sync")
    observations, _ = envs.reset(seed=list(seeds))
    policy.reset()
    rewards, over, totals = None, np.zeros(len(seeds), bool), np.zeros(len(seeds))
    while not over.all():
        observations, rewards, terminated, truncated, _ = envs.step(policy.act(observations, rewards))
        totals += np.where(over, 0.0, rewards)
        over |= terminated | truncated
    envs.close()
    return totals.tolist()


@pytest.mark.parametrize("play", [returns_of, returns_side_by_side])
def test_it_gets_what_a_rollout_gets(saved, point_data, play):
    folder, policy, prompts = saved
    for task in point_data.heldout_tasks[:2]:
        seeds = range(40, 40 + EPISODES)
        expected = [outcome.total for outcome in rollout(policy, [Row(task, prompts[task.id], seed) for seed in seeds])]
        loaded = pdt_lightning.load(folder / "last.ckpt", prompt=str(folder / f"{task.id}.safetensors"))
        assert play(loaded, seeds) == pytest.approx(expected, abs=1e-5)
        assert play(loaded, seeds) == pytest.approx(expected, abs=1e-5)  # the past is forgotten


@pytest.mark.parametrize("play", [returns_of, returns_side_by_side])
def test_dense_rewards_dict_observations_and_the_action_box(point_data, point_policy, tmp_path, play):
    """The return tells every action apart here, horizons end the episodes, and actions reach the box."""
    task = Task("parts/0", PARTS, horizon=12, target_return=40.0, return_scale=20.0)
    prompt = point_data.segments("point/03").gather(np.array([[3, 11]]))
    prompt.save(tmp_path / "p.safetensors", **task.facts())
    facts = Prompt.load_with_facts(tmp_path / "p.safetensors")[1]
    assert set(json.loads(facts["observation_space"])["subspaces"]) == {"where", "how"}
    seeds = range(EPISODES)
    outcomes = rollout(point_policy, [Row(task, prompt, seed) for seed in seeds])
    assert [outcome.failed for outcome in outcomes] == [None] * EPISODES
    expected = [outcome.total for outcome in outcomes]
    assert len(set(expected)) == EPISODES
    assert play(PromptedPolicy(point_policy, prompt, facts), seeds) == pytest.approx(expected, rel=1e-5)


def test_what_a_run_leaves_gets_what_the_run_reports(tmp_path, point_data):
    command(
        "fit", *POINT_FLAGS, "--name=u", f"--trainer.default_root_dir={tmp_path}", "--trainer.max_epochs=1", "--seed=5"
    )
    run = tmp_path / "u" / "version_0"
    reported = json.loads((run / "summary.json").read_text())["tasks"]
    for task in ("point/03", "point/11"):
        policy = pdt_lightning.load(run / "checkpoints" / "last.ckpt", prompt=run / "prompts" / f"{task}.safetensors")
        seeds = [integer(5, "verdict", 0, task, number) for number in range(4)]
        assert np.mean(returns_of(policy, seeds)) == pytest.approx(reported[task]["tuned"]["return"], abs=1e-5)
        assert policy.facts["origin"] == reported[task]["prompt"]


def test_a_target_of_ones_own_is_asked_for(saved, point_data):
    folder, policy, prompts = saved
    task = point_data.heldout_tasks[0]
    prompt = folder / f"{task.id}.safetensors"
    asked = pdt_lightning.load(folder / "last.ckpt", prompt, target_return=-7.0)
    assert (asked.facts["target_return"], asked.facts["return_scale"], asked.facts["task"]) == (-7.0, 10.0, task.id)
    other = replace(task, target_return=-7.0)
    first = []
    for target in (task, other):
        policy.reset(prompts[task.id], np.array([target.target_return]), np.array([10.0]))
        first.append(policy.act(np.zeros((1, 2)))[0])
    asked.reset()
    assert np.allclose(asked.act(np.zeros(2)), first[1], atol=1e-5)
    assert not np.allclose(first[0], first[1], atol=1e-5)
    given = pdt_lightning.load(folder / "last.ckpt", prompts[task.id], target_return=-7.0, return_scale=10.0)
    given.reset()
    assert np.allclose(given.act(np.zeros((4, 2))), np.tile(first[1], (4, 1)), atol=1e-5)


def test_models_without_prompts_or_returns_need_none(point_data, tmp_path):
    for name, options in (("mt-orl", {"use_prompt": False}), ("mt-bc", {"use_return_to_go": False})):
        trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
        trainer.strategy.connect(untrained(point_data, **options))
        trainer.save_checkpoint(tmp_path / f"{name}.ckpt")
    policy = pdt_lightning.load(tmp_path / "mt-orl.ckpt", target_return=10.0, return_scale=10.0)
    prompt = point_data.segments("point/03").gather(np.array([[3, 11]]))
    for one in (policy, pdt_lightning.load(tmp_path / "mt-bc.ckpt", prompt)):
        one.reset()
        assert one.act(np.zeros(2)).shape == (2,)
        assert one.act(np.zeros(2), 0.5).shape == (2,)


def test_mistakes_in_loading_are_named(saved, tmp_path):
    folder, _, prompts = saved
    checkpoint, prompt = folder / "last.ckpt", folder / "point/03.safetensors"
    (folder / "cut.ckpt").write_bytes(checkpoint.read_bytes()[:-2000])
    torch.save({"state_dict": {}, "hyper_parameters": {"lr": 1}}, folder / "foreign.ckpt")
    (folder / "text.safetensors").write_text("no prompt")
    prompts["point/03"].save(folder / "bare.safetensors")
    wide = Prompt(**{**vars(prompts["point/03"]), "states": torch.zeros(1, 6, 39)})
    for arguments, error, message in (
        ((folder / "none.ckpt", prompt), FileNotFoundError, r"`checkpoint`=.*none.ckpt: there is no such file"),
        ((folder, prompt), ValueError, r"`checkpoint`=.* is a folder. Name a checkpoint, such as .*last.ckpt"),
        (
            (folder / "cut.ckpt", prompt),
            ValueError,
            r"cut.ckpt: its .* bytes are no checkpoint, or not the whole of one",
        ),
        ((folder / "foreign.ckpt", prompt), ValueError, r"foreign.ckpt is not a checkpoint of this package"),
        (
            (checkpoint, folder / "none.safetensors"),
            FileNotFoundError,
            r"prompt=.*none.safetensors: there is no such file",
        ),
        ((checkpoint, folder / "text.safetensors"), ValueError, r"text.safetensors is no prompt"),
        ((checkpoint,), ValueError, r"last.ckpt needs a prompt: give prompt="),
        (
            (checkpoint, folder / "bare.safetensors"),
            ValueError,
            r"does not say the task's target return: give target_return=",
        ),
        (
            (checkpoint, prompts["point/03"], 10.0),
            ValueError,
            r"does not say the task's return scale: give return_scale=",
        ),
        ((checkpoint, prompt, 10.0, 0.0), ValueError, r"return_scale=0.0: it has to be positive"),
        ((checkpoint, Prompt.cat(list(prompts.values()))), ValueError, r"holds 2 prompts: give one of them"),
        ((checkpoint, wide), ValueError, r"observations of size 39, but .*last.ckpt knows 2"),
    ):
        with pytest.raises(error, match=message):
            pdt_lightning.load(*arguments)


def test_mistakes_in_acting_are_named(saved):
    folder, _, _ = saved
    policy = pdt_lightning.load(folder / "last.ckpt", folder / "point/03.safetensors")
    with pytest.raises(ResetNeeded, match=r"call reset\(\)"):
        policy.act(np.zeros(2))
    policy.reset()
    for observation, message in (
        (np.zeros(3), r"shape \(3,\), but the model knows \(2,\).*environment of point/03\?"),
        (np.zeros((1, 2, 2)), r"shape \(1, 2, 2\)"),
        (np.array([0.0, np.nan]), "not finite"),
        ({"a": np.zeros(2)}, "the parts a, but the task's is no Dict"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.act(observation)
    policy.act(np.zeros((3, 2)))
    for observation, reward, message in (
        (np.zeros((3, 2)), None, r"act\(observation, reward\)"),
        (np.zeros((3, 2)), np.zeros(2), "2 rewards for 3 observations"),
        (np.zeros((4, 2)), np.zeros(4), r"\(4, 2\) in an episode that began with \(3, 2\)"),
        (np.zeros(2), 0.0, r"\(2,\) in an episode that began with \(3, 2\)"),
        (np.zeros((3, 2)), np.full(3, np.inf), "not finite"),
    ):
        with pytest.raises(ValueError, match=message):
            policy.act(observation, reward)
    assert policy.act(np.zeros((3, 2)), np.zeros(3)).shape == (3, 2)  # none of them has cost the episode


def test_flattening_by_gymnasium_is_the_same(point_data, point_policy):
    facts = Task("parts/0", PARTS, horizon=12, target_return=40.0, return_scale=20.0).facts()
    policy = PromptedPolicy(point_policy, point_data.segments("point/03").gather(np.array([[3, 11]])), facts)
    env = gym.make(PARTS)
    actions = []
    for one in (env, FlattenObservation(env)):
        policy.reset()
        actions.append(policy.act(one.reset(seed=0)[0]))
    assert np.array_equal(*actions)


def test_importing_the_package_imports_no_torch():
    code = (
        "import sys, pdt_lightning; assert 'load' in dir(pdt_lightning); "
        "print('torch' in sys.modules, 'numpy' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    assert done.stdout.split() == ["False", "False"]
    with pytest.raises(AttributeError, match="no attribute 'lode'"):
        _ = pdt_lightning.lode
