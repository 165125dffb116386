"""Denoising diffusion: its two processes against plain numbers, its projected gradient by hand, and what it learns."""

import numpy as np
import pytest
import torch

from pdt_lightning.tuners.denoiser import STEPS, Denoiser, learn, projected, variance_preserving


def denoiser(clean, condition, seed=0):
    return Denoiser(torch.tensor(clean, dtype=torch.float32), torch.tensor(condition, dtype=torch.float32), seed)


@pytest.fixture
def small():
    """Of vectors with mean (1, -1) and spread (2, 0.5)."""
    return denoiser([[3.0, -1.5], [-1.0, -0.5]], [[0.0], [1.0]])


@pytest.mark.parametrize("steps", [1, 5, 10])
def test_of_the_variance_as_much_is_left_whatever_the_number_of_steps(steps):
    """The rates of noise sum to (0.1 + 10) / 2."""
    betas = variance_preserving(steps)
    assert (betas.diff() > 0).all()
    assert float((1 - betas).prod()) == pytest.approx(np.exp(-5.05))


def test_the_forward_process_by_hand(small):
    clean, noise = torch.tensor([[1.0, -1.0], [0.5, 2.0]]), torch.tensor([[0.3, 0.2], [-1.0, 1.0]])
    left = 1.0
    for step in range(STEPS):
        left *= np.exp(-0.1 / 10 - 0.5 * 9.9 * (2 * (step + 1) - 1) / 100)
        expected = np.sqrt(left) * clean.numpy() + np.sqrt(1 - left) * noise.numpy()
        assert small.noised(clean, torch.tensor([step, step]), noise).numpy() == pytest.approx(expected, abs=1e-6)


def test_the_reverse_process_against_a_plain_one(small):
    condition, rng = torch.tensor([[0.0], [0.5], [1.0]]), np.random.default_rng(3)
    betas = 1 - np.exp(-0.01 - 4.95 * (2 * np.arange(1, 11) - 1) / 100)
    shares = np.cumprod(1 - betas)
    x = rng.standard_normal((3, 2), np.float32).astype(np.float64)
    for n in range(9, -1, -1):
        with torch.no_grad():
            told = small(torch.tensor(x, dtype=torch.float32), torch.full((3,), n), condition).double().numpy()
        x = (x - betas[n] / np.sqrt(1 - shares[n]) * told) / np.sqrt(1 - betas[n])
        if n:
            deviation = np.sqrt(betas[n] * (1 - shares[n - 1]) / (1 - shares[n]))
            x += deviation * rng.standard_normal((3, 2), np.float32)
    drawn = small.draw(condition, np.random.default_rng(3))
    assert drawn.requires_grad
    assert drawn.detach().numpy() == pytest.approx(x * [2.0, 0.5] + [1.0, -1.0], abs=1e-4)


def test_what_never_changes_is_drawn_as_it_is():
    made = denoiser([[5.0, 0.0], [5.0, 1.0]], [[2.0], [2.0]])
    assert made.spread.tolist() == [1.0, 0.5]
    assert made.draw(torch.full((4, 1), 2.0), np.random.default_rng(0)).isfinite().all()


def test_the_projection_by_hand():
    """Along (0.6, 0.8) the guiding gradient (5, 10) is 11 long; (-1.6, 1.2) is left, twice of which is added."""
    denoising, guiding = [torch.tensor([3.0]), torch.tensor([[4.0]])], [torch.tensor([5.0]), torch.tensor([[10.0]])]
    first, second = projected(denoising, guiding, 2.0)
    assert (first.shape, second.shape) == ((1,), (1, 1))
    assert [float(first), float(second)] == pytest.approx([3.0 - 3.2, 4.0 + 2.4], abs=1e-5)
    assert [float(own) for own in projected(denoising, guiding, 0.0)] == [3.0, 4.0]
    alone = projected([torch.zeros(1), torch.zeros(1, 1)], guiding, 1.0)  # there is no direction to spare
    assert [float(own) for own in alone] == [5.0, 10.0]


def test_guidance_never_opposes_denoising():
    rng = np.random.default_rng(0)
    for _ in range(20):
        ours, theirs = ([torch.from_numpy(rng.normal(size=size)) for size in (3, (2, 2))] for _ in range(2))
        both = projected(ours, theirs, 5.0)
        along = sum(float((a * b).sum()) for a, b in zip(both, ours, strict=True))
        assert along == pytest.approx(sum(float(a.square().sum()) for a in ours))


def two_clusters(count, rng):
    """Vectors (±2, c), with c between 0 and 1 as their condition."""
    condition, noise = rng.random((count, 1)), 0.1 * rng.normal(size=(count, 1))
    vectors = np.hstack([rng.choice([-2.0, 2.0], size=(count, 1)) + noise, condition])
    return torch.from_numpy(vectors.astype(np.float32)), torch.from_numpy(condition.astype(np.float32))


def test_it_draws_from_two_clusters_where_the_condition_says_and_guidance_chooses_one():
    rng = np.random.default_rng(0)
    made = Denoiser(*two_clusters(500, rng))
    losses = learn(made, lambda: two_clusters(128, rng), 600, 2e-3, rng)
    assert losses.shape == (600, 1)
    assert losses[-50:].mean() < 0.5 * losses[:20].mean()

    def drawn():
        condition = torch.linspace(0.1, 0.9, 200)[:, None]
        with torch.no_grad():
            return made.draw(condition, np.random.default_rng(1)).numpy(), condition[:, 0].numpy()

    vectors, asked = drawn()
    near = np.abs(np.abs(vectors[:, 0]) - 2) < 0.6
    assert near.mean() > 0.85
    assert 0.3 < (vectors[near, 0] > 0).mean() < 0.7
    assert np.abs(vectors[:, 1] - asked).mean() < 0.06
    assert np.corrcoef(vectors[:, 1], asked)[0, 1] > 0.95

    def off_the_right():
        condition = torch.rand(32, 1, generator=torch.Generator().manual_seed(0))
        return (made.draw(condition, rng)[:, 0] - 2).square().mean()

    losses = learn(made, lambda: two_clusters(128, rng), 20, 1e-3, rng, off_the_right)
    assert losses.shape == (20, 2)
    assert losses[-10:, 1].mean() < 0.5 * losses[:2, 1].mean()
    guided, _ = drawn()
    assert (guided[:, 0] > 0).mean() > (vectors[:, 0] > 0).mean() + 0.15
    assert (np.abs(np.abs(guided[:, 0]) - 2) < 0.6).mean() > 0.7


def test_it_follows_from_its_seeds():
    def made(seed, draws):
        rng = np.random.default_rng(draws)
        one = Denoiser(*two_clusters(50, np.random.default_rng(0)), seed)
        learn(one, lambda: two_clusters(16, rng), 3, 1e-3, rng)
        return torch.cat([own.flatten() for own in one.state_dict().values()]).numpy()

    before = torch.random.get_rng_state()
    assert np.array_equal(made(0, 0), made(0, 0))
    assert not np.array_equal(made(0, 0), made(1, 0))
    assert not np.array_equal(made(0, 0), made(0, 1))
    assert torch.equal(before, torch.random.get_rng_state())
