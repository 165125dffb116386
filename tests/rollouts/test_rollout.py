import numpy as np
import pytest
import torch

from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.rollouts.environment_cache import Environments
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.rollouts.rollout import Row, rollout


@pytest.fixture
def rows(point_data):
    made = []
    for n in range(11):
        task = point_data.heldout_tasks[n % 3]
        segments = point_data.segments(task.id)
        made.append(Row(task, segments.gather(np.array([[n, (7 * n) % len(segments)]])), 100 + n))
    return made


@torch.no_grad()
def test_the_policy_sees_what_training_saw(point_module, point_data):
    """Acting step by step equals the model on the windows of the finished episode."""
    policy, prompt = Policy(point_module.model, 5), point_data.batch(0).prompt[[0]]
    rng = np.random.default_rng(0)
    states, rewards = rng.normal(size=(9, 2)).astype(np.float32), rng.normal(size=9)
    policy.reset(prompt, np.array([10.0]), np.array([5.0]))
    actions = [policy.act(states[[t]], rewards[[t - 1]] if t else None)[0] for t in range(9)]
    to_go = (10.0 - np.concatenate([[0], rewards[:-1].cumsum()])) / 5.0
    for t in range(9):
        seen = range(max(0, t - 4), t + 1)
        window = Steps(
            torch.tensor(to_go[list(seen)], dtype=torch.float32)[None, :, None],
            torch.from_numpy(states[list(seen)])[None],
            torch.from_numpy(np.stack([actions[i] for i in seen]))[None],
            torch.tensor(list(seen))[None],
            torch.ones(1, len(seen), dtype=torch.bool),
        )
        assert torch.allclose(point_module.model(window, prompt)[0, -1], torch.from_numpy(actions[t]), atol=1e-5)


def test_an_outcome_depends_on_its_own_row_alone(point_policy, rows):
    together = rollout(point_policy, rows, width=4)
    assert [rollout(point_policy, [row], width=4)[0] for row in rows] == together
    assert rollout(point_policy, rows[::-1], width=4)[::-1] == together
    assert len({outcome.length for outcome in together}) > 0
    assert all(outcome.failed is None for outcome in together)


def test_actions_agree_across_widths(point_module, point_data):
    prompts = Prompt.cat([point_data.batch(0).prompt[[0]]] * 16)
    states = np.random.default_rng(0).normal(size=(16, 2))
    actions = []
    for width in (1, 3, 16):
        policy = Policy(point_module.model, 5)
        policy.reset(prompts[slice(width)], np.full(width, 10.0), np.full(width, 10.0))
        actions.append(policy.act(states[:width])[0])
    assert np.allclose(actions[0], actions[1], atol=1e-5)
    assert np.allclose(actions[0], actions[2], atol=1e-5)


def test_worker_processes_play_the_same_episodes(point_policy, rows):
    here = rollout(point_policy, rows, width=4)
    pool = RolloutPool(workers=2, width=4)
    seen = []
    try:
        assert pool.with_policy(point_policy)(rows) == here
        assert (
            pool.with_policy(point_policy, lambda own, outcomes: seen.append((list(own), list(outcomes))))(rows) == here
        )
    finally:
        pool.close()
    blocks = sorted((block for block in seen if block != ([], [])), key=lambda block: block[0][0].seed)
    assert blocks == [(rows[n : n + 4], here[n : n + 4]) for n in (0, 4, 8)]
    assert RolloutPool(0, 4).with_policy(point_policy)(rows) == here


def test_threads_are_given_back(point_policy, rows):
    torch.set_num_threads(2)
    rollout(point_policy, rows[:1])
    assert torch.get_num_threads() == 2


class Breaks:
    """An environment that raises in the third step."""

    def __init__(self, env):
        self.env, self.steps = env, 0
        self.observation_space, self.action_space = env.observation_space, env.action_space

    def reset(self, seed):
        return self.env.reset(seed=seed)

    def step(self, action):
        self.steps += 1
        if self.steps == 3:
            raise ArithmeticError("the simulation is unstable")
        return self.env.step(action)

    def close(self):
        self.env.close()


def test_an_environment_that_raises_fails_its_own_row_only(point_policy, rows, monkeypatch):
    expected = rollout(point_policy, rows, width=4)
    bad = rows[1].task
    make = type(bad).make_env
    monkeypatch.setattr(type(bad), "make_env", lambda self: Breaks(make(self)) if self.id == bad.id else make(self))
    seen = rollout(point_policy, rows, width=4)
    for row, before, after in zip(rows, expected, seen, strict=True):
        if row.task.id == bad.id:
            assert after.failed == "ArithmeticError: the simulation is unstable"
        else:
            assert after == before


def test_a_policy_that_is_not_finite_fails_the_row(point_data, point_module, rows):
    import copy

    broken = copy.deepcopy(point_module.model)
    torch.nn.init.constant_(broken.head.bias, float("nan"))
    outcome = rollout(Policy(broken, 5), rows[:1])[0]
    assert outcome.failed is not None
    assert "FloatingPointError" in outcome.failed


@pytest.mark.parametrize(
    ("options", "message"), [({"workers": -1}, "`tuning.workers`=-1"), ({"width": 0}, "`tuning.width`=0")]
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        RolloutPool(**options)


def test_environments_are_built_once_and_lent_again(point_data):
    first, second = point_data.heldout_tasks[:2]
    environments = Environments(limit=2)
    one, other = environments.lend(first), environments.lend(first)
    third = environments.lend(second)  # lent at once there may be more than the limit
    assert len({id(env) for env in (one, other, third)}) == 3
    for task, env in ((first, one), (first, other), (second, third)):
        environments.take_back(task, env)
    assert environments.lend(second) is third
    another = environments.lend(second)  # none is idle, and there are too many: the one idle for longest makes room
    assert environments.lend(first) is other
    environments.take_back(second, third, sound=False)
    environments.take_back(second, another)
    assert environments.lend(second) is another


def test_environments_used_before_play_like_fresh_ones(point_policy, rows):
    environments = Environments(4)
    used = [rollout(point_policy, rows, 4, environments) for _ in range(2)]
    assert used[0] == used[1] == rollout(point_policy, rows, 4)


def test_half_precision_acts_nearly_alike_and_leaves_the_model_as_it_was(point_module, point_data, rows):
    half = Policy(point_module.model, 5, "bf16-true")
    states = np.random.default_rng(0).normal(size=(11, 2))
    actions = []
    for policy in (Policy(point_module.model, 5), half):
        policy.reset(Prompt.cat([row.prompt for row in rows]), np.full(11, 10.0), np.full(11, 10.0))
        actions.append(policy.act(states))
    assert 0 < np.abs(actions[0] - actions[1]).max() < 0.05
    assert point_module.model.transformer.norm.weight.dtype is torch.float32
    pool = RolloutPool(workers=1, width=4)
    try:
        assert pool.with_policy(half)(rows) == rollout(half, rows, width=4)
    finally:
        pool.close()
    with pytest.raises(ValueError, match=r"`tuning.precision`=16: choose"):
        Policy(point_module.model, 5, "16")


def test_encoding_does_not_depend_on_the_number_of_threads(point_policy, point_data):
    segments = point_data.segments("point/03")
    encoded = []
    for point_policy.threads in (1, 3):
        encoded.append(point_policy.encode(*segments.laid_out(), segments.steps, block=5))
    assert np.array_equal(*encoded)
    laid_out, first = segments.laid_out()
    assert np.allclose(point_policy.encode(laid_out, first[::-1].copy(), segments.steps)[::-1], encoded[0], atol=1e-6)
