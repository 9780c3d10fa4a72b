"""Serve a lab to a test until the process is ended, and say where."""

import sys

from twinlab import explorers


def serve_lab(known, **where):
    """Give each page a state of its own on what one knows; `where` as for `explorers.serve`."""
    color_by = known.color_by
    server, url = explorers.serve(lambda: explorers.Lab(known.another(color_by=color_by)), **where)
    sys.stdout.write(f"{url}\n")
    sys.stdout.flush()
    server.start()
    server.io_loop.start()  # until it is ended from outside
