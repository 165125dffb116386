"""Generated segments: that they are arms like others, what is kept of them, and the tuners that try them."""

import copy
import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from pdt_lightning.core import cache
from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.data.segments import Segments
from pdt_lightning.rollouts.finetuning import finetuned
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.pool import RolloutPool
from pdt_lightning.tuners import features, generated, make_tuner
from pdt_lightning.tuners.generated import Enlarged, conditions, fitted, learned
from pdt_lightning.tuners.references import References, best_demonstrations
from pdt_lightning.tuning.options import TuningOptions
from pdt_lightning.tuning.phase import tune
from pdt_lightning.tuning.subject import Subject
from tests.conftest import POINT, untrained


@pytest.fixture(scope="module")
def policy(point_data):
    return Policy(untrained(point_data, attention="window").model, 5)


@pytest.fixture
def arms(segments):
    """The task's own and three more, which are some of its own with other states."""
    some = segments.gather(np.array([[4], [9], [2]]))
    return Enlarged(segments, replace(some, states=some.states + 0.25))


def tuner(name, segments, policy, budget=12, seed=0, slots=2, **options):
    return make_tuner(name, segments, budget, np.random.default_rng(seed), slots, policy, **options)


def values(denoiser):
    return torch.cat([own.flatten() for own in denoiser.state_dict().values()]).numpy()


def fresh(point_data, task="point/03"):
    """Segments of which nothing was made yet."""
    return point_data.segments(task)


def files():
    return sorted(cache.folder().glob("denoiser-*/*"))


def test_the_own_segments_come_first_and_are_the_same(segments, arms):
    count = len(segments)
    assert (len(arms), arms.demonstrated, segments.demonstrated) == (count + 3, count, count)
    choices = np.array([[n, (7 * n + 3) % count] for n in range(count)])
    assert arms.gather(choices).tobytes() == segments.gather(choices).tobytes()
    assert arms.describe(5) == segments.describe(5)
    mixed = arms.gather(np.array([[1, count + 2]]))
    assert torch.equal(mixed.states[0, :3], segments.gather(np.array([[1]])).states[0])
    assert torch.equal(mixed.states[0, 3:], arms.generated.states[2])
    assert mixed.timesteps.dtype == torch.int64
    first = int(arms.generated.timesteps[1, 0]) + 1
    assert arms.describe(count + 1).startswith(f"generated segment 2, steps {first}-{first + 2}, return-to-go ")


def test_features_and_errors_of_generated_segments_are_those_of_the_same_steps_alone(segments, arms, policy):
    count = len(segments)
    steps, first = arms.laid_out()
    encoded = policy.encode(steps, first, arms.steps)
    alone = policy.encode(arms.generated.singly(), 3 * np.arange(3), 3)
    assert np.allclose(encoded[count:], alone, atol=1e-5)
    assert np.allclose(encoded[:count], policy.encode(*segments.laid_out(), 3), atol=1e-5)
    assert features("encoded", arms, policy).shape == (count + 3, 16)
    references = References(arms, policy)
    numbers = np.arange(count, count + 3)[:, None]
    assert not references._own(numbers).any()
    found = references.losses(numbers)
    errors = policy.errors(arms.generated, references._contexts, references._labels)
    assert found == pytest.approx(errors.mean(axis=1), abs=1e-6)
    assert np.isfinite(references.of_segments(2)).all()


def test_what_is_learned_is_kept_for_the_next_process_and_made_again_where_it_is_damaged(
    point_data, policy, monkeypatch, tmp_path
):
    monkeypatch.setenv("PDT_LIGHTNING_CACHE", str(tmp_path))
    known, losses = learned(fresh(point_data), policy)
    assert losses.shape == (20, 1)
    kept, made = files(), []
    own = generated.learn
    monkeypatch.setattr(generated, "learn", lambda *args: made.append(args) or own(*args))
    again, _ = learned(fresh(point_data, "point/07"), Policy(copy.deepcopy(policy.model), 5))
    assert np.array_equal(values(again), values(known))
    assert (made, files()) == ([], kept)
    (file,) = kept
    whole = file.read_bytes()
    for damaged in (b"", b"nonsense", whole[: len(whole) // 2], None):
        file.unlink() if damaged is None else file.write_bytes(damaged)
        again, _ = learned(fresh(point_data), policy)
        assert np.array_equal(values(again), values(known))
        assert file.read_bytes() == whole
    assert (len(made), files()) == (4, kept)
    other = Policy(copy.deepcopy(policy.model), 5)
    other.model.state_mean += 0.5
    different, _ = learned(fresh(point_data), other)
    assert not np.array_equal(values(different), values(known))
    assert len(files()) == len(kept) + 1


def test_two_that_learn_it_at_once_end_with_the_same(point_data, policy, monkeypatch, tmp_path):
    """The second one begins and ends while the first one is at work."""
    monkeypatch.setenv("PDT_LIGHTNING_CACHE", str(tmp_path))
    segments, found = fresh(point_data), []

    def interrupted():
        found.append(learned(fresh(point_data), policy)[0])
        return point_data.training_pool

    segments.training = replace(segments.training, open=interrupted)
    first, _ = learned(segments, policy)
    assert np.array_equal(values(first), values(found[0]))
    assert [path.name for path in tmp_path.iterdir()] == [files()[0].parent.name]


def test_few_training_segments_are_not_learned_by_heart(point_data, segments, policy, monkeypatch, tmp_path):
    monkeypatch.setenv("PDT_LIGHTNING_CACHE", str(tmp_path))
    monkeypatch.setattr(generated, "PASSES", 2)
    pool = segments.training.open()
    assert pool is point_data.training_pool
    windows = int((pool.episodes.lengths_of(pool.members) - 2).sum())
    _, losses = learned(segments, policy)
    assert len(losses) == 2 * windows // generated.BATCH < 20


def test_where_only_candidates_were_asked_for_the_training_tasks_are_mapped_now(policy):
    data = MultiTaskDataModule(**POINT)
    data.prepare_candidates()
    assert data.statistics is None
    assert len(data.segments("point/03").training.open().members) == 13 * 3


def test_without_the_training_tasks_nothing_is_generated(segments, policy):
    with pytest.raises(UserError, match="choose another tuner"):
        tuner("diffuser", Segments(segments.episodes, 3), policy)


@pytest.mark.parametrize("slots", [1, 2])
def test_it_recommends_the_generated_segments_of_least_error(segments, policy, slots):
    made = tuner("diffuser", segments, policy, slots=slots, count=20)
    assert made.ask(3) == []
    arms = made.segments
    assert (len(arms), made.budget) == (len(segments) + 20, 0)
    assert min(made.pick) >= len(segments)
    references, numbers = References(arms, policy), np.arange(len(segments), len(arms))
    losses = references.losses(np.repeat(numbers[:, None], slots, axis=1))
    assert references.losses(np.array([made.pick]))[0] <= losses.min() + 1e-6
    best = made.best()
    assert best.prompt.states.shape == (1, 3 * slots, 2)
    assert best.origin.count("generated segment") == slots
    assert best.choice == ()
    own = segments.gather(np.flatnonzero(np.isin(segments.episode, best_demonstrations(segments.episodes)))[:, None])
    times = {tuple(row) for row in own.timesteps.tolist()}
    assert {tuple(row) for row in arms.generated.timesteps.tolist()} <= times
    model = policy.model
    assert ((arms.generated.actions - model.action_mid).abs() <= model.action_half + 1e-6).all()
    assert set(made.curves()) == {"denoising of all tasks", "denoising", "guidance"}


def test_it_follows_from_its_seed_and_goes_on_from_its_state(point_data, policy):
    made, again, other = (tuner("diffuser", fresh(point_data), policy, seed=seed) for seed in (0, 0, 1))
    assert made.best().prompt.tobytes() == again.best().prompt.tobytes() != other.best().prompt.tobytes()
    other.load_state_dict(json.loads(json.dumps(made.state_dict())))
    assert other.best().prompt.tobytes() == made.best().prompt.tobytes()
    assert other.best().origin == made.best().origin
    assert other.segments.generated.tobytes() == made.segments.generated.tobytes()


def test_guided_its_draws_let_the_transformer_predict_the_demonstrations_better(point_data, segments, monkeypatch):
    monkeypatch.setattr(generated, "FIT_UPDATES", 30)
    torch.manual_seed(0)
    start = Policy(untrained(point_data, attention="window").model, 5)
    reader = finetuned(start, segments, 2, np.random.default_rng(0), updates=100, batch_size=64, learning_rate=3e-3)
    before = [own.clone() for own in reader.model.state_dict().values()]
    losses = [fitted(segments, reader, 2, weight)[1]["guidance"] for weight in (0.0, 100.0)]
    assert (losses[1] < losses[0])[-20:].mean() > 0.8  # both have drawn the same noise
    assert all(torch.equal(a, b) for a, b in zip(before, reader.model.state_dict().values(), strict=True))


def test_a_transformer_that_ignores_prompts_does_not_guide(segments, point_data):
    policy = Policy(untrained(point_data, use_prompt=False).model, 5)
    guided, alone = (fitted(segments, policy, 2, weight)[0] for weight in (5.0, 0.0))
    assert np.array_equal(values(guided), values(alone))


def test_conditions_are_returns_to_go_and_timesteps(segments):
    prompt = segments.gather(np.array([[4]]))
    expected = [*prompt.returns_to_go[0, :, 0].tolist(), *(prompt.timesteps[0] / 100).tolist()]
    assert conditions(prompt)[0].tolist() == pytest.approx(expected)


def played(made, parallel=3):
    tried = []
    while candidates := made.ask(parallel):
        tried += [(one.origin, one.choice) for one in candidates]
        made.tell([(one.id, float(one.prompt.states.sum())) for one in candidates])
    return tried


def test_the_bandit_tries_generated_segments_among_the_others(segments, policy):
    made, alike = (tuner("structured", segments, policy, budget=40, seed=seed, generated=8) for seed in (0, 0))
    assert len(made.segments) == len(segments) + 8
    assert made.model.features.shape[0] == len(segments) + 8
    half = made.ask(3)
    made.tell([(one.id, 1.0) for one in half])
    state, other = (
        json.loads(json.dumps(made.state_dict())),
        tuner("structured", segments, policy, budget=40, seed=9, generated=8),
    )
    other.load_state_dict(state)
    assert other.segments is made.segments  # tuners of all seeds have the same ones
    tried = played(made)
    assert tried == played(other)
    assert any("generated" in origin and not choice for origin, choice in tried)
    assert any("generated" not in origin and len(choice) == 2 for origin, choice in tried)
    assert made.estimates().shape == (2, len(segments) + 8)
    assert alike.segments is made.segments
    assert len(tuner("structured", segments, policy).segments) == len(segments)


def test_a_phase_records_them_beside_the_own(point_data, policy):
    task = point_data.heldout_tasks[0]
    subject = Subject(task, point_data.segments(task.id))
    options = TuningOptions(
        tuner_options={"generated": 60, "prior": "none", "tolerance": 0}, rounds=6, yardstick_episodes=1,
        verdict_episodes=1,
    )  # fmt: skip
    play = RolloutPool(0, 4).with_policy(policy)
    (result,) = tune(policy, [subject], play, options, 2, 0)
    own = result.record
    assert own.estimates.shape == (2, len(subject.segments))
    with_generated = ["generated" in trial.candidate.origin for trial in result.trials]
    assert any(with_generated)
    assert [row == [-1, -1] for row in own.choices.tolist()] == with_generated
    (result,) = tune(policy, [subject], play, replace(options, tuner="diffuser", tuner_options={}, rounds=0), 2, 0)
    assert result.curves["denoising of all tasks"].shape == (20,)
    assert result.origin.count("generated segment") == 2
