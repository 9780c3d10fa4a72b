"""Readers of public layouts, one file each, from what is on the disk to a `Reading`."""

from twinlab.recordings.layouts import (
    allen_nwb1,
    experanto,
    nwb2,
    sensorium_dynamic,
    sensorium_static,
)
from twinlab.recordings.reading import Layout

__all__ = ["LAYOUTS"]

# As manifests name them; the first that recognises a path reads it.
LAYOUTS: dict[str, Layout] = {
    "sensorium-static": sensorium_static.LAYOUT,
    "sensorium-dynamic": sensorium_dynamic.LAYOUT,
    "allen-nwb1": allen_nwb1.LAYOUT,
    "nwb2": nwb2.LAYOUT,
    "experanto": experanto.LAYOUT,
}
