"""Events survive being written and read, and an older program reads what it knows."""

import json
import math
from typing import get_args

import pytest
from pydantic import ValidationError

from sway_dash.core import events

CLASSES = get_args(get_args(events.Event)[0])

REQUIRED = {
    "phase": {"phase": "probe"},
    "noise": {"prompts": 8, "js": 1e-9, "kl": 4e-9},
    "measurement": {"probe": "p", "item": 1, "prompt": "x", "js": 0.1, "kl": 0.2, "kl_reverse": 0.3, "same_top": 1.0},
    "item_failed": {"probe": "p", "item": 1, "prompt": "x"},
    "answered": {"probe": "p", "new": 2, "done": 2, "total": 8},
    "probe_finished": {"result": {"name": "p", "score": None}},
    "warning": {"message": "careful"},
    "run_failed": {"message": "no"},
}


def make(cls):
    kind = cls.model_fields["type"].default
    return cls(seq=3, ts=1.5, **REQUIRED.get(kind, {}))


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_an_event_is_read_back_as_it_was_written(cls):
    event = make(cls)
    assert events.EVENT.validate_json(event.model_dump_json()) == event


def test_every_event_has_a_type_of_its_own():
    types = [cls.model_fields["type"].default for cls in CLASSES]
    assert len(set(types)) == len(types)


def test_a_full_measurement_survives():
    event = events.Measurement(
        probe="p",
        item=0,
        prompt="né\n\u2028",
        tags=("a",),
        view="null_1000",
        role="null",
        lam=0.5,
        js=0.1,
        kl=0.2,
        kl_reverse=0.3,
        same_top=0.0,
        per_position=(0.1, 0.2),
        ci=(0.0, 0.3),
        base_top=((" a", 1, 0.5),),
    )
    assert events.EVENT.validate_json(event.model_dump_json()) == event


@pytest.mark.parametrize("bad", [math.nan, math.inf])
def test_a_measurement_holds_no_number_that_is_not_finite(bad):
    with pytest.raises(ValidationError, match="finite"):
        events.Measurement(**(REQUIRED["measurement"] | {"js": bad}))


def test_unknown_keys_of_a_newer_program_are_passed_over():
    line = json.dumps({"type": "warning", "message": "m", "shiny": [1]})
    assert events.EVENT.validate_json(line) == events.Warned(message="m")


@pytest.mark.parametrize("line", ['{"type": "nonsense"}', "{}", "[]", '{"type": "warn'])
def test_what_is_no_event_is_refused(line):
    with pytest.raises(ValidationError):
        events.EVENT.validate_json(line)


def test_an_event_cannot_be_changed():
    with pytest.raises(ValidationError):
        events.Warned(message="m").message = "other"
