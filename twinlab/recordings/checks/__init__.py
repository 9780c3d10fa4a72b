"""Everything that is wrong with a recording, or would mislead: what, where, how bad, what to do.

Each check is a function of one `Case` (a recording and its survey) that yields findings, and a
line in `CHECKS`. It is silent on a sound recording.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from os import PathLike

import xarray as xr

from twinlab.jobs import Job
from twinlab.recordings.checks.alignment import check_alignment
from twinlab.recordings.checks.findings import SEVERITIES, Case, Finding
from twinlab.recordings.checks.responses import (
    check_constant_neurons,
    check_doubled_neurons,
    check_drift,
    check_infinite_responses,
    check_missing_responses,
    check_normalisation,
    check_outliers,
    check_sign,
    check_silent_trials,
    check_units,
)
from twinlab.recordings.checks.splits import (
    check_doubles,
    check_leakage,
    check_near_duplicates,
    check_repeats,
    check_sizes,
    check_withheld,
)
from twinlab.recordings.checks.stimuli import (
    check_constant_stimuli,
    check_missing_pixels,
    check_pixel_range,
    check_pixel_type,
)
from twinlab.recordings.checks.survey import survey_recording, survey_responses
from twinlab.recordings.opening import (
    SessionError,
    choose_neurons,
    locate_source,
    read_layout,
)
from twinlab.recordings.reading import Notes, listed
from twinlab.recordings.store import is_store, open_store, verify_store
from twinlab.schema import InputError, make_recording, recording_faults

__all__ = [
    "CHECKS",
    "SEVERITIES",
    "Finding",
    "check_recording",
    "survey_recording",
    "survey_responses",
]

CHECKS: dict[str, Callable[[Case], Iterable[Finding]]] = {
    "leakage": check_leakage,
    "doubles": check_doubles,
    "near duplicates": check_near_duplicates,
    "split sizes": check_sizes,
    "repeats": check_repeats,
    "withheld": check_withheld,
    "pixel range": check_pixel_range,
    "pixel type": check_pixel_type,
    "constant stimuli": check_constant_stimuli,
    "missing pixels": check_missing_pixels,
    "alignment": check_alignment,
    "units": check_units,
    "missing responses": check_missing_responses,
    "silent trials": check_silent_trials,
    "constant neurons": check_constant_neurons,
    "doubled neurons": check_doubled_neurons,
    "sign": check_sign,
    "outliers": check_outliers,
    "normalisation": check_normalisation,
    "drift": check_drift,
}
REPAIR = "repair the file, or fetch the recording again"


def check_recording(
    source: str | PathLike[str] | xr.Dataset,
    session: str | None = None,
    job: Job | None = None,
    *,
    survey: xr.Dataset | None = None,
) -> list[Finding]:
    """Find everything that is wrong with a recording or would mislead.

    Nothing is extracted and nothing is written. Stimuli and responses that are read lazily are
    gone through in pieces.

    Parameters
    ----------
    source : path, str or xarray.Dataset
        What `open_recording` takes, or a recording in memory.
    session : str, optional
        Which session, where the source has several.
    job : Job, optional
    survey : xarray.Dataset, optional
        What `survey_recording` found, where it was made already.

    Returns
    -------
    list of Finding
        What keeps it from being opened or used (errors) first, then what would mislead
        (warnings), then notes; empty if nothing.

    Raises
    ------
    InputError
        If there is no such source, or it holds several sessions and none is named: then there
        is nothing to check.

    Examples
    --------
    >>> from twinlab.simulation import SimulatedCortex
    >>> recording = SimulatedCortex(n_neuron=20).record(n_train=100, n_test=20, n_validation=20)
    >>> check_recording(recording)
    []
    >>> recording.response[:, 3] = 0
    >>> [str(finding) for finding in check_recording(recording)]
    ['neuron 3: 1 of 20 neurons never change']

    """
    job = job or Job()
    findings: list[Finding] = []
    faults = cautions = Notes()
    if isinstance(source, xr.Dataset):
        recording = source
    else:
        path, session = locate_source(source, session)
        try:
            if is_store(path):
                recording = open_store(path)
                verify_store(path, recording)
                recording = choose_neurons(path, recording, session)
            else:
                reading = read_layout(path, session, job.part(0, 0.5))
                faults, cautions = reading.faults, reading.cautions
                if not faults:
                    recording = make_recording(**reading.parts)
        except SessionError:
            raise
        except InputError as error:
            return [_refusal(str(source), str(error))]
    if not faults:
        wrong = recording_faults(recording)
        findings = [Finding(fault, "", "error") for fault in wrong]
        if not wrong:
            findings = _run_checks(recording, survey, job.part(0.5, 1))
    # what is read lazily adds to the faults while it is checked
    noted = [
        Finding(fault, f"{place}{': ' if which else ''}{listed(which)}", severity, advice)
        for notes, severity, advice in ((faults, "error", REPAIR), (cautions, "warning", ""))
        for (place, fault), which in notes.items()
    ]
    # a reader may have noted what the checks find, in the same words
    every = {str(finding): finding for finding in [*noted, *findings]}
    return sorted(every.values(), key=lambda finding: SEVERITIES.index(finding.severity))


def _run_checks(recording: xr.Dataset, survey: xr.Dataset | None, job: Job) -> list[Finding]:
    if survey is None:
        survey = survey_recording(recording, job.part(0, 0.5))
    findings = list(check_infinite_responses(Case(recording, survey, job)))
    if findings:
        return findings
    for number, (name, check) in enumerate(CHECKS.items()):
        start = 0.5 + 0.5 * number / len(CHECKS)
        part = job.part(start, start + 0.5 / len(CHECKS), f"checking {name}")
        part.report(0)
        findings += check(Case(recording, survey, part))
    return findings


def _refusal(source: str, message: str) -> Finding:
    """What a source that cannot be opened is refused with."""
    where = source if message.startswith(f"{source}: ") else ""
    return Finding(message.removeprefix(f"{where}: "), where, "error")
