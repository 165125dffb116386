import pytest

from pdt_lightning.tuners import generated


@pytest.fixture
def segments(point_data):
    """The arms of one held-out goal."""
    return point_data.segments("point/03")


@pytest.fixture(autouse=True)
def quick_denoiser(monkeypatch):
    """One that has learned little of the training tasks' segments; the cache knows it from a whole one."""
    monkeypatch.setattr(generated, "UPDATES", 20)
    monkeypatch.setattr(generated, "FIT_UPDATES", 5)
