"""Settings typed as words."""

import pytest
import torch

from twinlab.fitting import FitSettings, parse_settings
from twinlab.schema import InputError


def test_words_reach_the_setting_they_name():
    architecture, settings = parse_settings({"hidden": "32", "lr": "0.01", "shifter": "true"})
    assert (architecture.hidden, settings.lr, architecture.shifter) == (32, 0.01, True)


def test_all_mistakes_are_named_at_once():
    with pytest.raises(
        InputError, match="unknown setting `hiden` .known: .*hidden.*`lr` needs a number.*'fast'"
    ):
        parse_settings({"hiden": "32", "lr": "fast"})


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ({"schedule": "slow"}, "known: plateau, cosine"),
        ({"precision": "int8"}, "known: auto, float32, bfloat16"),
        ({"start": "left"}, "known: data, center"),
        ({"max_epochs": "0"}, "must be above 0"),
        ({"seed": "-1"}, "must not be negative"),
        ({"decay_factor": "2"}, "between 0 and 1"),
        ({"shifter": "yes"}, "true or false"),
        ({"layers": "3.5"}, "a whole number"),
    ],
)
def test_impossible_values_are_refused(words, message):
    with pytest.raises(InputError, match=message):
        parse_settings(words)


def test_precision_can_be_forced():
    cpu = torch.device("cpu")
    assert FitSettings(precision="float32").core_dtype(cpu) == torch.float32
    assert FitSettings(precision="bfloat16").core_dtype(cpu) == torch.bfloat16
