import lightning
import numpy as np
import pytest
import torch
from torch.nn import functional

from pdt_lightning.data.batches import draw
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT, TaskError
from pdt_lightning.rollouts.policy import Policy
from tests.conftest import POINT, SMALL


def module(**options):
    return LitPDT(2, 2, 30, context_steps=5, **{**SMALL, **options})


def trainer(folder, **options):
    settings = {
        "accelerator": "cpu",
        "max_epochs": 1,
        "logger": False,
        "enable_checkpointing": False,
        "enable_progress_bar": False,
    }
    return lightning.Trainer(default_root_dir=folder, enable_model_summary=False, **{**settings, **options})


def test_the_loss_is_the_squared_error_of_the_valid_steps(point_data, point_module):
    batch = point_data.batch(0)
    predicted = point_module.model(batch.context, batch.prompt)
    expected = functional.mse_loss(predicted[batch.context.mask], batch.labels[batch.context.mask])
    errors = point_module.errors(batch)
    assert torch.isclose((errors * batch.context.mask).sum() / batch.context.mask.sum(), expected)


def test_the_task_error_is_a_mean_over_steps_task_by_task():
    metric = TaskError(3)
    error = torch.tensor([[1.0, 3.0], [5.0, 100.0], [7.0, 9.0]])
    mask = torch.tensor([[True, True], [True, False], [True, True]])
    metric.update(error[:2], mask[:2], torch.tensor([0, 2]))
    metric.update(error[2:], mask[2:], torch.tensor([0]))
    assert metric.compute()[[0, 2]].tolist() == [5.0, 5.0]
    assert metric.compute()[1].isnan()


@pytest.mark.filterwarnings("ignore:Precision bf16-true")
def test_in_half_precision_it_normalises_and_sums_in_float32(tmp_path):
    """Only what has been normalised is rounded, and the error is that of the labels as they are."""
    data, trained, seen = MultiTaskDataModule(**{**POINT, "updates_per_epoch": 1}), module(), []
    trained.model.embed_context.state.register_forward_pre_hook(lambda layer, inputs: seen.append(inputs[0]))
    errors = type(trained).errors
    trained.errors = lambda batch: seen.append((batch.labels, errors(trained, batch))) or seen[-1][1]
    trainer(tmp_path, precision="bf16-true", num_sanity_val_steps=0, limit_val_batches=0).fit(trained, data)
    batch, known = data.batch(0), data.statistics
    assert torch.equal(trained.model.state_mean, torch.from_numpy(known.state_mean))
    assert trained.model.head.weight.dtype is torch.bfloat16
    states = (batch.context.states - torch.from_numpy(known.state_mean)) / torch.from_numpy(known.state_std)
    labels, error = next(pair for pair in seen if isinstance(pair, tuple))
    assert torch.equal(next(part for part in seen if torch.is_tensor(part)), states.bfloat16())
    assert torch.equal(labels, batch.labels)
    assert error.dtype is torch.float32


def test_initialisation_follows_the_seed_and_leaves_the_global_generator_alone():
    torch.manual_seed(5)
    expected = torch.rand(1)
    torch.manual_seed(5)
    first, again, other = module(seed=1), module(seed=1), module(seed=2)
    assert torch.equal(torch.rand(1), expected)
    assert torch.equal(first.model.head.weight, again.model.head.weight)
    assert not torch.equal(first.model.head.weight, other.model.head.weight)


def test_dropout_repeats_whatever_the_global_generator_held(tmp_path):
    weights = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        trained = module(dropout=0.5)
        trainer(tmp_path).fit(trained, MultiTaskDataModule(**POINT))
        weights.append(trained.model.head.weight.clone())
    assert torch.equal(*weights)


@pytest.mark.parametrize(
    ("schedule", "expected"), [("constant", [0.5, 1, 1, 1, 1, 1]), ("cosine", [0.5, 1, 1, 0.853553, 0.5, 0.146447])]
)
def test_the_learning_rate_warms_up_and_follows_its_schedule(tmp_path, schedule, expected):
    rates = []

    class Watch(lightning.Callback):
        def on_train_batch_start(self, trainer, module, batch, batch_idx):
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    trained = module(learning_rate=1.0, schedule=schedule, weight_decay=0.0)
    trainer(tmp_path, max_epochs=2, callbacks=[Watch()]).fit(trained, MultiTaskDataModule(**POINT))
    assert rates == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize(("given", "largest"), [(None, 0.01), (0.001, 0.001)])
def test_gradients_are_clipped_by_the_trainer_or_else_the_module(tmp_path, given, largest, precision):
    norms = []

    class Watch(lightning.Callback):
        def on_before_zero_grad(self, trainer, module, optimizer):
            grads = [p.grad for p in module.parameters() if p.grad is not None]
            if grads:
                norms.append(float(torch.nn.utils.get_total_norm(grads)))

    trained = module(gradient_clip=0.01)
    trainer(tmp_path, gradient_clip_val=given, precision=precision, callbacks=[Watch()]).fit(
        trained, MultiTaskDataModule(**POINT)
    )
    assert norms
    assert max(norms) == pytest.approx(largest, rel=1e-3)


def test_a_checkpoint_holds_statistics_and_sizes(tmp_path):
    trained, run = module(), trainer(tmp_path)
    run.fit(trained, MultiTaskDataModule(**POINT))
    run.save_checkpoint(tmp_path / "x.ckpt")
    loaded = LitPDT.load_from_checkpoint(tmp_path / "x.ckpt")
    assert not torch.equal(loaded.model.state_mean, torch.zeros(2))
    assert all(
        torch.equal(a, b)
        for a, b in zip(loaded.model.state_dict().values(), trained.model.state_dict().values(), strict=True)
    )
    assert MultiTaskDataModule.load_from_checkpoint(tmp_path / "x.ckpt").hparams == MultiTaskDataModule(**POINT).hparams


@pytest.mark.parametrize("attention", ["published", "window"])
def test_an_update_waits_for_nothing_that_the_device_computes(point_data, monkeypatch, attention):
    trained, batch = module(attention=attention), point_data.batch(0)
    if attention == "window":  # of several pieces
        pool = point_data.training_pool
        batch = draw(pool, pool, np.random.default_rng(0).random((16, 3)), np.arange(16) % 13, 12, True)
    optimizer = torch.optim.AdamW(trained.parameters(), fused=True)

    def waits(*_):
        raise AssertionError("a value is read back in the middle of an update")

    before = trained.model.head.weight.detach().clone()
    with monkeypatch.context() as patched:
        for name in ("item", "tolist", "cpu", "numpy", "__bool__", "__float__", "__int__", "__index__"):
            patched.setattr(torch.Tensor, name, waits)
        with pytest.raises(AssertionError, match="read back"):
            bool(before.sum() > 0)
        loss = (trained.errors(batch) * batch.context.mask).sum() / batch.steps
        loss.backward()
        trained.configure_gradient_clipping(optimizer)
        optimizer.step()
    assert loss.isfinite()
    assert not torch.equal(trained.model.head.weight, before)


def test_compiling_is_an_option(tmp_path, monkeypatch):
    compiled = []
    monkeypatch.setattr(torch.nn.Module, "compile", lambda self: compiled.append(type(self).__name__))
    for wanted in (False, True):
        trainer(tmp_path).fit(module(compile=wanted), MultiTaskDataModule(**POINT))
    assert compiled == ["PromptDecisionTransformer"]


def test_the_window_form_trains_on_chunks_and_acts_from_a_checkpoint(tmp_path):
    with pytest.raises(ValueError, match="give both the same"):
        trainer(tmp_path).fit(module(attention="window"), MultiTaskDataModule(**POINT))
    data = MultiTaskDataModule(**POINT, attention="window", chunk_steps=12)
    run = trainer(tmp_path)
    run.fit(module(attention="window"), data)
    assert data.row_steps == 12
    assert data.batch(0).context.states.shape == (16, 12, 2)
    run.save_checkpoint(tmp_path / "x.ckpt")
    loaded = LitPDT.load_from_checkpoint(tmp_path / "x.ckpt")
    assert loaded.model.window_steps == 5
    data.row_steps = 20  # whole episodes, as a rollout sees them
    episode, prompt = data.batch(1).context[[0]], data.batch(1).prompt[[0]]
    policy = Policy(loaded.model.eval(), 5)
    policy.reset(prompt, np.array([10.0]), np.array([10.0]))
    first = int(episode.mask[0].nonzero()[0])
    episode.returns_to_go[0, first:] = 1.0
    for t in range(first, 20):
        action = policy.act(episode.states[:, t].numpy())
        episode.actions[0, t] = torch.from_numpy(action[0])
    with torch.no_grad():
        assert torch.allclose(loaded.model(episode, prompt)[0, -1], torch.from_numpy(action[0]), atol=1e-5)


def test_error_of_every_task_is_logged(tmp_path):
    run = trainer(tmp_path)
    run.fit(module(), MultiTaskDataModule(**POINT))
    assert {"val/action_error", "heldout/action_error", "val_task/point/00", "heldout_task/point/03"} <= set(
        run.callback_metrics
    )
    tasks = [float(value) for name, value in run.callback_metrics.items() if name.startswith("heldout_task/")]
    assert float(run.callback_metrics["heldout/action_error"]) == pytest.approx(sum(tasks) / 3)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"width": 0}, "`model.width`=0"),
        ({"dropout": 1.0}, "`model.dropout`=1.0"),
        ({"schedule": "step"}, "`model.schedule`=step"),
        ({"heads": 3}, "`model.heads`=3"),
        ({"attention": "local"}, "`model.attention`=local"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        module(**options)


@pytest.mark.filterwarnings("ignore:You defined a `validation_step` but have no")
def test_without_our_data_module_it_says_what_is_needed(tmp_path):
    loader = torch.utils.data.DataLoader([0])
    with pytest.raises(ValueError, match="needs a MultiTaskDataModule"):
        trainer(tmp_path).fit(module(), loader)


def test_the_task_error_is_summed_in_float32_whatever_the_precision(tmp_path):
    made = module()
    trainer(tmp_path, precision="bf16-true").fit(made, datamodule=MultiTaskDataModule(**POINT))
    assert {state.dtype for metric in made.validation.errors for state in (metric.total, metric.count)} == {
        torch.float32
    }
