"""Where a model looks, against the weights that its own attention computes."""

import numpy as np
import pytest
import torch

from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import context_windows, windows_to_each_step
from pdt_lightning.model.attention_maps import attention_along, attention_to_segments
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.model.transformer import Attention

K, J, H = 5, 2, 3


@pytest.fixture(params=["published", "window"])
def model(request, point_data):
    torch.manual_seed(1)
    window = K if request.param == "window" else None
    made = PromptDecisionTransformer(2, 2, 30, width=16, layers=2, heads=2, inner=32, window_steps=window)
    made.transformer.apply(lambda part: hasattr(part, "weight") and part.weight.data.normal_(std=0.3))
    made.set_statistics(point_data.statistics)
    return made.eval()


@pytest.fixture
def segments(point_data):
    return point_data.segments("point/03")


def test_shares_are_the_weights_of_the_forward_pass(model, segments, monkeypatch):
    kept = []
    weights = Attention._weights

    def keeping(self, *given):
        found = weights(self, *given)
        kept.append(found.detach())
        return found

    prompt = segments.gather(np.array([[1, 40]]))
    context, _ = context_windows(segments.episodes, np.array([2]), np.array([4]), K)  # one piece in either form
    found = attention_to_segments(model, context, prompt, J)
    monkeypatch.setattr(Attention, "_weights", keeping)
    with torch.no_grad():
        model(context, prompt)
    shares = [layer[:, :, 0].mean(dim=1)[..., : 3 * H * J].unflatten(-1, (J, -1)).sum(-1) for layer in kept[-2:]]
    assert torch.allclose(found[0], shares[0][:, 1::3], atol=1e-6)  # the first block asks for every token
    assert torch.allclose(found[1], shares[1], atol=1e-6)  # the last one for states alone
    assert found.shape == (2, 1, K, J)
    assert float(found.min()) > 0
    assert float(found.sum(-1).max()) < 1


def test_along_an_episode_a_step_sees_what_it_saw_in_a_rollout(model, segments):
    """The published form sees the last K steps.

    The window form sees the same in the first block, and what those steps saw in the next ones.
    """
    prompt, episodes = segments.gather(np.array([[1, 40]])), segments.episodes
    found = attention_along(model, K, episodes, 2, prompt, J)
    assert found.shape == (2, episodes.lengths[2], J)
    windows, _ = windows_to_each_step(episodes, 2, K)
    alone = attention_to_segments(model, windows, Prompt.cat([prompt] * len(windows)), J)[:, :, -1].numpy()
    same = slice(None) if model.window_steps is None else slice(1)
    assert np.allclose(found[same], alone[same], atol=1e-6)


def test_padding_gets_no_attention(model, segments):
    prompt, episodes = segments.gather(np.array([[1, 40]])), segments.episodes
    whole, _ = context_windows(episodes, np.array([2]), np.array([0]), 3)
    padded = windows_to_each_step(episodes, 2, K)[0][2:3]  # two of its five steps are padding
    found = [attention_to_segments(model, context, prompt, J)[:, :, -1] for context in (whole, padded)]
    assert torch.allclose(*found, atol=1e-6)
