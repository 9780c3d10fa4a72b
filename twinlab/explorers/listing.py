"""Tables of neurons that can be sorted and tapped."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pandas as pd
import param
from bokeh.models.widgets.tables import NumberFormatter

from twinlab.explorers.looks import Table, table_style

__all__ = ["listing"]

NARROW = 54  # width of a column of whole numbers, in pixels


def listing(
    frame: pd.DataFrame,
    choose: Callable[[int], None],
    *,
    width: int,
    height: int,
    column: int,
    undefined: str,
) -> Table:
    """Show neurons in a table; a tap on a row chooses one.

    Parameters
    ----------
    frame : DataFrame
        With the column "neuron"; give `value` others of the same columns to show those.
    choose : callable
        Called with the number in that column of the row that was tapped.
    width, height : int
        Of the table, in pixels.
    column : int
        Width of a column of scores, in pixels.
    undefined : str
        What stands for NaN.

    Returns
    -------
    Table

    """
    table = Table(
        frame,
        **_columns(frame, column, undefined),
        disabled=True,
        show_index=False,
        autosize_mode="none",
        row_height=26,
        width=width,
        height=height,
        margin=(4, 0),
        stylesheets=[table_style()],
    )

    def tell(event: param.parameterized.Event) -> None:
        if event.new and event.new[0] < len(table.value):
            choose(int(table.value["neuron"].iloc[event.new[0]]))

    table.param.watch(tell, "selection")
    # Columns are named with units, which are known only once there are values.
    table.param.watch(
        lambda event: table.param.update(**_columns(event.new, column, undefined)), "value"
    )
    return table


def _columns(frame: pd.DataFrame, column: int, undefined: str) -> dict[str, Any]:
    """Widths and forms of the columns of a table."""
    number = NumberFormatter(format="0.000", nan_format=undefined)
    floating = [name for name in frame if frame[name].dtype.kind == "f"]
    return {
        "formatters": dict.fromkeys(floating, number),
        "widths": {name: column if name in floating else NARROW for name in frame},
    }
