import pytest


@pytest.fixture
def segments(point_data):
    """The arms of one held-out goal."""
    return point_data.segments("point/03")
