"""The model once more, as plainly as can be: one row at a time, no cache, no batching, its own attention."""

import math

import torch
from torch.nn import functional


def linear(weights, name, x):
    return x @ weights[f"{name}.weight"].T + weights[f"{name}.bias"]


def norm(weights, name, x):
    return functional.layer_norm(x, x.shape[-1:], weights[f"{name}.weight"], weights[f"{name}.bias"])


def tokens(weights, name, steps, row):
    """Tokens of one row's valid steps, in order."""
    made = []
    for t in range(steps.mask.shape[1]):
        if not steps.mask[row, t]:
            continue
        state = (steps.states[row, t] - weights["state_mean"]) / weights["state_std"]
        action = (steps.actions[row, t] - weights["action_mid"]) / weights["action_half"]
        time = weights[f"{name}.timestep.weight"][steps.timesteps[row, t]]
        if f"{name}.return_to_go.weight" in weights:
            made.append(linear(weights, f"{name}.return_to_go", steps.returns_to_go[row, t]) + time)
        made.append(linear(weights, f"{name}.state", state) + time)
        made.append(linear(weights, f"{name}.action", action) + time)
    return torch.stack(made) if made else torch.zeros(0, weights["head.weight"].shape[1])


def sees(i, j, per_step, window_steps):
    """Whether token i of the context (negative: of the prompt) may attend to an earlier token j."""
    return window_steps is None or i < 0 or j < 0 or i // per_step - j // per_step < window_steps


def actions(model, heads, context, prompt, row, window_steps=None):
    """Actions at the valid context steps of one row: `(steps, A)`."""
    weights = model.state_dict()
    per_step = 3 if "embed_context.return_to_go.weight" in weights else 2
    own = norm(weights, "norm_context", tokens(weights, "embed_context", context, row))
    first = tokens(weights, "embed_prompt", prompt, row) if prompt is not None else own[:0]
    x = torch.cat([first, own])
    layers = len({name.split(".")[2] for name in weights if name.startswith("transformer.blocks.")})
    for layer in range(layers):
        block = f"transformer.blocks.{layer}"
        query, key, value = linear(
            weights, f"{block}.query_key_value", norm(weights, f"{block}.norm_attention", x)
        ).chunk(3, dim=-1)
        size = x.shape[1] // heads
        attended = torch.zeros_like(x)
        for head in range(heads):
            part = slice(head * size, (head + 1) * size)
            for i in range(len(x)):
                seen = [j for j in range(i + 1) if sees(i - len(first), j - len(first), per_step, window_steps)]
                scores = torch.stack([query[i, part] @ key[j, part] / math.sqrt(size) for j in seen])
                attended[i, part] = scores.softmax(0) @ value[seen][:, part]
        x = x + linear(weights, f"{block}.project", attended)
        hidden = linear(weights, f"{block}.expand", norm(weights, f"{block}.norm_perceptron", x)).clamp(min=0)
        x = x + linear(weights, f"{block}.contract", hidden)
    x = norm(weights, "transformer.norm", x)[len(first) :]
    at_states = x[per_step - 2 :: per_step]
    return torch.tanh(linear(weights, "head", at_states)) * weights["action_half"] + weights["action_mid"]
