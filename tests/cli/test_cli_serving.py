import numpy as np

from twinlab import fitting, schema
from twinlab.cli import serving
from twinlab.simulation import SimulatedCortex


def test_twins_of_the_same_neurons_stand_beside_each_other(tmp_path, cortex, recording):
    twin = cortex.as_twin()
    stranger = SimulatedCortex(seed=0, n_neuron=5).as_twin()
    assert serving._same_neurons(twin, cortex.as_twin())
    assert not serving._same_neurons(twin, stranger)
    minutes = np.array([5, 10, 20, 40, 80, 160.0])
    curve = fitting.fit_learning_curve(minutes, minutes / (20 + minutes), n_bootstrap=0)
    (tmp_path / "deep").mkdir()
    schema.save_result(curve, tmp_path / "plan.nc")
    make = serving.make_bench(
        str(tmp_path / "deep"), twin, recording, "simulated", others={"plain": cortex.as_twin()}
    )
    lab = make().lab
    assert list(lab.others) == ["plain"]
    assert lab.findings.learning_curve is not None
    lab.close()
