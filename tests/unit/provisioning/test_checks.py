"""The frame of an examination: it comes to its end whatever a check does."""

from __future__ import annotations

import threading
import time

from agent.errors import HardStop
from drivers.errors import InstrumentGone
from provisioning.checks import FAIL, PASS, SKIPPED, WARN, Check, Examination, Finding, failed, worst


def passes(*_):
    return Finding(PASS, "well", value=7)


def raises(error):
    def run(*_):
        raise error

    return run


def verdicts(exam):
    return {line.name: line.verdict for line in exam.lines}


def test_whatever_a_check_raises_is_a_failure_with_a_sentence_and_the_next_one_runs():
    exam = Examination()
    for name, error in {
        "a": HardStop("It is so. Do this."),
        "b": InstrumentGone("Gone."),
        "c": KeyError("x"),
    }.items():
        exam.row(Check(name, "", raises(error)))
    exam.row(Check("d", "", passes))
    assert verdicts(exam) == {"a": FAIL, "b": FAIL, "c": FAIL, "d": PASS}
    assert (exam.lines[0].found, exam.lines[0].to_do) == ("It is so.", "Do this.")
    assert "KeyError('x')" in exam.lines[2].found


def test_what_this_user_may_not_see_is_named_and_no_defect():
    exam = Examination()
    exam.row(Check("a", "", raises(PermissionError(13, "Permission denied", "/var/lib/private/x"))))
    assert exam.lines[0].found == "/var/lib/private/x: Permission denied."
    assert "sudo" in exam.lines[0].to_do


def test_one_that_hangs_is_left_behind_at_its_deadline_and_the_row_goes_on_beside_it():
    hung, exam = threading.Event(), Examination()

    def hangs():
        hung.wait()
        return passes()

    begun_s = time.monotonic()
    exam.row(
        Check("hangs", "", hangs, deadline_s=0.2),
        Check("hangs too", "", hangs, deadline_s=0.2, late=SKIPPED),
        Check("well", "", passes),
    )
    exam.row(Check("after", "", passes), Check("needs it", "", passes, ("hangs too",)))
    assert time.monotonic() - begun_s < 15
    assert verdicts(exam) == {
        "hangs": FAIL,
        "hangs too": SKIPPED,
        "well": PASS,
        "after": PASS,
        "needs it": SKIPPED,
    }
    hung.set()


def test_what_needs_a_failed_check_is_skipped_and_names_the_first_that_failed():
    exam = Examination()
    exam.row(Check("root", "", raises(HardStop("No."))))
    exam.row(Check("child", "", passes, ("root",)))
    exam.row(Check("grandchild", "", passes, ("child",)))
    assert verdicts(exam) == {"root": FAIL, "child": SKIPPED, "grandchild": SKIPPED}
    assert all("`root`" in line.found for line in exam.lines[1:])


def test_values_go_to_those_that_need_or_use_them():
    heard: list[object] = []
    exam = Examination()

    def hears(*got):
        heard.extend(got)
        return passes()

    exam.row(Check("gives", "", passes), Check("fails", "", raises(HardStop("No."))))
    exam.row(Check("takes", "", hears, ("gives",), ("fails",)))
    assert heard == [7, None]


def test_when_the_budget_is_used_up_the_rest_is_skipped():
    exam = Examination(budget_s=0.0)
    exam.row(Check("late", "", passes))
    assert verdicts(exam) == {"late": SKIPPED}


def test_checks_that_hang_one_after_the_other_do_not_cost_more_than_the_budget():
    hung, exam = threading.Event(), Examination(budget_s=0.5)

    def hangs():
        hung.wait()
        return passes()

    begun_s = time.monotonic()
    exam.row(Check("0", "", hangs, deadline_s=0.2))
    for number in range(1, 20):
        exam.row(Check(str(number), "", hangs, deadline_s=30.0))
    took_s = time.monotonic() - begun_s
    hung.set()
    assert 0.5 <= took_s < 15
    assert {line.verdict for line in exam.lines[:2]} == {FAIL}
    assert {line.verdict for line in exam.lines[2:]} == {SKIPPED}


def test_the_worst_line_decides_and_a_skipped_one_is_no_worse_than_a_pass():
    exam = Examination()
    exam.row(Check("a", "", passes), Check("b", "", lambda: Finding(SKIPPED, "")))
    assert worst(exam.lines) is PASS
    exam.row(Check("c", "", lambda: Finding(WARN, "")))
    assert worst(exam.lines) is WARN
    exam.row(Check("d", "", lambda: Finding(FAIL, "")))
    assert worst(exam.lines) is FAIL


def test_a_sentence_without_a_second_one_is_all_found():
    assert failed("Nothing answers at 0x76: check power.") == Finding(
        FAIL, "Nothing answers at 0x76: check power."
    )
