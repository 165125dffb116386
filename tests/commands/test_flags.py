"""Options by two names: fields in the library, flags in the commands; what `--help` and Python say of their types."""

import ast
import re
from pathlib import Path

import pytest

from pdt_lightning import compare, fit, tune
from pdt_lightning.commands.flags import COLLECT, COMPARE, FIT, TUNE, flags_of
from pdt_lightning.core.errors import UserError
from pdt_lightning.data.datamodule import MultiTaskDataModule
from pdt_lightning.model.lit_pdt import LitPDT
from pdt_lightning.tuning.options import TuningOptions

PACKAGE = Path(fit.__file__).parent


def texts(path):
    """The strings of a file, those of an f-string as one, without docstrings."""
    tree = ast.parse(path.read_text())
    parents = {child: node for node in ast.walk(tree) for child in ast.iter_child_nodes(node)}
    for node in ast.walk(tree):
        if isinstance(node, ast.JoinedStr):
            yield "".join(part.value if isinstance(part, ast.Constant) else "{}" for part in node.values)
        elif isinstance(node, ast.Constant) and not isinstance(parents[node], ast.Expr | ast.JoinedStr):
            yield str(node.value)


def test_the_library_knows_no_flags():
    """Where a whole command is the way out, it stands as it is typed."""
    found = {
        f"{path.relative_to(PACKAGE)}: {text}"
        for path in PACKAGE.glob("*/**/*.py")
        for text in texts(path)
        if path.parts[-2] != "commands" and re.search(r"(?<![\w-])--[a-z]", text) and "pdt_lightning." not in text
    }
    assert found == {"core/errors.py: --debug"}  # which every command takes


@pytest.mark.parametrize(
    ("names", "field", "flag"),
    [
        (FIT, "`data.family_options.horizon`=0", "--data.family_options.horizon=0"),
        (FIT, "`ckpt_path`=x", "--ckpt_path=x"),
        (FIT, "`num_nodes` of Lightning's", "`num_nodes` of Lightning's"),
        (TUNE, "`tuning.tuner_options.credit`=x", "--tuner_options.credit=x"),
        (TUNE, "`data.family_options.horizon`=0", "--family_options.horizon=0"),
        (TUNE, "`model.width`=0", "`model.width`=0"),  # which is no option of its
        (COMPARE, "`comparison.seeds`=0", "--seeds=0"),
        (COLLECT, "`data.family`=pont", "family=pont"),
        (COLLECT, "`data.family_options.horizon`=0", "--family_options.horizon=0"),
    ],
)
def test_each_command_writes_fields_as_its_flags(names, field, flag):
    assert flags_of(names)(field) == flag


def helped(capsys, command, *args):
    with pytest.raises(SystemExit):
        command.main([*args, "--help"])
    return " ".join(capsys.readouterr().out.split())


def test_help_shows_ranges_and_choices(capsys):
    shown = helped(capsys, fit)
    for words in (
        "(type: int>=1, default: 128)",
        "(type: 0<=float<1, default: 0.1)",
        "--model.schedule {constant,cosine}",
        "(type: 1<=int<=1_024 | null, default: null)",
        "--tuning.objective {auto,return,success",
        "(type: 0<=int<=1_000_000, default: 100)",
    ):
        assert words in shown
    for command in (tune, compare):
        assert "--precision {32-true,bf16-true}" in helped(capsys, command)


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (lambda: LitPDT(2, 2, 30, width=0), "`model.width`=0: it has to be at least 1."),
        (
            lambda: LitPDT(2, 2, 30, schedule="cosin"),
            "`model.schedule`=cosin: choose one of constant, cosine. Did you",
        ),
        (lambda: LitPDT(2, 2, 30, dropout=float("nan")), "`model.dropout`=nan: it has to be at least 0 and below 1."),
        (
            lambda: MultiTaskDataModule("point", batch_size=0),
            "`data.batch_size`=0: it has to be at least 1 and at most",
        ),
        (lambda: TuningOptions(rounds=-1), "`tuning.rounds`=-1: it has to be at least 0 and at most 1,000,000."),
    ],
)
def test_python_is_told_of_the_same_ranges(made, message):
    with pytest.raises(UserError, match=re.escape(message)):
        made()


def test_values_are_plain_numbers(tmp_path):
    """Checkpoints hold no classes of a parser."""
    options = fit_options("--model.width=16", "--model.learning_rate=1", "--data.validation_share=2e-1")
    for group, name, value in (
        ("model", "width", 16),
        ("model", "learning_rate", 1.0),
        ("data", "validation_share", 0.2),
    ):
        assert (type(options[group][name]), options[group][name]) == (type(value), value)


def fit_options(*args):
    from jsonargparse import ArgumentParser

    parser = ArgumentParser(exit_on_error=False, parser_mode="omegaconf+")
    parser.add_class_arguments(LitPDT, "model")
    parser.add_class_arguments(MultiTaskDataModule, "data")
    return parser.parse_args([*args, "--model.state_size=2", "--model.action_size=2", "--model.max_timesteps=30"])
