"""Actions that are choices: what the model predicts, learns and does, from data to rollouts."""

import numpy as np
import pytest
import torch
from lightning import Trainer

import pdt_lightning
from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.windows import context_windows
from pdt_lightning.model import checkpoints
from pdt_lightning.model.actions import BoxActions, DiscreteActions, actions_of
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.rollouts.finetuning import finetuned
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Row, rollout
from pdt_lightning.tuners import generated, make_tuner
from pdt_lightning.tuners.references import References
from tests.conftest import untrained
from tests.walks import record, walk


def data_of(moves, attention="published", episodes=6, **sizes):
    """Four walks, two of them held out, whose actions are of a kind; see `Walk`."""
    for goal in range(4):
        record(f"own/{moves}-{goal}-v0", walk(goal=goal, moves=moves), seed=goal, episodes=episodes, steps=10)
    listed = {
        "training": [{"id": f"walk/{goal}", "training_data": [f"own/{moves}-{goal}-v0"]} for goal in (0, 1)],
        "held_out": [{"id": f"walk/{goal}", "prompt_data": [f"own/{moves}-{goal}-v0"]} for goal in (2, 3)],
    }
    sizes = {"context_steps": 5, "segments": 2, "segment_steps": 3, "batch_size": 16, **sizes}
    made = MultiTaskDataModule("minari", listed, validation_windows=16, progress=False, attention=attention, **sizes)
    made.prepare_data()
    made.setup()
    return made


@pytest.fixture(params=["published", "window"])
def two(request, tmp_path, monkeypatch):
    """Data whose actions are two choices of three, and a model."""
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    data = data_of("two", request.param)
    return data, untrained(data, attention=request.param, action_choices=data.action_choices)


def test_predictions_and_errors_by_hand():
    kind = actions_of([2, 3])
    assert isinstance(actions_of(()), BoxActions)
    outputs = torch.tensor([[0.0, np.log(3.0), 0.0, 0.0, np.log(2.0)]])
    predicted = kind.predicted(outputs, torch.zeros(5), torch.ones(5))
    assert predicted.exp().tolist()[0] == pytest.approx([1 / 4, 3 / 4, 1 / 4, 1 / 4, 1 / 2])
    labels = torch.tensor([[1.0, 0.0, 0.0, 0.0, 1.0], [0.0, 0.0, 0.0, 0.0, 0.0]])  # the second one is padding
    errors = kind.errors(predicted, labels, torch.ones(5))
    assert errors.tolist() == pytest.approx([np.log(4.0) + np.log(2.0), 0.0])
    assert kind.decided(predicted).tolist() == [[0.0, 1.0, 0.0, 0.0, 1.0]]
    assert kind.chosen(labels[:1]).tolist() == [[0, 2]]
    assert kind.decided(torch.tensor([[np.nan, 0.0, 1.0, 2.0, 3.0]])).isnan().tolist() == [[True] + [False] * 4]


def test_numbers_become_one_hot_and_are_not_rescaled(two):
    data, module = two
    episodes = data.training_pool.episodes
    actions = episodes.steps[:, 2:8]
    assert (data.action_size, data.action_choices) == (6, [3, 3])
    assert set(np.unique(actions)) == {0.0, 1.0}
    assert (module.model.action_mid.tolist(), module.model.action_half.tolist()) == ([0.0] * 6, [1.0] * 6)


def test_rollouts_take_the_most_probable_options(two):
    data, module = two
    task = data.heldout_tasks[0]
    prompts = data.segments(task.id).gather(np.array([[0, 3], [5, 2]]))
    policy = Policy(module.model, 5)
    policy.reset(prompts, np.zeros(2), np.ones(2))
    states = np.random.default_rng(0).normal(size=(4, 2, 2))
    acted = [policy.act(seen, None if step == 0 else np.zeros(2)) for step, seen in enumerate(states)]
    for vectors in acted:
        assert vectors.reshape(2, 2, 3).sum(axis=-1).tolist() == [[1.0, 1.0]] * 2
    # As one forward pass over the same steps has it.
    contexts, _ = context_windows(data.segments(task.id).episodes, np.zeros(2, int), np.zeros(2, int), 4)
    contexts.states = torch.from_numpy(states).transpose(0, 1).float()
    contexts.actions = torch.from_numpy(np.stack(acted, axis=1))
    contexts.returns_to_go = torch.zeros(2, 4, 1)
    with torch.inference_mode():
        predicted = module.model(contexts, prompts)
    assert predicted.unflatten(-1, (2, 3)).exp().sum(-1).numpy() == pytest.approx(np.ones((2, 4, 2)), abs=1e-5)
    assert np.array_equal(module.model.actions.decided(predicted).numpy(), np.stack(acted, axis=1))
    outcomes = [rollout(policy, [Row(task, prompts[[0]], 3)], width=width)[0] for width in (1, 8)]
    assert [outcome.failed for outcome in outcomes] == [None, None]
    assert outcomes[0].total == pytest.approx(outcomes[1].total, abs=1e-6)


def test_a_prediction_that_is_no_number_fails_the_episode(two):
    data, module = two
    module.model.head.bias.data[:] = torch.nan
    prompt = data.segments("walk/2").gather(np.array([[0, 3]]))
    (outcome,) = rollout(Policy(module.model, 5), [Row(data.heldout_tasks[0], prompt, 3)], width=1)
    assert "FloatingPointError: the policy's action is [nan" in outcome.failed


@pytest.mark.parametrize(("moves", "choices"), [("one", [9]), ("two", [3, 3]), ("four", [2] * 4), ("matrix", None)])
def test_every_kind_of_action_is_learned(tmp_path, monkeypatch, moves, choices):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    data = data_of(moves, episodes=24, updates_per_epoch=100)
    assert data.action_choices == choices
    sizes = {"width": 32, "layers": 1, "inner": 32, "warmup_updates": 4, "learning_rate": 1e-2, "dropout": 0.0}
    module = LitPDT(data.state_size, data.action_size, 10, context_steps=5, action_choices=choices, **sizes)
    quiet = {"logger": False, "enable_progress_bar": False, "enable_checkpointing": False, "accelerator": "cpu"}
    run = Trainer(max_epochs=2, num_sanity_val_steps=0, **quiet)
    run.fit(module, data)
    found = {name: float(value) for name, value in run.callback_metrics.items()}
    if choices is None:
        assert found["val/action_error"] < 0.2  # of 1, half-widths squared
        assert "val/action_accuracy" not in found
        return

    assert found["val/action_accuracy"] > 0.7  # some steps are of the noise's making
    assert found["train/loss"] < 0.4 * sum(np.log(choices))  # nats; at first it guesses evenly
    # Accuracy is over all choices of all valid steps.
    (batch,) = data.val_dataloader()[0]
    with torch.inference_mode():
        predicted = module.eval().model(batch.context, batch.prompt)
    kind = module.model.actions
    assert isinstance(kind, DiscreteActions)
    right = (kind.chosen(predicted) == kind.chosen(batch.labels))[batch.context.mask]
    assert found["val/action_accuracy"] == pytest.approx(float(right.float().mean()), abs=1e-6)


def test_demonstrations_compare_prompts_by_cross_entropy(two):
    data, module = two
    segments, policy = data.segments("walk/2"), Policy(module.model, 5)
    contexts, labels = context_windows(segments.episodes, np.array([0, 1]), np.array([2, 4]), 3)
    prompts = segments.gather(np.array([[1, 7], [3, 3], [9, 2]]))
    errors = policy.errors(prompts, contexts, labels)
    with torch.inference_mode():
        for number in range(3):
            predicted = policy.model(contexts, prompts[[number, number]])
            expected = -(predicted * labels).sum(dim=(1, 2)) / 3
            assert errors[number] == pytest.approx(expected.sqrt().numpy(), abs=1e-5)
    assert np.isfinite(References(segments, policy).of_segments(2)).all()


@pytest.mark.parametrize(
    "name", ["structured", "hill_climbing", "zo_rank_sgd", "demonstration_loss", "soft_prompt", "diffuser"]
)
def test_tuners_propose_prompts_that_can_be_played(two, name, monkeypatch):
    monkeypatch.setattr(generated, "UPDATES", 20)
    data, module = two
    segments, policy, task = data.segments("walk/2"), Policy(module.model, 5), data.heldout_tasks[0]
    tuner = make_tuner(name, segments, 6, np.random.default_rng(0), 2, policy)
    while candidates := tuner.ask(3):
        outcomes = rollout(policy, [Row(task, candidate.prompt, 5) for candidate in candidates])
        assert [outcome.failed for outcome in outcomes] == [None] * len(candidates)
        tuner.tell([(one.id, outcome.total) for one, outcome in zip(candidates, outcomes, strict=True)])
    actions = tuner.best().prompt.actions
    assert actions.shape == (1, 6, 6)
    if name == "diffuser":  # what it generates is what can be done
        parts = actions.split(module.model.actions.options, -1)
        assert all(sorted(set(part.flatten().tolist())) == [0.0, 1.0] for part in parts)
        assert all(bool((part.sum(-1) == 1).all()) for part in parts)


def test_fine_tuning_lowers_the_cross_entropy(two):
    data, module = two
    segments = data.segments("walk/2")
    policy = Policy(module.model, 5)
    better = finetuned(policy, segments, 2, np.random.default_rng(0), updates=60, batch_size=32, learning_rate=1e-2)
    contexts, labels = context_windows(segments.episodes, np.arange(4), np.zeros(4, int), 5)
    prompts = segments.gather(np.array([[1, 7]]))
    before, after = (one.errors(prompts, contexts, labels).mean() for one in (policy, better))
    assert after < 0.8 * before


def test_checkpoints_know_their_kind(two, tmp_path):
    data, module = two
    trainer = Trainer(logger=False, enable_checkpointing=False, accelerator="cpu", enable_progress_bar=False)
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "last.ckpt")
    again = checkpoints.load_module(tmp_path / "last.ckpt")
    assert again.model.actions.options == [3, 3]
    attention = module.hparams["attention"]
    for choices, shown in (([2, 4], r"action_choices is \[2, 4\], there \[3, 3\]"), (None, "action_choices is None")):
        with pytest.raises(UserError, match=shown):
            checkpoints.start_from(untrained(data, attention=attention, action_choices=choices), tmp_path / "last.ckpt")
    task = data.heldout_tasks[0]
    prompt = data.segments(task.id).gather(np.array([[0, 3]]))
    prompt.save(tmp_path / "p.safetensors", **task.facts())
    policy = pdt_lightning.load(tmp_path / "last.ckpt", tmp_path / "p.safetensors")
    policy.reset()
    action = policy.act(np.zeros(2))
    env = task.bare_env()
    assert env.action_space.contains(action), action  # two numbers from -1 to 1
    policy.reset()
    assert policy.act(np.zeros((4, 2))).shape == (4, 2)
    prompt.save(
        tmp_path / "q.safetensors", **{**task.facts(), "action_space": '{"type": "Discrete", "n": 6, "start": 0}'}
    )
    with pytest.raises(UserError, match=r"actions of Discrete\(6\), but .*last.ckpt knows choices of \[3, 3\]"):
        pdt_lightning.load(tmp_path / "last.ckpt", tmp_path / "q.safetensors")


def test_all_tasks_choose_among_as_many(tmp_path, monkeypatch):
    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    for name, moves in (("two", "two"), ("four", "four")):
        record(f"own/{name}-v0", walk(moves=moves))
    listed = {
        "training": [{"id": name, "training_data": [f"own/{name}-v0"]} for name in ("two", "four")],
        "held_out": [{"id": "two", "prompt_data": ["own/two-v0"]}],
    }
    with pytest.raises(UserError, match=r"four: tests/Walk-v0 has actions of size 8, but .* of two has 6"):
        MultiTaskDataModule("minari", listed, progress=False).check()
