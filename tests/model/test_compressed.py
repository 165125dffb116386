import math

import numpy as np
import pytest
import torch
from torch.nn import functional

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.segments import Prompt
from pdt_lightning.model.compressed import groups, log_counts, means
from pdt_lightning.model.transformer import Attention, Prefix
from pdt_lightning.rollouts.policy import Policy
from pdt_lightning.rollouts.rollout import Row, rollout
from tests.conftest import untrained
from tests.guests import Reactive
from tests.model.test_pdt import A, K, S, model, steps

FORMS = pytest.mark.parametrize("window_steps", [None, K])


def members(tokens, kinds=3, rows=((True,) * 12,)):
    return groups(torch.tensor(rows), kinds, tokens)


def merged(tokens, kinds=3, **options):
    """Numbers of the tokens of every group of the first row."""
    return [row.nonzero().flatten().tolist() for row in members(tokens, kinds, **options)[0]]


def test_neighbours_of_one_kind_are_merged():
    assert merged(12) == [[token] for kind in range(3) for token in range(kind, 12, 3)]
    assert merged(6) == [[0, 3], [6, 9], [1, 4], [7, 10], [2, 5], [8, 11]]
    assert merged(3) == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5, 8, 11]]
    assert merged(4) == [[0, 3, 6, 9], [1, 4, 7, 10], [2, 5], [8, 11]]  # a token left over goes to a later kind
    assert merged(2) == [[0, 1, 3, 4, 6, 7, 9, 10], [2, 5, 8, 11]]  # there are fewer than kinds
    assert merged(1) == [list(range(12))]
    assert merged(2, kinds=2) == [list(range(0, 12, 2)), list(range(1, 12, 2))]


def test_padding_is_in_no_group_and_what_is_there_is_divided_evenly():
    padded = ((False,) * 6 + (True,) * 6,)
    assert merged(6, rows=padded) == [[6], [9], [7], [10], [8], [11]]
    assert merged(3, rows=padded) == [[6, 9], [7, 10], [8, 11]]
    assert merged(9, rows=padded) == [[6], [9], [], [7], [10], [], [8], [11], []]
    found = members(9, rows=padded)
    assert torch.equal(log_counts(found)[0, :3], torch.tensor([0.0, 0.0, -math.inf]))
    assert torch.equal(
        means(found, torch.full((1, 12, 2), 5.0))[0, :3], torch.tensor([[5.0] * 2, [5.0] * 2, [0.0] * 2])
    )
    nothing = members(3, rows=((False,) * 12,))
    assert not nothing.any()


def test_means_are_those_of_every_group_in_every_head_and_in_the_type_given():
    values = torch.arange(24.0).view(1, 2, 12, 1)  # two heads
    assert means(members(3), values).flatten().tolist() == [4.5, 5.5, 6.5, 16.5, 17.5, 18.5]
    assert means(members(3), values.bfloat16()).dtype is torch.bfloat16


def test_equal_tokens_are_merged_without_loss_by_hand():
    """A token with score log 3 and two with score 0 have weights 3/5, 1/5 and 1/5: merged, 3/5 and 2/5."""
    one = torch.ones(1, 1, 1, 1)
    key = torch.tensor([0.0, 0.0]).view(1, 1, 2, 1)
    value = torch.tensor([10.0, 10.0]).view(1, 1, 2, 1)
    own = (one * math.log(3), one * 5)  # its own key and value
    found = groups(torch.ones(1, 2, dtype=torch.bool), 1, 1)
    assert log_counts(found).exp().tolist() == [[2.0]]
    for prefix in (
        Prefix([(key, value)], None),
        Prefix([(means(found, key), means(found, value))], None, log_counts(found)),
    ):
        attention = Attention(1, None, prefix, None, key.device)
        attended = attention(one, *own, prefix.layers[0], slice(None), torch.nn.Identity())
        assert attended.item() == pytest.approx(3 / 5 * 5 + 2 / 5 * 10)


def trained(window_steps):
    """As if trained: with the weights that it begins with, attention says next to nothing."""
    made, rng = model(2, window_steps=window_steps).requires_grad_(False), torch.Generator().manual_seed(0)
    for weights in made.transformer.parameters():
        weights.copy_(torch.randn(weights.shape, generator=rng) * (0.3 if weights.ndim == 1 else 0.7))
    return made


def acted(made, prompt, prompt_tokens=None, count=2 * K, rows=slice(None)):
    """Predictions of some steps behind prompts, of which so many tokens are remembered."""
    context = steps(Prompt, 3, count, seed=2, padded=False)[rows]
    memory, before, found = made.memory(prompt, K, prompt_tokens=prompt_tokens), None, []
    for t in range(count):
        found.append(made.act(memory, before, context.returns_to_go[:, t, 0], context.states[:, t], t))
        before = context.actions[:, t]
    return torch.stack(found, dim=1)


@FORMS
@torch.no_grad()
def test_prompts_of_equal_steps_are_merged_without_loss(window_steps):
    """In the first block, and so in a transformer of one block, tokens of equal steps and one kind are equal."""
    made = trained(window_steps)
    del made.transformer.blocks[1:]
    one = steps(Prompt, 3, 1, padded=False)
    prompt = Prompt(*(values.repeat_interleave(6, dim=1) for values in vars(one).values()))
    whole = acted(made, prompt)
    for tokens in (3, 4, 6, 9, 17):
        assert torch.allclose(acted(made, prompt, tokens), whole, atol=1e-6)
    assert not torch.allclose(acted(made, prompt, 2), whole, atol=1e-4)  # kinds differ
    assert not torch.allclose(acted(made, one), whole, atol=1e-4)  # that it is there six times counts


@FORMS
@torch.no_grad()
def test_as_many_tokens_as_there_are_change_nothing(window_steps):
    made, prompt = trained(window_steps), steps(Prompt, 3, 4, seed=1)
    for tokens in (12, 13, 1000):
        assert torch.equal(acted(made, prompt, tokens), acted(made, prompt))
    assert not torch.allclose(acted(made, prompt, 11), acted(made, prompt), atol=1e-6)


@FORMS
@torch.no_grad()
def test_neither_padding_nor_the_prompts_beside_it_change_a_prompt(window_steps):
    made, prompt = trained(window_steps), steps(Prompt, 3, 4, seed=1, padded=False)
    longer = Prompt(*(functional.pad(values, (0, 0) * (values.ndim - 2) + (3, 0)) for values in vars(prompt).values()))
    unequal = Prompt.cat([longer[[0]], steps(Prompt, 2, 7, seed=3, padded=False)])
    for tokens in (1, 3, 5, 6, 12):
        whole = acted(made, prompt, tokens)
        assert torch.allclose(acted(made, longer, tokens), whole, atol=1e-6)
        assert torch.allclose(acted(made, unequal, tokens)[0], whole[0], atol=1e-6)
        assert torch.allclose(acted(made, prompt[[1]], tokens, rows=[1])[0], whole[1], atol=1e-6)


@torch.no_grad()
def test_the_two_forms_agree_while_the_context_is_short():
    one, other = (trained(window_steps) for window_steps in (None, K))
    prompt = steps(Prompt, 3, 4, seed=1)
    for tokens in (1, 2, 3, 7, 9):
        assert torch.allclose(acted(one, prompt, tokens, K), acted(other, prompt, tokens, K), atol=1e-6)


@pytest.mark.parametrize("attention", ["published", "window"])
def test_a_rollout_with_fewer_tokens_depends_on_its_own_row_alone(point_data, attention):
    module = untrained(point_data, attention=attention)
    whole, policy = Policy(module.model, 5), Policy(module.model, 5, prompt_tokens=3)
    rows = [
        Row(task, point_data.segments(task.id).gather(np.array([[n, n + 1]])), n)
        for n, task in enumerate(point_data.heldout_tasks)
    ]
    together = rollout(policy, rows, 4)
    assert [rollout(policy, [row], 4)[0] for row in rows] == together
    assert rollout(Policy(module.model, *policy.settings), rows, 4) == together
    observations = np.zeros((3, 2))
    for one in (policy, whole):
        one.reset(Prompt.cat([row.prompt for row in rows]), np.full(3, 10.0), np.full(3, 10.0))
    assert np.abs(policy.act(observations) - whole.act(observations)).max() > 1e-6


def test_what_cannot_be_is_refused(point_data):
    module = untrained(point_data)
    with pytest.raises(UserError, match=r"`tuning.prompt_tokens`=0"):
        Policy(module.model, 5, prompt_tokens=0)
    guest = Reactive(state_size=S, action_size=A, max_timesteps=9, width=8, layers=1, heads=1, inner=8, dropout=0.0)
    with pytest.raises(UserError, match=r"`tuning.prompt_tokens`=3: the transformer tests.guests.Reactive cannot"):
        Policy(guest, 5, prompt_tokens=3)
