"""What must hold whatever the agent says: words of others stay words, all of it can be reached with keys and
read in the light and in the dark, at 360 pixels too, and an agent that falls silent is said to."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from tests.browser import canned
from tests.browser.conftest import DESKTOP, PHONE
from tests.unit.web.test_static import AA_TEXT, contrast

pytestmark = pytest.mark.browser

# Each piece of text that can be seen: what it says, its colour, the first ground behind it.
_TEXTS = """() => {
  const seen = [];
  const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  while (walker.nextNode()) {
    const text = walker.currentNode.textContent.trim();
    const node = walker.currentNode.parentElement;
    const box = node.getBoundingClientRect();
    if (!text || !box.width || box.width <= 1 || node.closest("noscript")) continue;
    const clear = (e) => getComputedStyle(e).backgroundColor === "rgba(0, 0, 0, 0)";
    let behind = node;
    while (behind && clear(behind)) behind = behind.parentElement;
    const ground = getComputedStyle(behind ?? document.documentElement).backgroundColor;
    const style = getComputedStyle(node);
    seen.push([text.slice(0, 60), style.color, ground]);
  }
  return seen;
}"""


@pytest.fixture
def address() -> Iterator[str]:
    with canned.page() as running:
        yield f"http://127.0.0.1:{running.port}/"


def shown(page: Any) -> Any:
    page.locator("figure canvas").first.wait_for()
    page.get_by_text("Proof 3").wait_for()
    page.locator(".log li").first.wait_for()
    return page


def hexed(colour: str) -> str:
    numbers = [int(float(n)) for n in colour.partition("(")[2].rstrip(")").split(",")[:3]]
    return "#" + "".join(f"{n:02x}" for n in numbers)


@pytest.mark.parametrize("size", [PHONE, DESKTOP], ids=["phone", "desktop"])
def test_words_of_others_stay_words(look, size):
    with canned.page(canned.EVIL, tone=canned.EVIL) as running:
        page = shown(look(f"http://127.0.0.1:{running.port}/", size))
        page.locator("details summary").first.click()
        assert page.evaluate("window.hacked") is None
        assert page.locator("main script, main img").count() == 0
        assert page.get_by_text("<script>window.hacked=1</script>").count() >= 8, (
            "it should be shown as it is"
        )
        assert page.evaluate("document.documentElement.scrollWidth") <= size[0], "it makes the page wider"


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("tone", ["warning", "error"])
def test_all_text_can_be_read(look, dark, tone):
    with canned.page(tone=tone) as running:
        page = shown(look(f"http://127.0.0.1:{running.port}/", PHONE, dark=dark))
        page.locator("details summary").first.click()
        texts = page.evaluate(_TEXTS)
    assert len(texts) > 60
    grounds = {hexed(ground) for _, _, ground in texts}
    assert all((contrast(ground, "#000000") < 3) == dark for ground in grounds), grounds
    poor = [(t, c, g) for t, c, g in texts if contrast(hexed(c), hexed(g)) < AA_TEXT]
    assert poor == []


def test_nothing_is_wider_than_a_small_phone(look, address):
    page = shown(look(address, PHONE))
    assert page.evaluate("document.documentElement.scrollWidth") <= PHONE[0]


def test_everything_can_be_reached_and_used_with_keys(look, address):
    page = shown(look(address, DESKTOP))
    reached = []
    for _ in range(30):
        page.keyboard.press("Tab")
        tag, named = page.evaluate("() => [document.activeElement.tagName, document.activeElement.id]")
        reached.append(tag)
        if tag == "INPUT" and named.startswith("moment-"):
            output = page.locator("output").first
            page.keyboard.press("Home")
            first = output.text_content()
            page.keyboard.press("ArrowRight")
            assert output.text_content() != first
            assert (
                page.locator("input[type=range]").first.get_attribute("aria-valuetext")
                == output.text_content()
            )
            assert "5 readings" in str(output.text_content())
        if tag == "SUMMARY":
            page.keyboard.press("Enter")
            page.get_by_role("cell", name="nothing was measured").first.wait_for()
        if tag == "BUTTON":
            break
    assert {"A", "INPUT", "SUMMARY", "BUTTON"} <= set(reached), reached
    assert reached[0] == "A", "the first stop leads to the content"


def test_what_a_screen_reader_is_given(look, address):
    page = shown(look(address))
    assert page.title() == "! Fieldproof node"
    assert page.get_by_role("heading", level=1).count() == 1
    for name in ("Now", "The last 48 hours", "The way of the last proofs", "Store", "Trust", "Evidence"):
        page.get_by_role("region", name=name).wait_for()
    assert page.get_by_role("status", name="How it is").count() == 1
    unnamed = "input, button, select, meter, summary, a"
    for control in page.locator(unnamed).all():
        assert control.evaluate("e => e.labels?.length || e.textContent.trim() || e.ariaLabel"), control
    ids = page.evaluate("[...document.querySelectorAll('[id]')].map(e => e.id)")
    assert len(ids) == len(set(ids))


def test_gaps_and_flags_are_said_in_words_and_drawn(look, address):
    page = shown(look(address))
    caption = page.locator("figcaption").first
    assert "1 gap" in caption.inner_text()
    assert "flagged" in caption.inner_text()
    assert "jumped" in caption.inner_text()
    drawn = page.evaluate(
        """() => {
          const canvas = document.querySelector("figure canvas");
          const { data } = canvas.getContext("2d").getImageData(0, 0, canvas.width, canvas.height);
          const seen = new Set();
          for (let i = 0; i < data.length; i += 4) {
            if (data[i + 3] > 200) seen.add(`${data[i]},${data[i + 1]},${data[i + 2]}`);
          }
          return [...seen];
        }"""
    )
    assert "119,70,0" in drawn, "the triangle of a flagged bucket"


def test_an_agent_that_falls_silent_is_said_to(look):
    with canned.page(text="All was well") as running:
        page = look("about:blank", PHONE)
        page.clock.install()
        page.goto(f"http://127.0.0.1:{running.port}/")
        shown(page).get_by_role("heading", name="All was well").first.wait_for()
    page.clock.fast_forward(16_000)
    page.get_by_role("heading", name="The agent does not answer.").wait_for()
    assert page.get_by_text("Its last answer came at").count() == 1
    assert page.title().startswith("✕ no answer")
    assert "All was well" not in page.locator("#state").inner_text()


def test_an_answer_that_never_came_is_no_good_news(look):
    """A page whose script runs and whose agent says nothing at all."""
    with canned.page() as running:
        page = look("about:blank")
        page.route("**/api/**", lambda route: route.abort())
        page.goto(f"http://127.0.0.1:{running.port}/")
        page.get_by_text("It has not answered since this page was opened.").wait_for()


@pytest.mark.parametrize(
    ("at_s", "said"), [(canned.NOW_S, "As it stood at"), (None, "What it holds is not known.")]
)
def test_what_a_store_said_last_that_does_not_answer_is_told_as_old(look, at_s, said):
    with canned.page(answered=False, answered_at_s=at_s) as running:
        page = shown(look(f"http://127.0.0.1:{running.port}/"))
        for place in ("#state", "#journal"):
            assert f"The store does not answer. {said}" in page.locator(place).inner_text()
        assert ("9 readings" in page.locator("#journal").inner_text()) == (at_s is not None)
        assert ("2 proofs" in page.locator("#state").inner_text()) == (at_s is not None)


def test_of_a_store_that_answers_nothing_is_told_as_old(look, address):
    page = shown(look(address))
    for place in ("#state", "#journal", "#proofs-old", "#log-old"):
        assert "answer" not in page.locator(place).inner_text()


def test_lists_that_are_refused_are_told_as_old_until_there_are_new_ones(look, address):
    page = look("about:blank")
    page.clock.install()
    page.goto(address)
    page = shown(page)
    page.route("**/api/proofs", lambda route: route.fulfill(status=503, body="It does not answer."))
    page.route("**/api/log", lambda route: route.fulfill(status=503, body="It does not answer."))
    page.clock.fast_forward(16_000)
    page.clock.fast_forward(16_000)
    for name in ("proofs", "log"):
        note = page.locator(f"#{name}-old")
        note.get_by_text("This is of").wait_for()
        assert page.locator(f"#{name} li").count()
        page.unroute(f"**/api/{name}")
    page.clock.fast_forward(16_000)
    for name in ("proofs", "log"):
        page.locator(f"#{name}-old:empty").wait_for(state="attached")
