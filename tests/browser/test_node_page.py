"""What a person sees of a node, in a real browser: as data comes, when the broker is gone, when it is back,
when the agent itself is gone. Mosquitto, the gateway and the daemon are real."""

from __future__ import annotations

import re

import pytest

from tests.browser.conftest import DESKTOP, PHONE

pytestmark = [pytest.mark.browser, pytest.mark.mosquitto, pytest.mark.slow]  # two days of a station, a minute


def charts(page):
    page.locator("figure canvas").nth(4).wait_for()
    return page


@pytest.mark.timeout(300)
def test_what_an_owner_sees(station, mosquitto, look, picture, until):
    station.past()
    station.start()
    until(lambda: station.status()["history"] == "filled", 90, "the history")
    until(lambda: station.status()["healthy"], 60, "a receipt")
    page = charts(look(station.url, DESKTOP))
    page.get_by_role("heading", name="All is well.").wait_for()
    page.get_by_text(re.compile("Proof \\d+")).first.wait_for()
    assert page.locator("li.done", has_text="receipted").count() >= 1
    roof = page.locator("figure", has_text="temperature of roof")
    assert "1 gap" in roof.inner_text()
    assert "jumped" in roof.inner_text()
    assert "No gaps" in page.locator("figure", has_text="humidity of living-room").inner_text()
    newest = page.locator(".instrument time").first
    before = newest.text_content()
    until(lambda: newest.text_content() != before, 30, "a newer reading on the page")
    picture(page, "page-desktop")
    page.locator("#history-title").scroll_into_view_if_needed()
    page.evaluate("document.getElementById('history-title').scrollIntoView()")
    roof.locator("input").focus()
    picture(page, "page-history")
    with page.expect_download() as download:
        page.get_by_role("button", name="Download evidence").click()
    assert re.fullmatch(r"fieldproof-\w{8}\.cbor", download.value.suggested_filename)
    assert download.value.path().stat().st_size > 1000

    phone = charts(look(station.url, PHONE, dark=True))
    assert phone.evaluate("document.documentElement.scrollWidth") <= PHONE[0]
    picture(phone, "page-phone-dark")

    mosquitto.stop()
    offline = look(station.url, PHONE)
    offline.get_by_role("heading", name=re.compile("offline|broker", re.I)).first.wait_for()
    offline.get_by_text("What to do:").first.wait_for()
    offline.get_by_text("Kept here until they have arrived").wait_for()
    captured = station.status()["readings"]["captured"]
    until(lambda: station.status()["readings"]["captured"] > captured + 3, 30, "sampling without a broker")
    assert not offline.get_by_role("heading", name="All is well.").count()
    until(lambda: offline.locator("li.open", has_text="sent").count(), 60, "a proof that waits")
    picture(offline, "page-offline")
    offline.locator("#proofs-title").evaluate("e => e.scrollIntoView()")
    picture(offline, "page-proofs")

    mosquitto.start()
    page.get_by_role("heading", name="All is well.").wait_for(timeout=90_000)
    until(lambda: not page.locator("li.open", has_text="receipted").count(), 60, "the receipts on the page")

    station.stop()
    page.get_by_role("heading", name="The agent does not answer.").wait_for()
    offline.get_by_role("heading", name="The agent does not answer.").wait_for()
    offline.evaluate("scrollTo(0, 0)")
    picture(offline, "page-silent")
    assert not page.get_by_role("heading", name="All is well.").count()
    station.start()
    page.get_by_role("heading", name="All is well.").wait_for(timeout=90_000)
