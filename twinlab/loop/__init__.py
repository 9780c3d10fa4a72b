"""The inception loop: stimuli made on a twin go to a rig, and the responses come back."""

from twinlab.loop.agreement import compare_prediction
from twinlab.loop.answering import bring_responses
from twinlab.loop.choosing import choose_images, measure_fano
from twinlab.loop.comparing import compare_confusion, compare_controls
from twinlab.loop.exporting import (
    export_stimuli,
    read_key,
    read_manifest,
    read_schedule,
    read_stimuli,
)
from twinlab.loop.folder import (
    STEPS,
    last_made,
    loop_status,
    new_loop,
    open_loop,
    round_folder,
    steps_of,
    waited_for,
)
from twinlab.loop.formats import FORMATS
from twinlab.loop.gathering import gather_stimuli
from twinlab.loop.growing import grow_recording
from twinlab.loop.importing import Imported, import_responses
from twinlab.loop.judging import judge_prediction
from twinlab.loop.keeping import gather_loop, keep_loop, list_tests, open_kept
from twinlab.loop.matching import (
    match_by_fingerprint,
    match_by_position,
    match_by_table,
    name_units,
)
from twinlab.loop.plan import (
    Fit,
    Later,
    Plan,
    Presentation,
    Rig,
    Rounds,
    Stimuli,
    Units,
)
from twinlab.loop.power import measure_noise, plan_around, plan_next, plan_power
from twinlab.loop.reading import parse_plan, read_plan, write_template
from twinlab.loop.rigs import meet_units, play_rig
from twinlab.loop.savings import say_trials_saved, trials_saved
from twinlab.loop.schedule import BLANK, make_schedule
from twinlab.loop.specificity import compare_specificity
from twinlab.loop.steps import run_loop
from twinlab.loop.synthesizing import verify_stimuli
from twinlab.loop.watching import answers_itself, describe_steps, find_loops, find_stimuli

__all__ = [
    # the whole, in a folder
    "STEPS",
    "bring_responses",
    "last_made",
    "loop_status",
    "new_loop",
    "open_loop",
    "round_folder",
    "run_loop",
    "steps_of",
    "waited_for",
    # how far it is, seen from outside
    "answers_itself",
    "describe_steps",
    "find_loops",
    "find_stimuli",
    # what is decided beforehand
    "Fit",
    "Later",
    "Plan",
    "Presentation",
    "Rig",
    "Rounds",
    "Stimuli",
    "Units",
    "parse_plan",
    "read_plan",
    "write_template",
    # what is shown, and when
    "BLANK",
    "make_schedule",
    "gather_stimuli",
    "verify_stimuli",
    # to the rig's files and back
    "FORMATS",
    "export_stimuli",
    "Imported",
    "import_responses",
    "read_key",
    "read_manifest",
    "read_schedule",
    "read_stimuli",
    "meet_units",
    "play_rig",
    # rounds: images chosen by the twin, and what that saves
    "choose_images",
    "grow_recording",
    "measure_fano",
    "say_trials_saved",
    "trials_saved",
    # which unit is which neuron
    "match_by_fingerprint",
    "match_by_position",
    "match_by_table",
    "name_units",
    # was the twin right, and could it be seen
    "compare_confusion",
    "compare_controls",
    "compare_prediction",
    "compare_specificity",
    "judge_prediction",
    "list_tests",
    "measure_noise",
    "plan_around",
    "plan_next",
    "plan_power",
    # all of it, and that in one file
    "gather_loop",
    "keep_loop",
    "open_kept",
]
