import json

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import save_file

from pdt_lightning.core.errors import UserError
from pdt_lightning.data.practice import returns_of
from pdt_lightning.tasks import families, make_family
from pdt_lightning.tasks.base import family_class
from pdt_lightning.tasks.learned import SHIPPED, Learned, Network

LEARNED = ("half-cheetah-vel", "half-cheetah-dir", "ant-dir")


@pytest.mark.parametrize("name", LEARNED)
def test_experts_ship_with_the_command_that_made_them(name):
    path = SHIPPED / f"{name}.safetensors"
    assert path.stat().st_size < 1_000_000
    with safe_open(path, "numpy") as file:
        about = json.loads(file.metadata()["about"])
    assert about["family"] == name
    assert about["command"] == f"python -m pdt_lightning.collect {name} --train"
    assert (about["seed"], about["steps"]) == (0, family_class(name).practice_steps)


@pytest.mark.parametrize("name", LEARNED)
def test_shipped_experts_reach_the_floor_and_medium_ones_less(name):
    family = make_family(name)
    task = family.heldout_tasks[-1]
    expert, medium = (
        returns_of(SHIPPED / f"{name}.safetensors", stage, [task], 1)[0] for stage in ("expert", "medium")
    )
    assert expert >= family.floor(task)
    assert medium < expert


def test_the_network_is_what_its_layers_say():
    mean, scale = np.array([1.0, 0.0]), np.array([2.0, 1.0])
    layers = ((np.eye(2), np.array([0.0, 0.5])), (np.array([[1.0, 1.0], [9.0, 9.0]]), np.zeros(2)))
    shown = np.array([2.0, 1e9])  # normalised and clipped: 0.5 and 10
    expected = np.tanh(0.5) + np.tanh(10.5)
    assert np.allclose(Network(mean, scale, layers)(shown), [min(1.0, expected), 1.0])
    assert np.allclose(Network(mean, scale, layers)(-shown), [max(-1.0, np.tanh(-1.5) + np.tanh(-9.5)), -1.0])


def test_dataset_ids_change_with_experts_and_shares():
    def prompts(**options):
        return make_family("half-cheetah-vel", options).heldout_tasks[0].prompt_data[0]

    ids = {
        prompts(),
        prompts(expert_share=0.2),
        prompts(expert_share=0.2, medium_share=0.4),
        prompts(medium_share=0.0, expert_share=0.5),
        prompts(training_demonstrations=7, candidate_demonstrations=6),
    }
    assert len(ids) == 5
    assert prompts(training_demonstrations=7) == prompts()


def test_another_networks_data_are_others(tmp_path):
    with safe_open(SHIPPED / "half-cheetah-vel.safetensors", "numpy") as file:
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    tensors["expert.0.bias"] = tensors["expert.0.bias"] + 1
    save_file(tensors, tmp_path / "own.safetensors")
    own, shipped = (
        make_family("half-cheetah-vel", {"experts": path}) for path in (str(tmp_path / "own.safetensors"), None)
    )
    assert not set(own.recipes) & set(shipped.recipes)


def test_mixed_candidates_come_in_order_of_skill(tmp_path, monkeypatch):
    from pdt_lightning.data import minari
    from pdt_lightning.data.collect import demonstrate

    monkeypatch.setenv("MINARI_DATASETS_PATH", str(tmp_path))
    options = {"candidate_demonstrations": 4, "expert_share": 0.25, "medium_share": 0.5, "action_noise": 0.0}
    family = make_family("half-cheetah-dir", options)
    name = family.heldout_tasks[0].prompt_data[0]
    demonstrate(family.recipes[name])
    expert, first, second, random = (float(one.rewards.sum()) for one in minari.read(name))
    assert expert > max(first, second) > random
    assert min(first, second) > random


def test_sources_name_what_the_importer_writes():
    family = make_family("half-cheetah-vel", {"training_source": "prompt-dt-prompts", "candidate_source": "prompt-dt"})
    assert family.training_tasks[2].training_data == ("prompt-dt/half-cheetah-vel/03-prompt-expert-v0",)
    assert family.heldout_tasks[1].prompt_data == ("prompt-dt/half-cheetah-vel/07-prompt-expert-v0",)
    large = make_family(
        "half-cheetah-vel", {"training_source": "prompt-dt", "candidate_source": "prompt-dt", "split": "training"}
    )
    assert large.training_tasks[2].training_data == ("prompt-dt/half-cheetah-vel/03-expert-v0",)
    assert large.heldout_tasks[2].prompt_data == ("prompt-dt/half-cheetah-vel/03-prompt-expert-v0",)


@pytest.mark.parametrize(("name", "split"), [("half-cheetah-vel", "training"), ("half-cheetah-dir", "published")])
def test_prompts_are_not_the_training_episodes(name, split):
    options = {"training_source": "prompt-dt-prompts", "candidate_source": "prompt-dt", "split": split}
    with pytest.raises(
        UserError, match=rf"candidate_source`=prompt-dt .*training_source`=prompt-dt-prompts .*split={split}"
    ):
        make_family(name, options)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"split": "publishd"}, "split`=publishd.*Did you mean published"),
        ({"split": "ood"}, "split`=ood: choose one of published, training"),
        ({"medium_share": 0.5}, "medium_share`=0.5.*expert_share`=1.0.*more than 1"),
        ({"expert_share": 0.1}, "expert_share`=0.1 of .*candidate_demonstrations`=5 rounds to no episode"),
        (
            {"expert_share": 0.4, "medium_share": 0.1},
            "medium_share`=0.1 of .*candidate_demonstrations`=5 rounds to no episode",
        ),
        ({"training_source": "minari"}, "training_source`=minari"),
        ({"candidate_source": "prompt-dt-prompts"}, "candidate_source`=prompt-dt-prompts"),
        ({"experts": "nowhere.safetensors"}, "experts`=nowhere.safetensors: there is no such file"),
        ({"experts": str(SHIPPED / "ant-dir.safetensors")}, "of another family: they see 27 numbers"),
        ({"experts": __file__}, "holds no expert"),
    ],
)
def test_bad_options_are_named(options, message):
    with pytest.raises(ValueError, match=message):
        make_family("half-cheetah-vel", options)


def test_experts_are_a_part_of_the_package():
    assert set(LEARNED) <= set(families())
    assert sorted(path.stem for path in SHIPPED.glob("*.safetensors")) == sorted(LEARNED)


def test_a_maker_is_told_from_another_by_its_weights():
    path = str(SHIPPED / "half-cheetah-vel.safetensors")
    assert Learned(path).mark != Learned(path, "medium").mark
    assert Learned(path).mark == Learned(path).mark
