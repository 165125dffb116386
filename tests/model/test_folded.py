import pytest
import torch

from pdt_lightning.model.folded import FoldedTransformer
from pdt_lightning.model.transformer import CausalTransformer

B, T, D = 3, 7, 16


def transformer(heads):
    """As if trained: no weight, gain or bias is what it begins with."""
    rng = torch.Generator().manual_seed(0)
    made = CausalTransformer(D, 3, heads, 32, 0.1).eval().requires_grad_(False)
    for weights in made.parameters():
        weights.copy_(torch.randn(weights.shape, generator=rng) * (0.3 if weights.ndim == 1 else D**-0.5))
    return made


@pytest.mark.parametrize("heads", [1, 2, 4])
@pytest.mark.parametrize("padding", [0, 2])
@torch.inference_mode()
def test_it_computes_what_the_transformer_computes(heads, padding):
    made, x = transformer(heads), torch.randn(B, T, D, generator=torch.Generator().manual_seed(1))
    valid = (torch.arange(T) >= padding * torch.arange(B)[:, None]) if padding else None
    given, exact = x.clone(), made(x, valid)[:, -1]
    assert torch.allclose(FoldedTransformer(made).last(x, valid), exact, atol=1e-5)
    assert torch.equal(x, given)
    half = FoldedTransformer(made.to(torch.bfloat16)).last(x, valid)
    assert (half - exact).square().mean().sqrt() < 0.02
    # Folding may cost no more digits than half precision does anyway.
    plain = made(x.to(torch.bfloat16), valid)[:, -1]
    assert (half - exact).square().mean() < 2 * (plain - exact).square().mean()
