"""A plan is judged whole: every fault in one line, before anything starts."""

import pytest

from twinlab.loop import new_loop, parse_plan, read_plan, write_template
from twinlab.schema import InputError

GOOD = """
recording = "simulated"
seed = 3
[units]
number = 20
[stimuli]
objectives = ["mei", "lei"]
controls = ["natural"]
[presentation]
n_repeat = 10
n_blank = 2
on_s = 0.5
off_s = 1
minutes = 21
[rig]
width_px = 1920
height_px = 1080
degrees_per_pixel = 0.07
image_degrees_per_pixel = 2
"""


def test_a_plan_is_read_from_its_file(tmp_path):
    (tmp_path / "plan.toml").write_text(GOOD)
    plan = read_plan(tmp_path / "plan.toml")
    assert plan.seed == 3
    assert plan.stimuli.objectives == ("mei", "lei")
    assert plan.rig.gamma == 1  # by default
    assert plan.n_stimulus == 20 * 4
    assert plan.minutes == pytest.approx(10 * (80 + 2) * 1.5 / 60)


def test_shared_images_take_their_time():
    plan = parse_plan(GOOD.replace("n_blank = 2", "n_blank = 2\nshared = 2"))
    assert plan.n_stimulus == 20 * 4 + 2
    assert plan.minutes == pytest.approx(10 * (82 + 2) * 1.5 / 60)


@pytest.mark.parametrize(
    ("old", "new", "words"),
    [
        ("seed = 3", "sede = 3", "`sede` is unknown; known: recording"),
        ("number = 20", "numbers = 20", "`units.numbers` is unknown"),
        ("number = 20", "number = 20.5", "`units.number` must be a whole number, but is 20.5"),
        ("number = 20", "number = true", "`units.number` must be a whole number, but is True"),
        ("number = 20", "number = 0", "from 1 to"),
        ('recording = "simulated"', "", "`recording` is missing"),
        ('recording = "simulated"', 'recording = " "', "`recording` is empty"),
        ('["mei", "lei"]', '["mie"]', "`stimuli.objectives` must be different ones of"),
        ('["mei", "lei"]', '["mei", "mei"]', "`stimuli.objectives` must be different ones of"),
        ('["mei", "lei"]', '"mei"', "`stimuli.objectives` must be a list of text"),
        ('["mei", "lei"]', "[]", "`stimuli.objectives` is empty"),
        ("[units]", "[fit]\nverifier = 'best'\n[units]", "`fit.verifier` must be one of"),
        ("width_px = 1920", "", "`rig.width_px` is missing"),
        ("on_s = 0.5", "on_s = nan", "`presentation.on_s` must be a number from"),
        ("on_s = 0.5", "on_s = 0.51", "30.6 frames"),
        ("minutes = 21", "minutes = 10", "takes 20 minutes"),
        ("height_px = 1080", 'height_px = 1080\ngamma = 2\ngamma_table = "g.csv"', "keep one"),
        ("image_degrees_per_pixel = 2", "image_degrees_per_pixel = 0.01", "too coarse"),
        ("[units]", "[units", "is not TOML"),
        ("seed = 3", 'match = "face"', "`match` must be one of ['name', 'table'"),
        ("seed = 3", 'match = "fingerprint"', "`presentation.shared` is 0; expected at least 10"),
        ("n_blank = 2", "n_blank = 2\nshared = -1", "`presentation.shared` must be"),
        ("[units]", "[later]\nday = 2\n[units]", "units have new names, but `match` is 'name'"),
        ("[units]", "[later]\nloss = 1\n[units]", "`later.loss` must be a number from 0 to 0.99"),
        ("[units]\nnumber = 20", "units = 4", "`units` must be a table"),
    ],
)  # fmt: skip
def test_a_fault_is_told_in_one_line(old, new, words):
    assert old in GOOD
    text = GOOD.replace(old, new)
    if new == "units = 4":
        text = new + "\n" + GOOD.replace(old, "")
    with pytest.raises(InputError) as caught:
        parse_plan(text, "plan.toml")
    assert words in str(caught.value)
    assert str(caught.value).startswith("plan.toml: ")
    assert "\n" not in str(caught.value)


def test_all_faults_are_told_at_once():
    with pytest.raises(InputError, match=r"`seed`.*`units.number`.*`rig.width_px`"):
        parse_plan(
            GOOD.replace("seed = 3", "seed = -1")
            .replace("number = 20", 'number = "many"')
            .replace("width_px = 1920", "width_px = 0")
        )


def test_no_file_and_no_text_are_refused(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        read_plan(tmp_path / "plan.toml")
    (tmp_path / "plan.toml").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="is not text"):
        read_plan(tmp_path / "plan.toml")


def test_the_template_is_a_plan_once_the_screen_is_filled_in():
    lines = write_template().splitlines()
    needed = {"recording": '"simulated"', "width_px": "1920", "height_px": "1080",
              "degrees_per_pixel": "0.07", "image_degrees_per_pixel": "2.0"}  # fmt: skip
    filled = []
    for line in lines:
        name = line.removeprefix("# ").split(" =")[0]
        filled.append(f"{name} = {needed[name]}" if line.startswith("# ") else line)
    assert parse_plan("\n".join(filled)) == parse_plan(
        'recording = "simulated"\n[rig]\nwidth_px = 1920\nheight_px = 1080\n'
        "degrees_per_pixel = 0.07\nimage_degrees_per_pixel = 2.0"
    )
    with pytest.raises(InputError, match="`recording` is missing"):
        parse_plan("\n".join(lines))


def test_a_recording_that_is_nowhere_is_told_before_anything_starts(tmp_path):
    (tmp_path / "plan.toml").write_text(GOOD.replace('"simulated"', '"none/scan.zip"'))
    with pytest.raises(InputError, match=r"'none/scan.zip', which is no file or folder there"):
        new_loop(tmp_path / "plan.toml", tmp_path / "loop")
    assert not (tmp_path / "loop").exists()
