import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from pdt_lightning.data.normalisation import Statistics
from pdt_lightning.data.segments import Prompt
from pdt_lightning.data.windows import Steps
from pdt_lightning.model.pdt import PromptDecisionTransformer
from tests.model import reference

S, A, K, T = 3, 2, 4, 5


def steps(kind, rows, length, seed=0, padded=True):
    rng = torch.Generator().manual_seed(seed)

    def normal(*shape):
        return torch.randn(*shape, generator=rng)

    first = torch.randint(0, length if padded else 1, (rows, 1), generator=rng)
    mask = torch.arange(length) >= first
    timesteps = torch.randint(0, 20, (rows, length), generator=rng)
    made = kind(normal(rows, length, 1), normal(rows, length, S), normal(rows, length, A), timesteps, mask)
    for values in (made.returns_to_go, made.states, made.actions):
        values[~mask] = 0
    return made


def model(heads=1, **options):
    torch.manual_seed(1)
    made = PromptDecisionTransformer(S, A, 20, width=8, layers=2, heads=heads, inner=16, **options).eval()
    made.set_statistics(Statistics(*(np.asarray(x, np.float32) for x in ([0.1, 0, -1], [2, 1, 0.5], [0, 1], [1, 3]))))
    return made


@pytest.mark.parametrize(
    ("heads", "use_return_to_go", "use_prompt"), [(1, True, True), (2, True, True), (1, False, True), (1, True, False)]
)
@torch.no_grad()
def test_it_computes_what_the_plain_reference_computes(heads, use_return_to_go, use_prompt):
    made = model(heads, use_return_to_go=use_return_to_go, use_prompt=use_prompt)
    context, prompt = steps(Steps, 4, K), steps(Prompt, 4, T, seed=1)
    actions = made(context, prompt)
    for row in range(4):
        expected = reference.actions(made, heads, context, prompt if use_prompt else None, row)
        assert torch.allclose(actions[row, context.mask[row]], expected, atol=1e-5)


@pytest.mark.parametrize("length", [1, K, K + 1, 2 * K, 3 * K + 1])
@pytest.mark.parametrize("options", [{}, {"use_return_to_go": False}, {"use_prompt": False}])
@torch.no_grad()
def test_the_window_form_computes_what_the_plain_reference_computes(options, length):
    made = model(2, window_steps=K, **options)
    context, prompt = steps(Steps, 3, length), steps(Prompt, 3, T, seed=1)
    actions = made(context, prompt)
    for row in range(3):
        expected = reference.actions(made, 2, context, None if "use_prompt" in options else prompt, row, K)
        assert torch.allclose(actions[row, context.mask[row]], expected, atol=1e-5)


@pytest.mark.parametrize("window_steps", [None, K])
@pytest.mark.parametrize("options", [{}, {"use_return_to_go": False}, {"use_prompt": False}])
@torch.no_grad()
def test_acting_step_by_step_equals_the_whole_forward_pass(window_steps, options):
    made = model(2, window_steps=window_steps, **options)
    context, prompt = steps(Steps, 3, 3 * K + 1, padded=False), steps(Prompt, 3, T, seed=1)
    context.timesteps = torch.arange(3 * K + 1).expand(3, -1)
    memory, before = made.memory(prompt, K), None
    for t in range(3 * K + 1):
        acted = made.act(memory, before, context.returns_to_go[:, t, 0], context.states[:, t], t)
        first = 0 if window_steps else max(0, t - K + 1)
        seen = Steps(*(values[:, first : t + 1] for values in vars(context).values()))
        assert torch.allclose(acted, made(seen, prompt)[:, -1], atol=1e-6)
        before = context.actions[:, t]


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    position=st.integers(0, 4 * K - 1),
    part=st.sampled_from(["returns_to_go", "states", "actions"]),
)
@torch.no_grad()
def test_a_window_reaches_its_steps_once_a_layer(seed, position, part):
    made = model(window_steps=K).double()  # what arrives over two layers may be too little for float32
    context, prompt = steps(Steps, 2, 4 * K, seed, padded=False), steps(Prompt, 2, T, seed + 1)
    for values in (context, prompt):
        for name in ("returns_to_go", "states", "actions"):
            setattr(values, name, getattr(values, name).double())
    before = made(context, prompt)
    getattr(context, part)[:, position] += 1.0
    changed = (made(context, prompt) - before).abs().amax(dim=(0, 2)) > 0
    first = position + 1 if part == "actions" else position
    last = position + 2 * (K - 1)  # two layers
    assert not changed[:first].any()
    assert changed[first : last + 1].all()
    assert not changed[last + 1 :].any()


@settings(deadline=None, max_examples=25)
@given(
    seed=st.integers(0, 1000),
    position=st.integers(0, K - 1),
    part=st.sampled_from(["returns_to_go", "states", "actions"]),
)
@torch.no_grad()
def test_nothing_later_reaches_an_action(seed, position, part):
    made = model()
    context, prompt = steps(Steps, 2, K, seed, padded=False), steps(Prompt, 2, T, seed + 1)
    before = made(context, prompt)
    getattr(context, part)[:, position] += 1.0
    changed = (made(context, prompt) - before).abs().amax(dim=(0, 2)) > 0
    # An action follows its state and return-to-go; its own token is known only to the steps after it.
    first = position + 1 if part == "actions" else position
    assert not changed[:first].any()
    assert changed[first:].all()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 1000))
@torch.no_grad()
def test_what_stands_in_the_padding_changes_nothing(seed):
    made = model()
    context, prompt = steps(Steps, 3, K, seed), steps(Prompt, 3, T, seed + 1)
    before = made(context, prompt)[context.mask]
    for padded in (context, prompt):
        padded.states[~padded.mask] = 7.0
        padded.actions[~padded.mask] = -3.0
        padded.returns_to_go[~padded.mask] = 5.0
        padded.timesteps[~padded.mask] = 11
    assert torch.equal(made(context, prompt)[context.mask], before)


@torch.no_grad()
def test_a_longer_window_that_is_padding_alone_changes_nothing():
    made, context, prompt = model(), steps(Steps, 3, K, padded=False), steps(Prompt, 3, T)
    longer = steps(Steps, 3, K + 3)
    for name, values in vars(longer).items():
        values.zero_()
        values[:, 3:] = getattr(context, name)
    assert torch.allclose(made(longer, prompt)[:, 3:], made(context, prompt), atol=1e-6)


@torch.no_grad()
def test_the_prompt_matters_only_where_it_is_used():
    context, one, other = steps(Steps, 2, K), steps(Prompt, 2, T, 1), steps(Prompt, 2, T, 2)
    assert not torch.equal(model()(context, one), model()(context, other))
    without = model(use_prompt=False)
    assert torch.equal(without(context, one), without(context, other))


@torch.no_grad()
@pytest.mark.parametrize("use_return_to_go", [True, False])
def test_encoding_is_the_hidden_state_at_the_final_action(use_return_to_go):
    made, segments = model(use_return_to_go=use_return_to_go), steps(Prompt, 5, 3, padded=False)
    tokens, valid = made.tokens(made.embed_prompt, segments)
    encoded = made.encode(segments.singly(), torch.arange(5) * 3, 3)
    assert torch.allclose(encoded, made.transformer(tokens, valid)[:, -1], atol=1e-6)


def test_actions_stay_within_the_action_box():
    actions = model()(steps(Steps, 50, K), steps(Prompt, 50, T))
    low, high = torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 4.0])
    assert (actions >= low).all()
    assert (actions <= high).all()
