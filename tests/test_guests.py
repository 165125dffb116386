"""What an option names may be a user's own class, by its path: through all commands, on two ranks, and resumed."""

import csv
import json

import numpy as np
import pytest
import torch

import pdt_lightning
from pdt_lightning import collect, compare, fit, tune
from pdt_lightning.callbacks import PromptTuning
from pdt_lightning.core.errors import UserError
from pdt_lightning.model.checkpoints import load_module, read
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.tuners import TUNERS, tuner_class
from pdt_lightning.tuning.options import TuningOptions
from tests import guests
from tests.conftest import POINT_FLAGS, SMALL
from tests.processes import command

MINE = ["--tuning.tuner=tests.guests.Every", "--tuning.tuner_options.stride=5"]


def every_fifth(point_data, task):
    """In words, what eight rounds of `Every` try in both slots."""
    describe = point_data.segments(task).describe
    return [f"{describe(5 * n)}; {describe(5 * n)}" for n in range(8)]


def tried(file):
    with file.open(newline="") as text:
        rows = list(csv.DictReader(text))
    return [(row["phase"], row["task"], row["prompt"]) for row in rows], {row["tuner"] for row in rows}


@pytest.fixture(scope="module")
def trained(tmp_path_factory, point_data):
    folder = tmp_path_factory.mktemp("guests")
    command("fit", *POINT_FLAGS, *MINE, "--name=run", f"--trainer.default_root_dir={folder}", "--trainer.max_epochs=1")
    return folder


def test_a_run_tunes_by_it_and_goes_on_by_it(trained, point_data):
    folder = trained / "run" / "version_0"
    rows, tuners = tried(folder / "tuning.csv")
    assert tuners == {"tests.guests.Every"}
    assert [own for _, task, own in rows if task == "point/03"] == every_fifth(point_data, "point/03")
    assert "stride: 5" in (folder / "config.yaml").read_text()
    saved = read(folder / "checkpoints" / "last.ckpt")["callbacks"]
    options = next(state["options"] for name, state in saved.items() if name.startswith("PromptTuning"))
    assert (options["tuner"], options["tuner_options"]) == ("tests.guests.Every", {"stride": 5})
    flags = [*POINT_FLAGS, *MINE, "--name=run", f"--trainer.default_root_dir={trained}", "--trainer.max_epochs=2"]
    command("fit", *flags, "--ckpt_path=last", "--config=conf/ddp.yaml", "--trainer.accelerator=cpu")
    again, _ = tried(folder / "tuning.csv")
    assert again[: len(rows)] == rows
    assert sorted(again[len(rows) :]) == sorted(("1", task, own) for _, task, own in rows)


def test_tune_and_compare_find_it_again(trained, point_data, tmp_path):
    checkpoint = trained / "run" / "version_0" / "checkpoints" / "last.ckpt"
    command("tune", f"--ckpt_path={checkpoint}", f"--out={tmp_path / 'tuned'}", "--tasks=[point/03]")
    rows, tuners = tried(tmp_path / "tuned" / "tuning.csv")
    assert tuners == {"tests.guests.Every"}
    assert [own for _, _, own in rows] == every_fifth(point_data, "point/03")
    command(
        "tune",
        f"--ckpt_path={checkpoint}",
        f"--out={tmp_path / 'other'}",
        "--tasks=[point/03]",
        "--tuner=random_search",
    )
    assert tried(tmp_path / "other" / "tuning.csv")[1] == {"random_search"}
    names = [
        "structured",
        "tests.guests.Every:stride=3",
        "structured:reward_model=tests.guests.Flat,features=tests.guests.first_state",
    ]
    flags = [
        "--rounds=4",
        "--seeds=1",
        "--verdict_episodes=2",
        "--oracle_candidates=2",
        "--workers=1",
        "--tasks=[point/03]",
    ]
    command("compare", f"--ckpt_path={checkpoint}", f"--out={tmp_path / 'compared'}", "--tuners", *names, *flags)
    assert set(names) < set(json.loads((tmp_path / "compared" / "summary.json").read_text())["tuners"])


def test_an_engine_of_a_users_plays_and_finds_the_same(trained, tmp_path):
    checkpoint = trained / "run" / "version_0" / "checkpoints" / "last.ckpt"
    flags = [f"--ckpt_path={checkpoint}", "--tasks=[point/03]", "--verdict_episodes=9"]
    found = []
    for name in ("pool", "tests.guests.Backwards"):
        guests.Backwards.played = 0
        tune.main([*flags, f"--engine={name}", f"--out={tmp_path / name}"])
        found.append((tmp_path / name / "tuning.csv").read_bytes())
    assert found[0] == found[1]
    assert guests.Backwards.played > 2 + 8 + 9 + 9  # with what went wrong and was played again
    compared = [*flags[:2], "--tuners=random_search", "--rounds=4", "--seeds=1", "--oracle_candidates=2", "--workers=1"]
    compare.main([*compared, "--engine=tests.guests.Backwards", f"--out={tmp_path / 'compared'}"])
    assert json.loads((tmp_path / "compared" / "plan.json").read_text())["engine"] == "tests.guests.Backwards"


def test_a_run_may_play_by_an_engine_of_a_users_and_tune_does_as_it_did(tmp_path, point_data):
    flags = ["--tuning.engine=tests.guests.Backwards", "--trainer.max_epochs=1", "--name=run"]
    command("fit", *POINT_FLAGS, *flags, f"--trainer.default_root_dir={tmp_path}")
    checkpoint = tmp_path / "run" / "version_0" / "checkpoints" / "last.ckpt"
    assert tune.parsed([f"--ckpt_path={checkpoint}"]).engine == "tests.guests.Backwards"


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("ray", "`tuning.engine`=ray: choose one of pool, or give the path of a class"),
        ("tests.guests.Flat", "is not derived from pdt_lightning.rollouts.engine.RolloutEngine"),
    ],
)
def test_an_engine_that_is_none_is_refused_by_name(name, words):
    with pytest.raises(UserError, match=words):
        PromptTuning(engine=name)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (
            {"tuner": "tests.guests.Every", "tuner_options": {"strid": 2}},
            "strid` is not an option of tests.guests.Every. It takes: stride.",
        ),
        ({"tuner": "tests.guests.Every", "tuner_options": {"stride": "far"}}, "`tuning.tuner_options.stride`"),
        (
            {"tuner": "tests.guests.Unfinished"},
            "tests.guests.Unfinished lacks _best, which .*SegmentTuner|.*Tuner asks for",
        ),
        ({"tuner": "tests.guests.Flat"}, "is not derived from pdt_lightning.tuners.base.Tuner"),
        ({"tuner": "tests.guests.Nobody"}, "cannot be imported: AttributeError"),
        ({"tuner": "no_such_package.Mine"}, "cannot be imported: ModuleNotFoundError"),
        (
            {"tuner_options": {"reward_model": "tests.guests.Every"}},
            "not derived from pdt_lightning.tuners.reward_models.RewardModel",
        ),
        (
            {"tuner_options": {"exploration": "tests.guests.Flat"}},
            "not derived from pdt_lightning.tuners.exploration.Exploration",
        ),
        ({"tuner_options": {"features": "tests.guests.np"}}, "is a module, which cannot be called"),
    ],
)
def test_what_does_not_fit_is_refused_by_name(options, words):
    with pytest.raises(UserError, match=words):
        TuningOptions(**options)


def test_a_run_trains_a_transformer_of_a_users_and_goes_on_with_it_on_two_ranks(tmp_path, point_data):
    mine = ["--model.transformer=tests.guests.Reactive", "--model.transformer_options.hidden=12"]
    short = [*POINT_FLAGS, "--name=run", f"--trainer.default_root_dir={tmp_path}", "--tuning.rounds=2"]
    command("fit", *short, *mine, "--trainer.max_epochs=1")
    folder = tmp_path / "run" / "version_0"
    checkpoint = folder / "checkpoints" / "last.ckpt"
    assert "hidden: 12" in (folder / "config.yaml").read_text()
    saved = read(checkpoint)
    assert saved["hyper_parameters"]["transformer_options"] == {"hidden": 12}
    assert saved["state_dict"]["model.transformer.0.weight"].shape == (12, 32)
    two = ["--config=conf/ddp.yaml", "--trainer.accelerator=cpu"]  # ranks; it goes on the same with any number of them
    done = command("fit", *short, *mine, "--trainer.max_epochs=2", "--ckpt_path=last", *two)
    assert "after update 3 in epoch 0" in done.stdout
    assert read(checkpoint)["global_step"] == 6
    assert {row for row, *_ in tried(folder / "tuning.csv")[0]} == {"0", "1"}  # phases
    refused = command("fit", *short, "--trainer.max_epochs=3", "--ckpt_path=last", check=False)
    assert "--model.transformer=tests.guests.Reactive, now pdt" in refused.stderr
    command("tune", f"--ckpt_path={checkpoint}", f"--out={tmp_path / 'tuned'}", "--tasks=[point/03]", "--workers=1")
    assert json.loads((tmp_path / "tuned" / "summary.json").read_text())["tasks"]["point/03"]["tuned"]
    refused = command("tune", f"--ckpt_path={checkpoint}", "--prompt_tokens=3", check=False)
    assert "--prompt_tokens=3: the transformer tests.guests.Reactive cannot merge" in refused.stderr
    policy = pdt_lightning.load(checkpoint, prompt=folder / "prompts" / "point" / "03.safetensors")
    policy.reset()
    assert policy.act(np.zeros(2, np.float32)).shape == (2,)


def test_a_transformer_of_a_users_has_the_kind_of_action_that_the_data_have():
    assert LitPDT(2, 2, 30, **SMALL, transformer="tests.guests.OfBoxes").model.hidden == 8
    made = LitPDT(2, 2, 30, **SMALL, transformer="tests.guests.Reactive", action_choices=[2])
    assert made.model.actions.options == [2]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"transformer": "tests.guests.Every"}, "not derived from pdt_lightning.model.pdt.PromptDecisionTransformer"),
        (
            {"transformer": "pdtt"},
            "`model.transformer`=pdtt: choose one of pdt, or give the path of a class.*Did you mean pdt",
        ),
        (
            {"transformer_options": {"hidden": 3}},
            "`model.transformer_options.hidden` is not an option of pdt. It takes none.",
        ),
        (
            {"transformer": "tests.guests.Reactive", "transformer_options": {"hiden": 3}},
            "It takes: hidden. Did you mean hidden",
        ),
        (
            {"transformer": "tests.guests.Reactive", "transformer_options": {"hidden": "x"}},
            "hidden`=x: it has to be an int",
        ),
        (
            {"transformer": "tests.guests.Reactive", "transformer_options": {"hidden": -1}},
            "Reactive: it fails: RuntimeError",
        ),
        ({"transformer": "tests.guests.Crooked"}, r"its act gives \(2, 1\) where \(2, 2\) is needed"),
        (
            {"transformer": "tests.guests.OfBoxes", "action_choices": [2]},
            "OfBoxes: it fails: TypeError: .*unexpected keyword argument 'action_choices'. Mend it",
        ),
        ({"transformer": "tests.guests.Broken"}, "Broken: encode fails: KeyError: 'segments'"),
    ],
)
def test_a_transformer_that_does_not_fit_is_refused_by_name(options, words):
    with pytest.raises(UserError, match=words):
        LitPDT(2, 2, 30, **SMALL, **options)


def test_a_checkpoint_whose_transformer_is_not_installed_says_so(tmp_path):
    content = {"hyper_parameters": {"state_size": 2, "action_size": 2, "max_timesteps": 30, "transformer": "gone.Mine"}}
    torch.save({**content, "state_dict": {}}, tmp_path / "a.ckpt")
    with pytest.raises(UserError, match=r"`model\.transformer`=gone\.Mine cannot be imported"):
        load_module(tmp_path / "a.ckpt")


def test_installed_packages_add_tuners_by_entry_point(monkeypatch):
    class Entry:
        name = "every"

        def load(self):
            from tests.guests import Every

            return Every

    asked = []
    monkeypatch.setattr("pdt_lightning.core.guests.entry_points", lambda group: asked.append(group) or [Entry()])
    assert tuner_class("every").__name__ == "Every"
    assert asked == ["pdt_lightning.tuners"]
    with pytest.raises(UserError, match=r"choose one of .*uniform, every.*Did you mean every\?"):
        tuner_class("evry")


@pytest.mark.parametrize("name", TUNERS)
def test_no_tuner_takes_what_only_another_one_understands(name):
    with pytest.raises(UserError, match=f"nonsense` is not an option of {name}"):
        tuner_class(name).check(name, {"nonsense": 1})


@pytest.mark.parametrize(
    ("main", "args", "section", "option"),
    [
        (
            fit.main,
            MINE[:1],
            "--tuning.tuner=tests.guests.Every",
            "--tuning.tuner_options.stride STRIDE segments from one",
        ),
        (tune.main, ["--tuner", "tests.guests.Every"], "--tuner=tests.guests.Every", "--tuner_options.stride STRIDE"),
        (tune.main, [], "--tuner=structured", "--tuner_options.credit {own,whole} `own`: one model"),
        (
            tune.main,
            ["--tuner=hill_climbing"],
            "--tuner=hill_climbing",
            "--tuner_options.sigma SIGMA standard deviation of the noise, in normalised units. (type: float>0, "
            "default: 1.0)",
        ),
        (
            compare.main,
            ["--tuners", "structured:credit=whole", "tests.guests.Every:stride=3"],
            "--tuners=tests.guests.Every:NAME=VALUE",
            "stride STRIDE segments from one",
        ),
        (compare.main, [], "--tuners=zo_rank_sgd:NAME=VALUE", "rollouts ROLLOUTS `m`, of a step. (type: int>=1"),
        (
            fit.main,
            ["--data.family=point"],
            "--data.family=point",
            "--data.family_options.expert_share EXPERT_SHARE share of expert demonstrations among the candidates; the "
            "rest acts at random. (type: 0<=float<=1",
        ),
        (
            collect.main,
            ["half-cheetah-vel"],
            "--family=half-cheetah-vel",
            "--family_options.candidate_source {collected,prompt-dt} `collected` or",
        ),
        (
            fit.main,
            ["--model.transformer=tests.guests.Reactive"],
            "--model.transformer=tests.guests.Reactive",
            "--model.transformer_options.hidden HIDDEN width of the perceptron. (type: int, default: 8)",
        ),
    ],
)
@pytest.mark.filterwarnings("ignore::jsonargparse._deprecated.JsonargparseDeprecationWarning")
def test_help_shows_the_options_of_what_is_named(main, args, section, option, capsys):
    with pytest.raises(SystemExit) as end:
        main([*args, "--help"])
    assert not end.value.code
    shown = " ".join(capsys.readouterr().out.split())
    assert f"Options of {section}: " in shown
    assert option in shown.split(f"Options of {section}: ")[1]
