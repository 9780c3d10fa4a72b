"""Open spoiled samples of layouts in this process, watched; print the tallies as JSON.

    python tests/recordings/fuzzing.py FOLDER NUMBER SEED LAYOUT [LAYOUT ...]

Of each spoiled sample it is asked that `open_recording` either gives a recording or raises a
one-line `InputError`, and that `check_recording` gives lines; anything else is a failure: another
exception, a warning that is not for the user, a run past `PATIENCE_S`, a file opened for writing
or changed, a process started, a pickle that looks something up, memory beyond `BOUND`.
"""

import json
import os
import resource
import shutil
import signal
import sys
import time
import warnings
from pathlib import Path

import numpy as np
from careless import write_careless
from layout_samples import SAMPLES
from spoiling import read_files, spoil, write_files

from twinlab import recordings
from twinlab.schema import InputError

BOUND = 128 * 2**20  # bytes of memory beyond what reading the whole sample takes
ADDRESSES = 1024 * 2**20  # and of address space: a request beyond fails at once
PATIENCE_S = 20
FORBIDDEN = {
    *("os.system", "os.exec", "os.fork", "os.forkpty", "os.posix_spawn", "os.spawn"),
    *("subprocess.Popen", "socket.connect", "pickle.find_class", "ctypes.dlopen"),
    *("os.remove", "os.rename", "os.mkdir", "os.rmdir", "os.link", "os.symlink", "os.truncate"),
    *("shutil.move", "shutil.copyfile", "shutil.unpack_archive", "os.chmod", "os.chown"),
}
seen: list[str] = []  # what an audit hook heard while a sample was opened
listening = False


def is_ours(event, arguments):
    """Whether a deed is the library's own: HDF5 tried in a process apart, dask naming a graph."""
    if event == "subprocess.Popen":
        return any(str(word).endswith("hdf5_probe.py") for word in arguments[1])
    frame = sys._getframe(2) if event == "pickle.find_class" else None
    while frame and "dask" not in Path(frame.f_code.co_filename).parts:
        frame = frame.f_back
    return frame is not None


def listen(event, arguments):
    if not listening or is_ours(event, arguments):
        return
    if event in FORBIDDEN:
        seen.append(f"{event}{arguments}")
    elif event == "open":
        path, mode, flags = arguments
        if isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT):
            seen.append(f"writes {path} ({mode})")


class Late(BaseException):  # noqa: N818 - no reader may take it for an error of a file
    """Opening took too long."""


def late(*_):
    raise Late


def open_watched(path, patience_s=PATIENCE_S):
    """Outcome of opening one path: "opened", "refused", or what went wrong."""
    global listening
    seen.clear()
    signal.alarm(patience_s)
    try:
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            listening = True
            lines = []
            try:
                lines = [f"{it} {it.advice}" for it in recordings.check_recording(path)]
                recordings.open_recording(path).load()
                outcome = "opened"
            except InputError as error:
                outcome = "refused"
                lines = [*lines, str(error)]
    except BaseException as error:  # whatever it is, it is a finding
        return f"{type(error).__name__}: {error}; {seen[:1]}"
    finally:
        signal.alarm(0)
        listening = False
    stray = [it for it in caught if not issubclass(it.category, UserWarning)]
    if stray:
        return f"warns {stray[0].category.__name__}: {stray[0].message} ({stray[0].filename})"
    long = [line for line in lines if len(line.splitlines()) != 1 or not _clean(line)]
    if long:
        return f"not one line: {long[0]!r}"
    return f"did {seen[0]}" if seen else outcome


def _clean(line):
    try:
        line.encode()
    except UnicodeEncodeError:
        return False
    return True


def listed(folder):
    """Every path below a folder, with what would change if it were written to."""
    found = {}
    for above, folders, files in os.walk(folder):
        for name in folders + files:
            path = os.path.join(above, name)
            state = os.lstat(path)
            found[path] = state.st_mode, state.st_size, state.st_mtime_ns, state.st_ctime_ns
    return found


def memory(*, forget=False):
    """Peak of resident memory in bytes, since it was last forgotten."""
    if forget:
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) * 1024


def run(layout, number, seed, folder):
    """Spoil the sample of one layout so many times; return the tally."""
    whole = folder / "whole"
    whole.mkdir(parents=True)
    sample = (SAMPLES | {"careless": write_careless})[layout](whole)
    originals = read_files(whole)
    inside = sample.path.relative_to(whole)
    os.chdir(folder)  # where a gadget would put its canary
    recordings.open_recording(sample.path)  # what libraries import at first use is not watched
    patience_s = 1 if layout == "careless" else PATIENCE_S
    outcome = open_watched(sample.path)
    if outcome != "opened":
        return {"failures": [f"the whole sample: {outcome}"]}
    spoiled = [_spoil(originals, seed, i) for i in range(number)]  # bombs are built before
    before = memory(forget=True)
    size = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limits = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (size + ADDRESSES, limits[1]))
    tally = {"opened": 0, "refused": 0, "failures": []}
    began = time.perf_counter()
    for i, (what, files) in enumerate(spoiled):
        target = folder / "spoiled" / str(i)
        target.mkdir(parents=True)
        write_files(target, files)
        path = target / ("packed.zip" if "packed.zip" in files else inside)
        ahead = listed(folder)
        outcome = open_watched(path, patience_s)
        if outcome in tally and listed(folder) != ahead:
            outcome = "files were changed"
        if outcome in tally:
            tally[outcome] += 1
        else:
            tally["failures"].append(f"{i} {what}: {outcome}"[:500])
        shutil.rmtree(target)
    resource.setrlimit(resource.RLIMIT_AS, limits)
    tally["growth_mib"] = round((memory() - before) / 2**20, 1)
    tally["seconds"] = round(time.perf_counter() - began, 1)
    if memory() - before > BOUND:
        tally["failures"].append(f"took {tally['growth_mib']} MiB")
    return tally


def _spoil(originals, seed, i):
    files = dict(originals)
    return spoil(np.random.default_rng([seed, i]), files), files


def main(folder, number, seed, *layouts):
    signal.signal(signal.SIGALRM, late)
    sys.addaudithook(listen)
    tallies = {it: run(it, int(number), int(seed), Path(folder).resolve() / it) for it in layouts}
    sys.stdout.write(json.dumps(tallies))


if __name__ == "__main__":
    main(*sys.argv[1:])
