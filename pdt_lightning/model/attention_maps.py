"""Where a model looks: how much of an action's attention goes to which segment of its prompt."""

import numpy as np
import torch
from torch import Tensor

from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps, context_windows, windows_to_each_step
from pdt_lightning.model.pdt import PromptDecisionTransformer


@torch.inference_mode()
def attention_to_segments(model: PromptDecisionTransformer, context: Steps, prompt: Prompt, segments: int) -> Tensor:
    """Of the token that each action is read from, its step's state, the attention to every segment; mean over heads.

    All blocks run with one dense mask and keep their weights, which no other path does.

    Args:
        model: with prompts; in evaluation mode.
        context: `B` rows of `T` steps.
        prompt: `B` prompts.
        segments: `J` of each prompt.

    Returns:
        `(layers, B, T, J)`; what is missing to a sum of 1 over the segments goes to the context.
    """
    first, given = model.tokens(model.embed_prompt, prompt)
    later, valid = model.tokens(model.embed_context, context)
    size, each = first.shape[1], model.tokens_per_step
    x = torch.cat([first, model.norm_context(later)], dim=1).to(model.transformer.norm.weight.dtype)
    place = torch.arange(x.shape[1], device=x.device)
    step = (place - size).div(each, rounding_mode="floor")
    near = place <= place[:, None]
    if model.window_steps is not None:
        near &= (place < size) | (step[:, None] - step < model.window_steps)
    # A padding token attends to itself, or its softmax would be over nothing.
    allowed = (near & torch.cat([given, valid], dim=1)[:, None]) | (place == place[:, None])
    layers = []
    for block in model.transformer.blocks:
        query, key, value = block.before(block.norm_attention(x))  # type: ignore[operator]
        weights = (query @ key.transpose(-1, -2)).masked_fill(~allowed[:, None], float("-inf")).softmax(dim=-1)
        seen = weights[:, :, size + each - 2 :: each, :size].float().mean(dim=1)  # (B, T, P)
        layers.append(seen.unflatten(-1, (segments, -1)).sum(dim=-1))
        x = block.after(x, weights @ value)  # type: ignore[operator]
    return torch.stack(layers)


def attention_along(
    model: PromptDecisionTransformer,
    context_steps: int,
    episodes: Episodes,
    episode: int,
    prompt: Prompt,
    segments: int,
) -> np.ndarray:
    """The same at every step of an episode, seen as in a rollout: with all of its past.

    Args:
        model: with prompts; in evaluation mode.
        context_steps: `K` of the published form.
        episodes: of which one is followed.
        episode: its number.
        prompt: one prompt.
        segments: `J` of it.

    Returns:
        `(layers, T, J)`.
    """
    device = model.state_mean.device
    if model.window_steps is None:
        context, _ = windows_to_each_step(episodes, episode, context_steps)
        prompts = Prompt.cat([prompt] * len(context))
        return attention_to_segments(model, context.to(device), prompts.to(device), segments)[:, :, -1].cpu().numpy()
    length = int(episodes.lengths_of(np.array(episode)))
    context, _ = context_windows(episodes, np.array([episode]), np.array([0]), length)
    return attention_to_segments(model, context.to(device), prompt.to(device), segments)[:, 0].cpu().numpy()
