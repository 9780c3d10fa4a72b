"""Readers of public layouts, one file each, from what is on the disk to a `Reading`."""

from twinlab.recordings.layouts import (
    allen_nwb1,
    antolik2016,
    cadena2019,
    cowley2023,
    experanto,
    minimodel2024,
    nwb2,
    sensorium_dynamic,
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
    "sensorium-dynamic": sensorium_dynamic.LAYOUT,
    "allen-nwb1": allen_nwb1.LAYOUT,
    "nwb2": nwb2.LAYOUT,
    "experanto": experanto.LAYOUT,
}
