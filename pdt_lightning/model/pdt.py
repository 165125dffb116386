"""PromptDecisionTransformer: embeddings of prompt and context, one causal stack over both, an action head."""

from collections.abc import Callable, Sequence
from typing import Self

import torch
from torch import Tensor, nn

from pdt_lightning.data.normalisation import Statistics
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.actions import actions_of
from pdt_lightning.model.compressed import groups
from pdt_lightning.model.folded import FoldedTransformer
from pdt_lightning.model.memory import Memory, Recent, Rolling
from pdt_lightning.model.transformer import CausalTransformer, Prefix, Window

STATISTICS = ("state_mean", "state_std", "action_mid", "action_half")


class Embedding(nn.Module):
    """Steps → tokens in the order (return-to-go,) state, action, each with the embedding of its timestep added."""

    def __init__(self, state_size: int, action_size: int, max_timesteps: int, width: int, use_return_to_go: bool):
        super().__init__()
        self.return_to_go = nn.Linear(1, width) if use_return_to_go else None
        self.state = nn.Linear(state_size, width)
        self.action = nn.Linear(action_size, width)
        self.timestep = nn.Embedding(max_timesteps, width)

    def forward(self, steps: Steps, states: Tensor, actions: Tensor) -> Tensor:
        """`(B, T, tokens a step, D)`, in the type of the weights, from steps, with states and actions normalised."""
        inputs = zip((self.state, self.action), (states, actions), strict=True)
        parts = [layer(values.to(layer.weight.dtype)) for layer, values in inputs]
        if self.return_to_go is not None:
            parts.insert(0, self.return_to_go(steps.returns_to_go.to(self.return_to_go.weight.dtype)))
        return torch.stack(parts, dim=2) + self.time(steps.timesteps)[:, :, None]

    def time(self, timesteps: Tensor | int) -> Tensor:
        """`(..., D)`: the embedding of timesteps; those beyond the longest episode share the last one."""
        longest = self.timestep.num_embeddings - 1
        if isinstance(timesteps, int):
            return self.timestep.weight[min(timesteps, longest)]
        return self.timestep(timesteps.clamp(max=longest))


class PromptDecisionTransformer(nn.Module):
    """Actions from a trajectory prompt, which tells the task, and the last `K` steps.

    Args:
        state_size: `S`.
        action_size: `A`.
        max_timesteps: steps of the longest episode.
        width: `D`.
        layers: number of blocks.
        heads: attention heads.
        inner: width inside the perceptrons.
        dropout: rate, in training.
        use_prompt: False: prompts are ignored (MT-ORL).
        use_return_to_go: False: steps are (state, action) (Prompt-MT-BC).
        action_choices: number of options of each choice that an action consists of, whose `A` numbers are then one-hot
            vectors; none: actions in a box.
        window_steps: None: the published form, in which a context is a window of `K` steps and every token sees all
            before it. `K`: the window form, in which contexts have any length and a token sees the prompt and the last
            `K` steps.

    A transformer of your own derives from it and may replace every part. Training calls `forward`, rollouts call
    `memory` and `act`, tuners call `answers` and `encode`. Its constructor takes these parameters, and options of its
    own after them.

    Source: Xu et al. 2022 (arXiv 2206.13499), section 4; sizes as published.
    """

    state_mean: Tensor
    state_std: Tensor
    action_mid: Tensor
    action_half: Tensor

    def __init__(
        self,
        state_size: int,
        action_size: int,
        max_timesteps: int,
        width: int = 128,
        layers: int = 3,
        heads: int = 1,
        inner: int = 512,
        dropout: float = 0.1,
        use_prompt: bool = True,
        use_return_to_go: bool = True,
        action_choices: Sequence[int] = (),
        window_steps: int | None = None,
    ):
        super().__init__()
        self.window_steps = window_steps
        self.actions = actions_of(action_choices)
        sizes = (state_size, action_size, max_timesteps, width, use_return_to_go)
        self.use_prompt = use_prompt
        self.tokens_per_step = 3 if use_return_to_go else 2
        # Without prompts their embedding gets no gradient, which DDP would wait for.
        self.embed_prompt = Embedding(*sizes).requires_grad_(use_prompt)
        self.embed_context = Embedding(*sizes)
        self.norm_context = nn.LayerNorm(width)
        self.transformer = CausalTransformer(width, layers, heads, inner, dropout)
        self.head = nn.Linear(width, action_size)
        self.register_buffer("state_mean", torch.zeros(state_size))
        self.register_buffer("state_std", torch.ones(state_size))
        self.register_buffer("action_mid", torch.zeros(action_size))
        self.register_buffer("action_half", torch.ones(action_size))
        self.transformer.apply(_initialise)

    def _apply(self, fn: Callable[[Tensor], Tensor], recurse: bool = True) -> Self:
        """Moves and converts the model as torch does, except that what it normalises by keeps its type.

        So it keeps its precision.
        """
        before = {name: getattr(self, name) for name in STATISTICS}
        super()._apply(fn, recurse)
        for name, values in before.items():
            if not values.is_meta:  # there is something to keep
                setattr(self, name, values.to(getattr(self, name).device))
        return self

    def set_statistics(self, statistics: Statistics) -> None:
        """Take what states and actions are normalised by; it is saved with the weights."""
        for name in STATISTICS:
            buffer: Tensor = getattr(self, name)
            buffer.copy_(torch.from_numpy(getattr(statistics, name)))

    def normalise_states(self, states: Tensor) -> Tensor:
        """States in units of the training tasks' standard deviation, zero at their mean; float32, of float64 too."""
        return ((states - self.state_mean) / self.state_std).to(self.state_mean.dtype)

    def normalise_actions(self, actions: Tensor) -> Tensor:
        """Actions with the action box mapped to [-1, 1]."""
        return (actions - self.action_mid) / self.action_half

    def tokens(self, embedding: Embedding, steps: Steps) -> tuple[Tensor, Tensor]:
        """`(B, tokens, D)` and, `(B, tokens)`, whether each is there, from steps in the environment's units."""
        embedded = embedding(steps, self.normalise_states(steps.states), self.normalise_actions(steps.actions))
        return embedded.flatten(1, 2), steps.mask.repeat_interleave(self.tokens_per_step, dim=1)

    @property
    def _window(self) -> Window | None:
        return None if self.window_steps is None else Window(self.window_steps, self.tokens_per_step)

    def forward(self, context: Steps, prompt: Prompt | None) -> Tensor:
        """Predictions of the actions at every step of the context.

        Args:
            context: `B` rows of steps: `K` of them, or in window form any number.
            prompt: `B` prompts; ignored without `use_prompt`.

        Returns:
            `(B, steps, A)` predictions: actions in the environment's unit, or of choices the logarithms of the options'
            probabilities; what stands at padded steps means nothing.
        """
        tokens, valid = self.tokens(self.embed_context, context)
        prefix = self.prefix(prompt) if self.use_prompt and prompt is not None else None
        states = slice(self.tokens_per_step - 2, None, self.tokens_per_step)
        return self._act(self.transformer(self.norm_context(tokens), valid, prefix, self._window, states))

    def prefix(self, prompt: Prompt) -> Prefix:
        """Keys and values of prompts, once for a whole rollout; empty without `use_prompt`."""
        return self.transformer.prefix(*self._prompt_tokens(prompt))

    def _prompt_tokens(self, prompt: Prompt) -> tuple[Tensor, Tensor | None]:
        tokens, valid = self.tokens(self.embed_prompt, prompt)
        return (tokens, valid) if self.use_prompt else (tokens[:, :0], None)

    def folded(self) -> FoldedTransformer | None:
        """What `memory` and `encode` compute with, for whoever keeps it; None in a transformer of other blocks."""
        return FoldedTransformer(self.transformer)

    def memory(
        self,
        prompt: Prompt,
        context_steps: int,
        folded: FoldedTransformer | None = None,
        prompt_tokens: int | None = None,
    ) -> Memory:
        """An empty past behind prompts, for `act`.

        Args:
            prompt: `B` prompts.
            context_steps: `K` of the published form.
            folded: the transformer's, where it is kept.
            prompt_tokens: as many are remembered of a prompt, see `compressed.py`; None, or no fewer than it has: all.
        """
        tokens, valid = self._prompt_tokens(prompt)
        members = None
        if valid is not None and prompt_tokens is not None and prompt_tokens < tokens.shape[1]:
            members = groups(valid, self.tokens_per_step, prompt_tokens)
        valid = _where_padded(valid)
        if self._window is not None:
            return Rolling(folded or FoldedTransformer(self.transformer), tokens, valid, self._window, members)
        return Recent(self.transformer, tokens, valid, context_steps * self.tokens_per_step - 1, members)

    def act(
        self, memory: Memory, before: Tensor | None, returns_to_go: Tensor, states: Tensor, timestep: int
    ) -> Tensor:
        """Predictions of the actions at a new step, remembered by `memory`.

        Args:
            memory: of `B` episodes.
            before: `(B, A)` action of the step before; None at the first step.
            returns_to_go: `(B,)`, in units of the task's scale.
            states: `(B, S)`.
            timestep: number of the new step in its episode, from 0.

        Returns:
            `(B, A)` predictions, as from `forward`; `actions.decided` makes actions of them.
        """
        embed = self.embed_context
        tokens = [embed.state(self.normalise_states(states)) + embed.time(timestep)]
        if embed.return_to_go is not None:
            tokens.insert(0, embed.return_to_go(returns_to_go[:, None]) + embed.time(timestep))
        if before is not None:
            tokens.insert(0, embed.action(self.normalise_actions(before)) + embed.time(timestep - 1))
        return self._act(memory.extend(self.norm_context(torch.stack(tokens, dim=1))))

    def _act(self, hidden: Tensor) -> Tensor:
        outputs = self.head(hidden.to(self.head.weight.dtype))
        return self.actions.predicted(outputs, self.action_mid, self.action_half)

    def errors(self, predicted: Tensor, labels: Tensor) -> Tensor:
        """`(...)`: how far predictions `(..., A)` are from labels `(..., A)`.

        In a box the squared error in half-widths of the box, mean over coordinates; of choices the cross-entropy.
        """
        return self.actions.errors(predicted, labels, self.action_half)

    def answers(self, prompts: Prompt, contexts: Steps, folded: FoldedTransformer | None = None) -> Tensor:
        """Predictions at every step of every context behind every prompt, where a context is no longer than `K` steps.

        Args:
            prompts: `B` prompts without padding.
            contexts: `W` rows of `T` steps.
            folded: the transformer's, where it is kept.

        Returns:
            `(B, W, T, A)` predictions, equal to what `forward` gives for each pair, to rounding.
        """
        folded = folded or self.folded()
        if folded is None:  # in a transformer of other blocks each pair goes by itself
            behind = prompts[torch.arange(len(prompts)).repeat_interleave(len(contexts))]
            return self(contexts[torch.arange(len(contexts)).repeat(len(prompts))], behind).unflatten(
                0, (len(prompts), -1)
            )
        tokens, valid = self.tokens(self.embed_context, contexts)
        # The action of the last step is what is asked for: nothing attends to it.
        tokens, valid = self.norm_context(tokens)[:, :-1], valid[:, :-1]
        states = slice(self.tokens_per_step - 2, None, self.tokens_per_step)
        before, _ = self._prompt_tokens(prompts)
        return self._act(folded.answers(before, tokens, valid, states))

    def encode(self, steps: Prompt, first: Tensor, length: int, folded: FoldedTransformer | None = None) -> Tensor:
        """What the model makes of segments: the last layer's hidden state at each one's final action token.

        Args:
            steps: rows of one step each, all there.
            first: `(N,)` row at which each segment begins.
            length: `H`, steps of a segment.
            folded: the transformer's, where it is kept.

        Returns:
            `(N, D)`.

        Source: Psi of Rietz et al. 2025 (arXiv 2502.06358), section 4.
        """
        tokens, _ = self.tokens(self.embed_prompt, steps)
        each = self.tokens_per_step
        return (folded or FoldedTransformer(self.transformer)).ends(tokens.flatten(0, 1), first * each, length * each)


def _where_padded(valid: Tensor | None) -> Tensor | None:
    """None where there is nothing to mask."""
    return None if valid is None or bool(valid.all()) else valid


def _initialise(module: nn.Module) -> None:
    """GPT-2's initialisation of the blocks: weights normal with 0.02, biases zero."""
    if isinstance(module, nn.Linear):
        nn.init.normal_(module.weight, std=0.02)
        nn.init.zeros_(module.bias)
