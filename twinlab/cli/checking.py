"""What was found wrong with a recording, as a table and as JSON."""

from __future__ import annotations

import json
from dataclasses import asdict

from rich import box
from rich.console import Console
from rich.table import Table

from twinlab.recordings import Finding

__all__ = ["STATUS", "findings_json", "findings_table", "status_of"]

STATUS = {"note": 0, "warning": 1, "error": 2}  # of the command, by the worst finding
COLORS = {"note": "cyan", "warning": "yellow", "error": "red"}
NARROWEST = 100  # columns where the terminal does not say


def status_of(findings: list[Finding]) -> int:
    """Exit status for findings: 0 for notes or none, 1 for warnings, 2 for errors."""
    return max((STATUS[finding.severity] for finding in findings), default=0)


def findings_json(source: str, findings: list[Finding]) -> str:
    """Findings as one JSON object, with the exit status they lead to."""
    every = [asdict(finding) for finding in findings]
    return json.dumps(
        {"recording": source, "status": status_of(findings), "findings": every}, indent=2
    )


def findings_table(findings: list[Finding]) -> str:
    """Draw a table of how bad, where, what, and what to do; in colour on a terminal."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 2, 0, 0))
    for name, ratio in (("how bad", None), ("where", 3), ("what", 5), ("what to do", 4)):
        table.add_column(name, ratio=ratio, overflow="fold", no_wrap=ratio is None)
    for found in findings:
        color = COLORS[found.severity]
        table.add_row(
            f"[{color}]{found.severity}[/]", *map(_plain, (found.where, found.what, found.advice))
        )
    console = Console()
    if not console.is_terminal:
        console = Console(width=max(console.width, NARROWEST))
    with console.capture() as capture:
        console.print(table)
    return "\n".join(line.rstrip() for line in capture.get().splitlines())


def _plain(words: str) -> str:
    """Words in which rich finds no markup."""
    return words.replace("[", r"\[")
