"""What an operator sees of a network, in a real browser: what needs him first, a device, evidence, strangers'
words as text, a gateway that stops and a page that dies."""

from __future__ import annotations

import hashlib
import time

import pytest

from gateway import page as operators_page
from gateway.folder import Settings
from proof import sealing
from proof.keys import multibase_part
from tests import troubled_network
from tests.browser.conftest import DESKTOP, PHONE
from tests.gateway_parts import NETWORK, Gateway
from tests.troubled_network import HTML
from web import server

pytestmark = pytest.mark.browser
HEADLINE = "3 things need you"


class Site:
    """A network and its page. The gateway's clock stands still where the test wants it."""

    def __init__(self, folder, html):
        folder.mkdir()
        self.gateway = Gateway(folder)
        self.gateway.now_s = time.time()
        self.network = troubled_network.build(self.gateway, html)
        settings = Settings(NETWORK, "test", "mqtt://127.0.0.1")
        view = operators_page.View(folder, settings, lambda: self.gateway.now_s)
        self._stopped = False
        self._server = server.serve(operators_page.make(view), "127.0.0.1:0")
        self.url = f"http://127.0.0.1:{self._server.port}/"

    def device(self, device):
        return f"{self.url}device.html?device={multibase_part(device.id)}"

    def stop_page(self):
        self._stopped = True
        self._server.close()

    def close(self):
        if not self._stopped:
            self._server.close()
        self.gateway.close()


@pytest.fixture
def site(tmp_path, request):
    made = Site(tmp_path / "gw", getattr(request, "param", HTML))
    yield made
    made.close()


def headline(page, text):
    page.get_by_role("heading", name=text).wait_for()


def cells(page, section, column):
    return page.locator(f"#{section} tbody tr > :nth-child({column})").all_inner_texts()


def fits(page):
    """Nothing is wider than the window, nor than its card."""
    wide = "e => e.scrollWidth > e.clientWidth"
    cards = page.evaluate(f"[...document.querySelectorAll('.card')].filter({wide}).map(e => e.textContent)")
    assert cards == []
    return page.evaluate("document.documentElement.scrollWidth <= innerWidth")


def patient(page):
    """With a clock that the test may turn; what is asked of the page is real."""
    page.clock.install()
    page.reload()
    headline(page, HEADLINE)
    return page


# For the pictures, an owner with a name like others.
@pytest.mark.parametrize("site", ["grace"], indirect=True)
def test_an_operator_sees_first_what_needs_him(site, look, picture):
    page = look(site.url)
    headline(page, HEADLINE)
    assert [text.split("\n")[0] for text in cells(page, "devices", 1)][:4] == ["bob", "carol", "dan", "frank"]
    assert cells(page, "devices", 2)[:2] == ["suspended", "on two boards"]
    assert "fieldproof-gateway restore" in page.locator("#state").inner_text()
    assert "clamped: 3, 13 %" in page.locator("#quality").inner_text()
    assert "unknown device" in page.locator("#refused").inner_text()
    assert fits(page)
    picture(page, "gateway-network", full=True)


@pytest.mark.parametrize("site", ["grace"], indirect=True)
def test_a_device_is_a_click_away_and_has_its_history(site, look, picture):
    page = look(site.url)
    page.get_by_role("link", name="ada").first.click()
    headline(page, "It delivers")
    assert page.title() == "ada, Fieldproof gateway"
    assert len(page.locator("#days rect").all()) == 30
    for section, said in {
        "logs": "store lost",
        "gaps": "74 to 77",
        "challenges": "after 1.5 s",
        "keys": "in force",
        "verdicts": "Since it joined: clamped 4, broken chain 1.",
        "facts": "1 proof for an earlier one",
        "bundle": "fieldproof-gateway evidence z6Mk",
    }.items():
        assert said in page.locator(f"#{section}").inner_text(), section
    page.get_by_text("As a table").click()
    assert page.locator("#days tbody tr").count() == 30
    assert fits(page)
    page.get_by_text("As a table").click()
    picture(page, "gateway-device", full=True)


@pytest.mark.parametrize("site", ["grace"], indirect=True)
def test_on_a_phone_in_the_dark_rows_are_cards_and_nothing_is_cut_off(site, look, picture):
    page = look(site.url, PHONE, dark=True)
    headline(page, HEADLINE)
    assert fits(page)
    assert page.evaluate("getComputedStyle(document.body).backgroundColor !== 'rgb(255, 255, 255)'")
    label = page.locator("#devices td").first.evaluate("cell => getComputedStyle(cell, '::before').content")
    assert label == '"State"'
    picture(page, "gateway-phone-dark")
    page.goto(site.device(site.network.bob))
    headline(page, "Suspended: it signed two proofs for one number")
    assert fits(page)


def test_both_proofs_of_an_equivocation_are_saved_as_they_were_signed(site, look):
    page = look(site.url)
    links = page.locator("#pairs").get_by_role("link", name="proof")
    links.first.wait_for()
    saved = set()
    for number in range(links.count()):
        with page.expect_download() as download:
            links.nth(number).click()
        data = download.value.path().read_bytes()
        assert sealing.parse(data).claims.seq == 2
        saved.add(hashlib.sha256(data).hexdigest())
    assert len(saved) == 2


def test_what_owners_and_devices_wrote_is_text(site, look):
    page = look(site.url)
    dialogs = []

    def dismiss(dialog):
        dialogs.append(dialog.message)
        dialog.dismiss()

    page.on("dialog", dismiss)
    page.get_by_role("link", name=HTML).first.wait_for()
    page.goto(site.device(site.network.mallory))
    page.get_by_text(HTML[:60]).first.wait_for()
    assert fits(page)
    assert page.locator("h1").inner_text() == HTML
    assert page.locator("main img, main script, header img, header script").count() == 0
    assert page.title() == f"{HTML}, Fieldproof gateway"
    assert dialogs == []


def test_a_device_is_found_while_one_types(site, look):
    page = look(site.url)
    headline(page, HEADLINE)
    page.get_by_label("Owner or id").press_sequentially("da", delay=20)
    page.get_by_text("2 of 7 devices.").wait_for()
    assert [text.split("\n")[0] for text in cells(page, "devices", 1)] == ["dan", "ada"]
    page.get_by_label("Owner or id").fill("nobody")
    page.get_by_text("No device with this owner or id.").wait_for()


def test_what_is_new_appears_by_itself(site, look):
    page = look(site.device(site.network.dan))
    headline(page, "Silent")
    site.gateway.send(site.network.dan, site.network.dan.seal())
    headline(page, "It delivers")
    assert "4 proofs" in page.locator("#facts").inner_text()


def test_a_gateway_that_stops_and_a_page_that_dies_are_told_apart(site, look):
    page = patient(look(site.url))
    site.gateway.now_s += 600
    headline(page, "4 things need you")
    assert "No beacon for 11 minutes" in page.locator("#state").inner_text()
    site.stop_page()
    page.clock.fast_forward("00:20")
    headline(page, "The page's own program does not answer")
    assert "What stands below is from" in page.locator("#state").inner_text()
    assert page.locator("#devices tbody tr").count() == 7


def test_a_ledger_that_is_away_is_said_and_the_page_comes_back_with_it(site, look, monkeypatch):
    monkeypatch.setattr(operators_page, "KEPT_S", 0.0)
    page = patient(look(site.url))
    site.gateway.path.rename(site.gateway.path.with_name("away"))
    page.clock.fast_forward("00:20")
    headline(page, "The page cannot show this")
    assert "ledger.db is missing" in page.locator("#state").inner_text()
    site.gateway.path.with_name("away").rename(site.gateway.path)
    headline(page, HEADLINE)


def test_a_device_that_never_joined_is_said(site, look):
    page = look(f"{site.url}device.html?device=z6Mk" + "A" * 44)
    page.get_by_text("No such device has joined.").wait_for()


def test_it_can_be_used_by_keyboard_and_ear(site, look):
    page = look(site.url, DESKTOP)
    headline(page, HEADLINE)
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "find"
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "bob"
    outline = page.evaluate("getComputedStyle(document.activeElement).outlineStyle")
    assert outline != "none"
    page.keyboard.press("Enter")
    headline(page, "Suspended: it signed two proofs for one number")
    for table in page.locator("table").all():
        assert table.locator("caption").count() == 1
        assert table.locator("th:not([scope])").count() == 0
    assert page.locator("svg[role=img]").get_attribute("aria-label").startswith("Readings on each of 30 days")
    assert page.locator("html").get_attribute("lang") == "en"
    assert page.get_by_role("status").count() == 0 or page.locator("[aria-live]").count() == 1
