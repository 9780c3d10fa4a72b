"""Readers of public layouts, one file each, from what is on the disk to a `Reading`."""

from twinlab.recordings.layouts import (
    antolik2016,
    cadena2019,
    cowley2023,
    minimodel2024,
    sensorium_static,
    stringer2018,
)
from twinlab.recordings.reading import Layout

__all__ = ["LAYOUTS"]

# As manifests name them; the first that recognises a path reads it.
LAYOUTS: dict[str, Layout] = {
    "sensorium-static": sensorium_static.LAYOUT,
    "cadena2019": cadena2019.LAYOUT,
    "stringer2018": stringer2018.LAYOUT,
    "minimodel2024": minimodel2024.LAYOUT,
    "cowley2023": cowley2023.LAYOUT,
    "antolik2016": antolik2016.LAYOUT,
}
