"""What a flood of bad messages may do to the gateway's log."""

from __future__ import annotations

import io
import json
import sys

import pytest
import structlog

from gateway import logs


@pytest.fixture
def log(monkeypatch):
    """log(as_json, monotonic) -> (logger, lines())."""

    def make(as_json=False, monotonic=lambda: 0.0):
        stream = io.StringIO()
        monkeypatch.setattr(sys, "stderr", stream)
        logs.configure(as_json, monotonic)
        return structlog.get_logger(), lambda: stream.getvalue().splitlines()

    yield make
    structlog.reset_defaults()


def test_a_flood_is_a_few_lines_an_hour_and_the_next_hour_says_how_many_were_left_out(log):
    now_s = 0.0
    logger, lines = log(monotonic=lambda: now_s)
    for _ in range(1000):
        logger.warning("inbox full", topic="a/b")
    assert len(lines()) == logs.BURST
    now_s = logs.PERIOD_S
    logger.warning("inbox full", topic="a/b")
    assert lines()[-1].endswith(f"suppressed={1000 - logs.BURST}")
    logger.warning("inbox full", topic="a/b")
    assert "suppressed" not in lines()[-1]


def test_another_reason_and_good_news_are_not_left_out(log):
    logger, lines = log()
    for _ in range(logs.BURST + 1):
        logger.warning("refused", reason="bad_key")
    logger.warning("refused", reason="malformed")
    for number in range(logs.BURST + 1):
        logger.info("enrolled", device=str(number))
    assert sum("malformed" in line for line in lines()) == 1
    assert sum("enrolled" in line for line in lines()) == logs.BURST + 1


@pytest.mark.parametrize("as_json", [False, True])
def test_what_a_stranger_says_is_one_short_line_without_control_characters(log, as_json):
    logger, lines = log(as_json)
    logger.warning("refused", reason="malformed", detail="\x1b]0;owned\x07\r\n\x9b31m" + "x" * 10_000)
    (line,) = lines()
    assert len(line) < 1000
    assert line.isprintable()
    if as_json:
        assert json.loads(line)["detail"].startswith("�]0;owned��\n�31m")


@pytest.mark.parametrize("as_json", [False, True])
def test_a_trace_is_bounded_and_moves_no_cursor(log, as_json):
    logger, lines = log(as_json)
    for text in ("\x1b]0;owned\x07", "x" * 100_000 + " the end"):
        try:
            raise ValueError(text)
        except ValueError:
            logger.exception("defect")
    first, second = lines() if as_json else (lines()[0], lines()[-1])
    said = "\n".join(lines())
    assert all(char.isprintable() or char == "\n" for char in said)
    assert "Traceback" in said
    assert "test_logs.py" in said
    assert "x the end" in said
    assert "ValueError: �]0;owned�" in said.replace("\\ufffd", "�")
    assert max(map(len, (first, second))) <= 2 * logs.MAX_TRACE
    assert len(said) < 3 * logs.MAX_TRACE
