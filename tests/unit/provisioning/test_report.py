"""The report at 80 columns."""

from __future__ import annotations

import json

from provisioning.checks import FAIL, PASS, Line
from provisioning.report import to_json, to_text

LONG = "bus serial:/dev/serial/by-id/usb-Silicon_Labs_CP2102_USB_to_UART_Bridge_Controller_0001-if00-port0"
LINES = [
    Line("key", PASS, "word " * 40, "opens", ""),
    Line(LONG, FAIL, f"{LONG} is not there.", "there", "Plug it in."),
    Line("agent", FAIL, "moves \x1b[2Jthe cursor", "answers", ""),
]


def test_every_row_fits_and_every_word_is_there():
    rows = to_text(LINES).plain.splitlines()
    assert max(map(len, rows)) <= 80
    assert "".join(LONG.split()) in "".join("".join(rows).split())
    assert sum(row.count("word") for row in rows) == 40
    assert rows[-1] == "1 pass, 2 fail"


def test_expected_and_to_do_stand_only_where_something_is_wrong():
    text = to_text(LINES).plain
    assert text.count("expected:") == 2
    assert text.count("to do:") == 1
    assert "expected: opens" not in text


def test_nothing_in_it_can_move_the_cursor():
    assert "\x1b" not in to_text(LINES).plain


def test_machines_get_every_line_whole():
    report = json.loads(to_json(LINES))
    assert (report["verdict"], report["checks"][1]["name"]) == ("fail", LONG)
