import pytest
import torch

from pdt_lightning.model.folded import FoldedTransformer
from pdt_lightning.model.transformer import CausalTransformer

B, T, D = 3, 7, 16


def transformer(heads, layers=3):
    """As if trained: no weight, gain or bias is what it begins with."""
    rng = torch.Generator().manual_seed(0)
    made = CausalTransformer(D, layers, heads, 32, 0.1).eval().requires_grad_(False)
    for weights in made.parameters():
        weights.copy_(torch.randn(weights.shape, generator=rng) * (0.3 if weights.ndim == 1 else D**-0.5))
    return made


def last(folded, x, valid):
    """The hidden state at the last token, by way of the blocks' inputs that a rollout remembers."""
    *_, (x, y) = folded.layers(x, folded.causal(T, valid))
    mask = x.new_zeros(1, 1, 1) if valid is None else folded.mask(~valid[:, None])
    return folded.norm(folded.blocks[-1].perceive(folded.blocks[-1].attend(x[:, -1:], y[:, -1:], y, mask)))[:, 0]


def close(half, plain, exact):
    """Whether half precision is near, and folding costs no more digits than it does anyway."""
    error = (half - exact).square().mean()
    return error.sqrt() < 0.02 and error < 2 * (plain - exact).square().mean()


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("padding", [0, 2])
@torch.inference_mode()
def test_it_computes_what_the_transformer_computes(heads, padding):
    made, x = transformer(heads), torch.randn(B, T, D, generator=torch.Generator().manual_seed(1))
    valid = (torch.arange(T) >= padding * torch.arange(B)[:, None]) if padding else None
    given, exact = x.clone(), made(x, valid)[:, -1]
    assert torch.allclose(last(FoldedTransformer(made), x, valid), exact, atol=1e-5)
    assert torch.equal(x, given)
    half = last(FoldedTransformer(made.to(torch.bfloat16)), x, valid)
    assert close(half, made(x.to(torch.bfloat16), valid)[:, -1], exact)


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("layers", [1, 2, 3])
@torch.inference_mode()
def test_windows_that_overlap_are_read_each_by_itself(heads, layers):
    made, x = transformer(heads, layers), torch.randn(40, D, generator=torch.Generator().manual_seed(1))
    first = torch.tensor([0, 3, 6, 20, 33])  # the last one ends with the tokens
    given, windows = x.clone(), torch.stack([x[a : a + T] for a in first])
    exact = made(windows, None)[:, -1]
    assert torch.allclose(FoldedTransformer(made).ends(x, first, T), exact, atol=1e-5)
    assert torch.equal(x, given)
    half = FoldedTransformer(made.to(torch.bfloat16)).ends(x, first, T)
    assert close(half, made(windows.to(torch.bfloat16), None)[:, -1], exact)
