"""The command, run in this process."""

import contextlib
import io
import sys

from twinlab import cli


def call(*words):
    """Run the command in this process; status, standard output, standard error."""
    out, err = io.StringIO(), io.StringIO()
    before = sys.argv
    sys.argv = ["twinlab", *map(str, words)]
    try:
        with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
            cli.main()
        status = 0
    except SystemExit as end:
        status = end.code or 0
    finally:
        sys.argv = before
    return status, out.getvalue(), err.getvalue()


def mistake(*words):
    """What a command that must fail says: one line, status 2."""
    status, _, err = call(*words)
    lines = [line for line in err.splitlines() if line.startswith("twinlab:")]
    assert status == 2, err
    assert len(lines) == 1, err
    assert "Traceback" not in err
    return lines[0]
