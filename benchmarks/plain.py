"""The plain way: the published procedure as one would write it down, without tricks and without malice.

One environment and one prompt a rollout, the whole transformer over prompt and context for every step; batches gathered
by a Python loop over samples, in float32; segments encoded one at a time; a bandit that refits its perceptrons from
scratch each round. It uses our weights and our random draws, so that its numbers can be checked against ours
(`tests/test_benchmarks.py`).

Source: public code of Xu et al. 2022 and Rietz et al. 2025, for what is computed and in which order.
"""

import copy

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from pdt_lightning.data.batches import Pool
from pdt_lightning.data.episodes import Episodes
from pdt_lightning.data.segments import Prompt, Segments
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.rollouts.rollout import Outcome, Row

GRADIENT_CLIP = 0.25  # as published


class PlainPDT(PromptDecisionTransformer):
    """Our parameters, with one forward pass: every token of prompt and context through every layer."""

    def hidden(self, context: Steps, prompt: Prompt) -> Tensor:
        """`(B, P + T, D)`: the last layer's hidden states."""
        first, first_valid = self.tokens(self.embed_prompt, prompt)
        own, own_valid = self.tokens(self.embed_context, context)
        x = torch.cat([first, self.norm_context(own)], dim=1)
        valid = torch.cat([first_valid, own_valid], dim=1)
        tokens = x.shape[1]
        mask = torch.ones(tokens, tokens, dtype=torch.bool).tril() & valid[:, None, :] | torch.eye(
            tokens, dtype=torch.bool
        )
        dropout = self.transformer.dropout
        x = dropout(x)
        for block in self.transformer.blocks:
            query, key, value = (
                y.unflatten(-1, (block.heads, -1)).transpose(1, 2)
                for y in block.query_key_value(block.norm_attention(x)).chunk(3, -1)
            )
            rate = dropout.p if self.training else 0.0
            attended = functional.scaled_dot_product_attention(query, key, value, mask[:, None], dropout_p=rate)
            x = x + dropout(block.project(attended.transpose(1, 2).flatten(-2)))
            x = x + dropout(block.contract(torch.relu(block.expand(block.norm_perceptron(x)))))
        return self.transformer.norm(x)

    def forward(self, context: Steps, prompt: Prompt | None) -> Tensor:
        """`(B, K, A)` actions."""
        assert prompt is not None
        own = self.hidden(context, prompt)[:, prompt.mask.shape[1] * self.tokens_per_step :]
        return self._act(own[:, self.tokens_per_step - 2 :: self.tokens_per_step])

    def encode(self, segments: Prompt) -> Tensor:
        """`(B, D)`; the model has one forward pass, which wants a context: an empty one."""
        rows, steps = len(segments), 20
        nothing = Steps(
            *(torch.zeros(rows, steps, size) for size in (1, segments.states.shape[-1], segments.actions.shape[-1])),
            timesteps=torch.zeros(rows, steps, dtype=torch.long),
            mask=torch.zeros(rows, steps, dtype=torch.bool),
        )
        return self.hidden(nothing, segments)[:, segments.mask.shape[1] * self.tokens_per_step - 1]


def plain_model(model: PromptDecisionTransformer) -> PlainPDT:
    """The same weights, computed plainly."""
    made = copy.deepcopy(model)
    made.__class__ = PlainPDT
    return made  # type: ignore[return-value]


@torch.inference_mode()
def rollout(model: PlainPDT, row: Row, context_steps: int) -> Outcome:
    """One episode in one environment."""
    task, env = row.task, row.task.make_env()
    state, _ = env.reset(seed=row.seed)
    size = len(model.action_mid)
    states, actions = torch.zeros(0, len(state)), torch.zeros(0, size)
    to_go = torch.tensor([[task.target_return / task.return_scale]], dtype=torch.float32)
    total, length, over, success = 0.0, 0, False, None
    while not over and length < task.horizon:
        states = torch.cat([states, torch.as_tensor(state, dtype=torch.float32)[None]])
        actions = torch.cat([actions, torch.zeros(1, size)])
        steps = min(length + 1, context_steps)
        missing = context_steps - steps

        def padded(values: Tensor, missing: int = missing, steps: int = steps) -> Tensor:
            return torch.cat([torch.zeros(missing, *values.shape[1:], dtype=values.dtype), values[-steps:]])[None]

        context = Steps(
            padded(to_go),
            padded(states),
            padded(actions),
            padded(torch.arange(length + 1)),
            padded(torch.ones(length + 1, dtype=torch.bool)),
        )
        action = model(context, row.prompt)[0, -1]
        actions[-1] = action
        state, reward, terminated, truncated, info = env.step(
            action.numpy().clip(env.action_space.low, env.action_space.high)
        )
        to_go = torch.cat([to_go, to_go[-1:] - float(reward) / task.return_scale])
        total, length, over = total + float(reward), length + 1, terminated or truncated
        if "success" in info:
            success = max(success or 0.0, float(info["success"]))
    env.close()
    return Outcome(total, success, length)


def window(episodes: Episodes, episode: int, start: int, steps: int) -> dict[str, np.ndarray]:
    """One left-padded window."""
    first = episodes.offsets[episode] + start
    rows = np.array(episodes.steps[first : min(first + steps, episodes.offsets[episode + 1])])
    missing = steps - len(rows)
    size, actions = episodes.state_size, episodes.action_size

    def padded(values: np.ndarray) -> np.ndarray:
        return np.concatenate([np.zeros((missing, *values.shape[1:]), values.dtype), values])

    return {
        "returns_to_go": padded(rows[:, -1:] / episodes.scales[episodes.task[episode]]),
        "states": padded(rows[:, :size]),
        "actions": padded(rows[:, size : size + actions]),
        "timesteps": padded(np.arange(start, start + len(rows))),
        "mask": padded(np.ones(len(rows), bool)),
        "labels": padded(rows[:, size + actions : -1]),
    }


def batch(
    episodes: Episodes,
    contexts: list[tuple[int, int]],
    prompts: list[list[tuple[int, int]]],
    context_steps: int,
    segment_steps: int,
) -> tuple[Steps, Prompt, Tensor]:
    """A batch, sample by sample.

    Args:
        episodes: all there are.
        contexts: (episode, start) of each sample's window.
        prompts: (episode, start) of each segment of each sample's prompt.
        context_steps: `K`.
        segment_steps: `H`.
    """
    windows, joined = [], []
    for (episode, start), segments in zip(contexts, prompts, strict=True):
        windows.append(window(episodes, episode, start, context_steps))
        parts = [window(episodes, e, s, segment_steps) for e, s in segments]
        joined.append({name: np.concatenate([part[name] for part in parts]) for name in parts[0]})

    def stacked(rows: list[dict[str, np.ndarray]]) -> dict[str, Tensor]:
        return {name: torch.from_numpy(np.stack([row[name] for row in rows])) for name in rows[0]}

    context, prompt = stacked(windows), stacked(joined)
    labels = context.pop("labels")
    del prompt["labels"]
    return Steps(**context), Prompt(**prompt), labels


def members(pool: Pool) -> list[np.ndarray]:
    """The episodes of each task, as `draws` wants them."""
    return [pool.members[first:last] for first, last in zip(pool.first_member, pool.last_member, strict=True)]


def draws(
    episodes: Episodes,
    members: list[np.ndarray],
    each: int,
    segments: int,
    segment_steps: int,
    rng: np.random.Generator,
) -> tuple[list[tuple[int, int]], list[list[tuple[int, int]]]]:
    """What `batch` is made of: `each` samples for every task, whose episodes `members` lists."""
    contexts, prompts = [], []
    for own in members:
        lengths = episodes.lengths_of(own)
        for _ in range(each):
            chosen = rng.choice(len(own), p=lengths / lengths.sum())
            contexts.append((int(own[chosen]), int(rng.integers(lengths[chosen]))))
            drawn = []
            for _ in range(segments):
                other = rng.choice(len(own))
                drawn.append((int(own[other]), int(rng.integers(lengths[other] - segment_steps + 1))))
            prompts.append(drawn)
    return contexts, prompts


def train_step(
    model: PlainPDT, optimizer: torch.optim.Optimizer, context: Steps, prompt: Prompt, labels: Tensor
) -> float:
    """One update in float32."""
    predicted = model(context, prompt)
    # The mean is over the valid steps.
    loss = functional.mse_loss(
        (predicted / model.action_half)[context.mask], (labels / model.action_half)[context.mask]
    )
    optimizer.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(model.parameters(), GRADIENT_CLIP)
    optimizer.step()
    return loss.item()


@torch.inference_mode()
def encode(model: PlainPDT, segments: Segments) -> np.ndarray:
    """`(N, D)`: one segment at a time."""
    return np.concatenate([model.encode(segments.gather(np.array([[n]]))).numpy() for n in range(len(segments))])


class Bandit:
    """A perceptron 16-16 for each slot, refitted from its initial weights each round by 1,000 full-batch SGD steps."""

    def __init__(self, features: np.ndarray, slots: int):
        self.features = torch.from_numpy(features).float()
        size = features.shape[1]
        self.initial = [
            nn.Sequential(nn.Linear(size, 16), nn.ReLU(), nn.Linear(16, 16), nn.ReLU(), nn.Linear(16, 1))
            for _ in range(slots)
        ]

    def round(self, choices: np.ndarray, returns: np.ndarray) -> list[int]:
        """The next choice, slot by slot, after outcomes `returns (n,)` of `choices (n, J)`."""
        targets = torch.from_numpy(returns).float()
        best = []
        for slot, initial in enumerate(self.initial):
            model = copy.deepcopy(initial)
            optimizer = torch.optim.SGD(model.parameters(), lr=1e-2)
            inputs = self.features[torch.from_numpy(choices[:, slot])]
            for _ in range(1000):
                loss = functional.mse_loss(model(inputs)[:, 0], targets)
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            with torch.no_grad():
                best.append(int(model(self.features)[:, 0].argmax()))
        return best
