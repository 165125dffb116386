import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from pdt_lightning.data.segments import Prompt, Segments
from tests.data.test_windows import episodes


def segments(steps=3):
    return Segments(episodes().of_task(1), steps)


def test_all_windows_are_arms():
    arms = segments()
    assert len(arms) == 5 + 1
    assert list(zip(arms.episode.tolist(), arms.start.tolist(), strict=True)) == [
        (0, 0),
        (0, 1),
        (0, 2),
        (0, 3),
        (0, 4),
        (1, 0),
    ]


def test_prompts_join_their_segments_in_order():
    prompts = segments().gather(np.array([[4, 5], [0, 0]]))
    assert prompts.states.shape == (2, 6, 2)
    assert prompts.states[0].tolist() == [[2, 4], [2, 5], [2, 6], [3, 0], [3, 1], [3, 2]]
    assert prompts.timesteps.tolist() == [[4, 5, 6, 0, 1, 2], [0, 1, 2, 0, 1, 2]]
    assert prompts.mask.all()


def test_laid_out_each_segment_is_where_it_is_said_to_begin():
    for task, steps in ((0, 2), (1, 3)):
        arms = Segments(episodes().of_task(task), steps)
        rows, first = arms.laid_out()
        whole = arms.gather(np.arange(len(arms))[:, None])
        for name, values in vars(rows).items():
            windows = torch.stack([values[a : a + steps, 0] for a in first])
            assert torch.equal(windows, getattr(whole, name)), name


def test_one_prompt_for_all_and_a_prompt_each_are_told_apart():
    # The public code takes a prompt for "one for all" when J·H happens to equal K.
    assert len(segments(1).gather(np.arange(7)[:, None])) == 7


def test_demonstrations_shorter_than_a_segment_are_refused_with_the_option():
    with pytest.raises(ValueError, match=r"segments of 8 steps.*pick has 7\. Lower `data.segment_steps`"):
        Segments(episodes(), 8, "pick")


def test_a_prompt_is_saved_and_loaded_with_its_origin(tmp_path):
    prompt = segments().gather(np.array([[1, 5]]))
    prompt.save(tmp_path / "a" / "b.safetensors", segments().describe(1))
    loaded, origin = Prompt.load_with_origin(tmp_path / "a" / "b.safetensors")
    assert origin == "steps 2-4 of demonstration 1"
    assert all(torch.equal(getattr(loaded, name), getattr(prompt, name)) for name in vars(prompt))
    assert torch.equal(Prompt.load(tmp_path / "a" / "b.safetensors").states, prompt.states)
    assert [path.name for path in (tmp_path / "a").iterdir()] == ["b.safetensors"]
    first = (tmp_path / "a" / "b.safetensors").read_bytes()
    for _ in range(8):
        prompt.save(tmp_path / "c", segments().describe(1))
        assert (tmp_path / "c").read_bytes() == first


@pytest.mark.parametrize("kept", [{"origin": '["here", "there"]'}, {"facts": '{"origin": ["here", "there"]}'}])
def test_a_prompt_of_an_earlier_version_is_loaded(tmp_path, kept):
    prompt = segments().gather(np.array([[1, 5]]))
    save_file(vars(prompt), tmp_path / "old", metadata=kept)
    loaded, facts = Prompt.load_with_facts(tmp_path / "old")
    assert facts == {"origin": "here; there"}
    assert torch.equal(loaded.states, prompt.states)


def test_what_is_no_prompt_is_named(tmp_path):
    (tmp_path / "x.safetensors").write_text("nonsense")
    with pytest.raises(ValueError, match=r"x.safetensors is no prompt"):
        Prompt.load(tmp_path / "x.safetensors")
