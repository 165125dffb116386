"""Generated segments beside the demonstrated ones, drawn in the plane in which the demonstrated ones vary most."""

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import PathCollection
from matplotlib.colors import Normalize

from pdt_lightning.tuning.record import Record

MOST_POINTS = 3000  # demonstrated segments that are drawn


def draw_generated(axis: Axes, record: Record) -> PathCollection:
    """Every segment as a point: demonstrated ones small, generated ones as circles; all coloured by return-to-go.

    Gives what the colours can be read off from.
    """
    assert record.plane is not None
    count = len(record.plane) - record.generated
    own = np.arange(count)[:: -(-count // MOST_POINTS)]
    to_go = record.plane[:, 2]
    norm = Normalize(float(to_go.min()), float(to_go.max()))
    x, y = record.plane[own, 0], record.plane[own, 1]
    points = axis.scatter(x, y, s=9, c=to_go[own], norm=norm, alpha=0.5, lw=0, label=f"demonstrated ({count})")
    x, y, label = record.plane[count:, 0], record.plane[count:, 1], f"generated ({record.generated})"
    axis.scatter(x, y, s=42, c=to_go[count:], norm=norm, lw=0.9, edgecolors="black", label=label)
    axis.set_xlabel("first principal component of the demonstrated segments")
    axis.set_ylabel("second")
    return points
