"""What a person sees of a node, in a real browser: as data comes, when the broker is gone, when it is back,
when the agent itself is gone."""

from __future__ import annotations

import pytest

from tests.browser.conftest import DESKTOP, PHONE

pytestmark = [pytest.mark.browser, pytest.mark.mosquitto]


@pytest.mark.slow
@pytest.mark.timeout(240)  # two days of a station, a gateway, a broker that goes and comes back
def test_a_day_of_an_owner(station, mosquitto, look, picture, until):
    station.past()
    station.start()
    page = look(station.url, DESKTOP)
    page.get_by_role("heading", name="All is well.").wait_for()
    page.get_by_text("receipted").first.wait_for()
    page.locator("figure").nth(4).wait_for()
    until(lambda: station.status()["history_filled"], 60, "the history")
    page.reload()
    page.locator("figure").nth(4).wait_for()
    page.wait_for_timeout(1500)
    picture(page, "page-desktop", full=True)
    phone = look(station.url, PHONE, dark=True)
    phone.locator("figure").nth(4).wait_for()
    phone.wait_for_timeout(1500)
    picture(phone, "page-phone-dark", full=True)
