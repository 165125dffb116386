"""What acts: a frozen model with a prompt a row, and the memory of its episodes."""

import copy
import functools
import inspect
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch import Tensor

from pdt_lightning.core.errors import UserError, check_choice, check_range
from pdt_lightning.core.ranges import number
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.folded import FoldedTransformer
from pdt_lightning.model.pdt import PromptDecisionTransformer
from pdt_lightning.model.sensitivity import prompt_sensitivity

if TYPE_CHECKING:
    from pdt_lightning.model.lit_pdt import LitPDT

    PromptTokens = int
else:
    PromptTokens = number(int, 1)

# In a forward pass: so many tokens' activations stay in a processor's cache, and in memory that is not handed back each
# time.
BLOCK_TOKENS = 1800
Precision = Literal["32-true", "bf16-true"]
PRECISIONS = {"32-true": torch.float32, "bf16-true": torch.bfloat16}
Settings = tuple[int, str, int | None]  # context steps, precision, prompt tokens


def dtype_of(precision: str) -> torch.dtype:
    """Type of the transformer's weights in rollouts.

    Raises:
        UserError: on a precision that is not in `PRECISIONS`.
    """
    check_choice("`tuning.precision`", precision, PRECISIONS)
    return PRECISIONS[precision]


def check_prompt_tokens(model: PromptDecisionTransformer, tokens: int) -> None:
    """Refuse to merge the tokens of prompts where the transformer cannot.

    One of the user's own can if its blocks are ours, or if its `memory` takes `prompt_tokens`.

    Raises:
        UserError: naming the option.
    """
    check_range("`tuning.prompt_tokens`", tokens, 1)
    kind = type(model)
    if kind.memory is PromptDecisionTransformer.memory:
        able = model.folded() is not None
    else:
        able = "prompt_tokens" in inspect.signature(kind.memory).parameters
    if not able:
        raise UserError(
            f"`tuning.prompt_tokens`={tokens}: the transformer {kind.__module__}.{kind.__qualname__} cannot merge the "
            "tokens of its prompts. Leave the option out, or let its method `memory` take `prompt_tokens`."
        )


class Policy:
    """Acts in `B` episodes at once, each with a prompt of its own.

    Args:
        model: the transformer; put into evaluation mode by the caller.
        context_steps: `K` of the published form; in window form the model's own holds.
        precision: of the transformer's blocks. `32-true`; `bf16-true`, about twice as fast on CPUs that have it and on
            GPUs, with actions that differ by a few thousandths.
        prompt_tokens: as many tokens are remembered of a prompt while episodes are played, see `model/compressed.py`;
            None: all. What the transformer is asked without a rollout, it is asked behind whole prompts.

    Raises:
        UserError: on another precision, or where the transformer cannot merge tokens.
    """

    def __init__(
        self,
        model: PromptDecisionTransformer,
        context_steps: int,
        precision: str = "32-true",
        prompt_tokens: int | None = None,
    ):
        wanted = dtype_of(precision)
        if prompt_tokens is not None:
            check_prompt_tokens(model, prompt_tokens)
        if (model.head.weight.dtype, next(model.transformer.parameters()).dtype) != (torch.float32, wanted):
            model = copy.deepcopy(model).float()
            model.transformer.to(wanted)
        self.model = model
        self.context_steps, self.precision, self.prompt_tokens = context_steps, precision, prompt_tokens
        self.threads = torch.get_num_threads()

    @classmethod
    def of(cls, module: "LitPDT", precision: str = "32-true", prompt_tokens: int | None = None) -> "Policy":
        """The policy of a trained module, whose model is frozen."""
        frozen = module.model.eval().requires_grad_(False)
        return cls(frozen, int(module.hparams["context_steps"]), precision, prompt_tokens)

    @property
    def settings(self) -> Settings:
        """With the model, what makes the same policy again: `Policy(model, *settings)`."""
        return self.context_steps, self.precision, self.prompt_tokens

    @torch.inference_mode()
    def reset(self, prompts: Prompt, targets: np.ndarray, scales: np.ndarray) -> None:
        """Start `B` episodes.

        Args:
            prompts: `B` prompts.
            targets: `(B,)` returns to ask for, in the environments' unit.
            scales: `(B,)` return scale of each row's task.
        """
        self._precise = prompts.states.dtype  # of the task's states
        merged = {} if self.prompt_tokens is None else {"prompt_tokens": self.prompt_tokens}  # not every guest takes it
        self._memory = self.model.memory(prompts.to(self._device), self.context_steps, self._folded, **merged)
        self._scales = self._tensor(scales)
        self._next_return = self._tensor(targets) / self._scales
        self._actions: Tensor | None = None
        self._time = 0

    @functools.cached_property
    def _folded(self) -> FoldedTransformer | None:
        return self.model.folded()

    @property
    def _device(self) -> torch.device:
        return self.model.state_mean.device

    def _tensor(self, values: np.ndarray, dtype: torch.dtype = torch.float32) -> Tensor:
        return torch.as_tensor(np.asarray(values), dtype=dtype, device=self._device)

    @torch.inference_mode()
    def act(self, observations: np.ndarray, rewards: np.ndarray | None = None) -> np.ndarray:
        """Actions for the next step.

        Args:
            observations: `(B, S)`.
            rewards: `(B,)` received since the last call; None at the first.

        Returns:
            `(B, A)` float32; of choices one-hot vectors of the most probable options.
        """
        if rewards is not None:
            self._next_return = self._next_return - self._tensor(rewards) / self._scales
        states = self._tensor(observations, self._precise)
        predicted = self.model.act(self._memory, self._actions, self._next_return, states, self._time)
        self._actions = self.model.actions.decided(predicted)
        self._time += 1
        return self._actions.cpu().numpy()

    def errors(self, prompts: Prompt, contexts: Steps, labels: Tensor) -> np.ndarray:
        """How far the model's actions are from those to take, in every context behind every prompt.

        Args:
            prompts: `B` prompts without padding.
            contexts: `W` rows of `T` steps, no more than `K`.
            labels: `(W, T, A)` actions to take.

        Returns:
            `(B, W)` float64: root of the mean error of a window's steps, which is squared, in half-widths of the action
            box, or the cross-entropy of choices; steps of padding do not count.
        """
        labels = labels.to(self._device)
        present = (contexts.mask.float() / contexts.mask.sum(dim=1)[:, None]).to(self._device)

        def of_block(predicted: Tensor) -> Tensor:
            return (self.model.errors(predicted, labels) * present).sum(dim=2).sqrt()

        return self._answers(prompts, contexts, of_block).double().cpu().numpy()

    def sensitivity(self, prompts: Prompt, contexts: Steps) -> float:
        """How much the actions in the contexts depend on which of the prompts is given; see `prompt_sensitivity`.

        Args:
            prompts: of one task, without padding.
            contexts: `W` rows of `T` steps, no more than `K`.
        """
        predicted = self._answers(prompts, contexts, lambda predicted: predicted)
        return prompt_sensitivity(self.model, predicted, contexts.mask.to(self._device))

    def _answers(self, prompts: Prompt, contexts: Steps, read: Callable[[Tensor], Tensor]) -> Tensor:
        """What is read from the predictions in every context behind every prompt.

        Prompts are asked about in blocks, shared out among threads as `encode` does.
        """
        model, folded, contexts = self.model, self._folded, contexts.to(self._device)
        tokens = (prompts.mask.shape[1] + contexts.mask.numel()) * model.tokens_per_step
        blocks = torch.arange(len(prompts)).split(max(1, BLOCK_TOKENS // tokens))

        @torch.inference_mode()
        def of_block(numbers: Tensor) -> Tensor:
            return read(model.answers(prompts[numbers].to(self._device), contexts, folded).float())

        with ThreadPoolExecutor(self.threads) as threads:
            return torch.cat(list(threads.map(of_block, blocks)))

    def encode(self, steps: Prompt, first: np.ndarray, length: int, block: int | None = None) -> np.ndarray:
        """What the model makes of single segments, encoded in blocks.

        Args:
            steps: rows of one step each.
            first: `(N,)` row at which each segment begins; neighbours had best overlap.
            length: `H`, steps of a segment.
            block: segments of a block at most; None: as many as have `BLOCK_TOKENS`.

        Returns:
            `(N, D)` float64.

        Blocks are shared out among as many threads as torch had when the policy was made, each with whole blocks of its
        own: how a sum is split over threads would decide its last bits.
        """

        rows = block or max(1, BLOCK_TOKENS // (length * self.model.tokens_per_step))
        # Evenly, so that a few threads end together.
        blocks = np.array_split(first, min(len(first), 4 * -(-len(first) // (4 * rows))))
        folded = self._folded  # made before the threads ask for it

        @torch.inference_mode()
        def encoded(some: np.ndarray) -> Tensor:
            begin = int(some.min())
            of_block = steps[begin : int(some.max()) + length].to(self._device)
            return self.model.encode(of_block, torch.from_numpy(some - begin).to(self._device), length, folded)

        with ThreadPoolExecutor(self.threads) as threads:
            return torch.cat(list(threads.map(encoded, blocks))).double().cpu().numpy()
