"""The lab bench for digital twins of visual cortex.

Where things are::

    schema        names, units and contracts of recordings and results
    recordings    public recordings: found, checked, opened, stored
    simulation    a visual cortex whose right answers are known
    stimuli       parameters -> labelled images
    twins         what a twin is: conditioning, architectures, ensembles, saving
    fitting       recording -> twin and its history
    evaluation    recorded and predicted responses -> scores with their ceilings
    insilico      experiments on a twin: receptive fields, tuning, optimal stimuli
    loop          inception loops: planned, shown on a rig, read back, compared
    plots         result -> HoloViews element
    explorers     live viewers, in JupyterLab and in a browser
    jobs          long work: progress, cancel, resume
    files         files written whole or not at all
    cli           the `twinlab` command

Use ``from twinlab import insilico``; importing `twinlab` itself does nothing.
"""

__version__ = "0.1.0"
