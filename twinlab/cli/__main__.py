"""``python -m twinlab.cli`` is the ``twinlab`` command."""

from twinlab.cli import main

main()
