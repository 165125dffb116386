"""The plain way that speed is compared with computes the same numbers as ours."""

import numpy as np
import pytest
import torch

from benchmarks import plain
from pdt_lightning.data.segments import prompts_of
from pdt_lightning.data.windows import context_windows
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Row, rollout


@pytest.fixture
def model(point_module):
    return plain.plain_model(point_module.model)


def test_a_forward_pass(model, point_module, point_data):
    batch = point_data.batch(0)
    with torch.no_grad():
        expected = point_module.model(batch.context, batch.prompt)[batch.context.mask]
        assert torch.allclose(model(batch.context, batch.prompt)[batch.context.mask], expected, atol=1e-5)


def test_a_rollout(model, point_module, point_data):
    point_policy = Policy(point_module.model, 5)
    for n, task in enumerate(point_data.heldout_tasks):
        row = Row(task, point_data.segments(task.id).gather(np.array([[n, 2 * n]])), n)
        ours, plainly = rollout(point_policy, [row])[0], plain.rollout(model, row, 5)
        assert (ours.total, ours.success, ours.length) == (plainly.total, plainly.success, plainly.length)


def test_a_batch(point_data):
    pool = point_data.training_pool
    contexts, prompts = plain.draws(pool.episodes, plain.members(pool), 3, 2, 3, np.random.default_rng(0))
    context, prompt, labels = plain.batch(pool.episodes, contexts, prompts, 5, 3)
    expected, expected_labels = context_windows(pool.episodes, *np.array(contexts).T, 5)
    segments = np.array(prompts)
    expected_prompt = prompts_of(pool.episodes, segments[..., 0], segments[..., 1], 3)
    for ours, plainly in ((expected, context), (expected_prompt, prompt)):
        for name, values in vars(ours).items():
            assert torch.allclose(values.double(), getattr(plainly, name).double(), atol=1e-6), name
    assert torch.equal(labels, expected_labels)


def test_an_update(model, point_module, point_data):
    batch = point_data.batch(0)
    loss = plain.train_step(
        model, torch.optim.SGD(model.parameters(), lr=0.0), batch.context, batch.prompt, batch.labels
    )
    ours = (point_module.errors(batch) * batch.context.mask).sum() / batch.steps
    assert loss == pytest.approx(float(ours.detach()), rel=1e-5)


def test_encoding(model, point_module, point_data):
    segments = point_data.segments("point/03")
    ours = Policy(point_module.model, 5).encode(*segments.laid_out(), segments.steps)
    assert np.allclose(plain.encode(model, segments), ours, atol=1e-5)


def test_the_plain_bandit_finds_the_segment_that_pays():
    features = np.eye(8)
    choices = np.random.default_rng(0).integers(8, size=(60, 2))
    returns = (choices[:, 0] == 3) + 2.0 * (choices[:, 1] == 5)
    assert plain.Bandit(features, 2).round(choices, returns)[1] == 5
