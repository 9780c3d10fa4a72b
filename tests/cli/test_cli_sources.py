"""Sources that are named on the command line, and the code that opens them."""

import pytest

from twinlab.cli.sources import write_code
from twinlab.schema import InputError


def test_code_names_a_cortex_once_where_twin_and_recording_share_it():
    assert write_code("simulated:3", "simulated:3", first=False).splitlines() == [
        "from twinlab.simulation import SimulatedCortex",
        "cortex = SimulatedCortex(3)",
        "twin = cortex.as_twin()",
        "recording = cortex.record()",
    ]
    with pytest.raises(InputError, match="must be a whole number, but is 'x'"):
        write_code("a/twin", "simulated-video:x", first=False)


def test_code_opens_the_first_member_of_what_lies_in_a_folder():
    assert write_code("a/twin", "", first=True).splitlines() == [
        "members = list(twins.load_twin('a/twin').members)",
        "twin = members[0]",
    ]
