import pytest

from pdt_lightning.commands import configurations
from pdt_lightning.commands.configurations import configuration_path, shipped
from pdt_lightning.core.errors import UserError
from tests.processes import ROOT


def test_the_shipped_ones_are_those_of_conf():
    assert shipped() == sorted(path.name for path in (ROOT / "conf").iterdir())
    assert configurations.FOLDER == ROOT / "conf"


def test_a_file_that_is_there_comes_before_a_shipped_one(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert configuration_path("point.yaml") == str(ROOT / "conf" / "point.yaml")
    (tmp_path / "point.yaml").write_text("seed: 3")
    assert configuration_path("point.yaml") == "point.yaml"
    assert configuration_path("pdt_lightning:point.yaml") == str(ROOT / "conf" / "point.yaml")


@pytest.mark.parametrize(
    "given", ["piont.yaml", "pdt_lightning:piont.yaml", "conf/point.yml", "point", "pdt_lightning:"]
)
def test_an_unknown_name_is_refused_with_the_known_ones(given, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError) as refused:
        configuration_path(given)
    assert str(refused.value).startswith(f"--config={given}: ")
    assert all(name in str(refused.value) for name in shipped())


@pytest.mark.parametrize(
    "flags", [["--config", "point.yaml"], ["--config=point.yaml"], ["-c", "pdt_lightning:point.yaml"]]
)
def test_the_command_takes_a_name_in_every_form(flags, tmp_path, monkeypatch, capsys):
    from pdt_lightning import fit

    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit) as end:
        fit.main([*flags, "--config={seed: 5}", "--print_config"])
    assert end.value.code == 0
    printed = capsys.readouterr().out
    assert "family: point" in printed
    assert "\nseed: 5" in printed
