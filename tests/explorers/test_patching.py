import holoviews as hv
import numpy as np

from twinlab.explorers.patching import INLINE, Patch


def drawn_once(columns):
    """A patch of points that have been drawn, and their data source."""
    points = hv.Points((np.zeros(3), np.zeros(3)), ["x", "y"])
    patch = Patch(points, lambda: [columns], {})
    patch.pane.get_root()
    (source,) = patch.sources[0]
    patch.event()
    return patch, source


def test_only_columns_that_changed_are_sent():
    columns = {"x": np.arange(100.0), "y": np.arange(100.0)}
    patch, source = drawn_once(columns)
    still = source.data["y"]
    columns["x"] = columns["x"] + 1
    patch.event()
    np.testing.assert_array_equal(source.data["x"], np.arange(100.0) + 1)
    assert source.data["y"] is still
    moved = source.data["x"]
    patch.event()
    assert source.data["x"] is moved


def test_few_values_travel_with_the_message_and_many_beside_it():
    few, many = np.append(np.arange(INLINE - 1.0), np.nan), np.arange(INLINE + 1.0)
    for values, kind in ((few, list), (many, np.ndarray)):
        _, source = drawn_once({"x": values, "y": values})
        assert type(source.data["x"]) is kind
        np.testing.assert_array_equal(source.data["x"], values)
