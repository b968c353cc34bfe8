"""A real Chromium (Debian's), driven by Playwright; nothing is downloaded for it.

- `look` opens a page at a size, dark or light; at the end of the test nothing may have been asked of another
  origin, and no script may have failed.
- With FIELDPROOF_SCREENSHOTS=1 pictures are written to docs/images; they are taken always, so that taking
  them stays possible.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.browser.station import Station

CHROMIUM = shutil.which("chromium")
IMAGES = Path(__file__).parents[2] / "docs" / "images"
FLAGS = (
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
    "--disable-quic",
    "--disable-gpu",
    "--disable-dev-shm-usage",
)
PHONE, DESKTOP = (360, 740), (1280, 900)


@pytest.fixture(scope="session")
def chromium() -> Iterator[Any]:
    if CHROMIUM is None:
        pytest.skip("chromium is not installed (Debian package `chromium`)")
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    with playwright.sync_playwright() as running:
        flags = [*FLAGS, "--no-sandbox"] if os.geteuid() == 0 else list(FLAGS)
        browser = running.chromium.launch(executable_path=CHROMIUM, args=flags)
        yield browser
        browser.close()


@pytest.fixture
def look(chromium: Any) -> Iterator[Callable[..., Any]]:
    """look(url, size, dark=False) -> Playwright's page."""
    contexts, asked, failed = [], set(), []

    def open_page(url: str, size: tuple[int, int] = DESKTOP, dark: bool = False) -> Any:
        context = chromium.new_context(
            viewport={"width": size[0], "height": size[1]},
            color_scheme="dark" if dark else "light",
            reduced_motion="reduce",
            timezone_id="Europe/Berlin",
            locale="en-GB",
        )
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(30_000)
        page.on("request", lambda request: asked.add(request.url))
        page.on("pageerror", lambda error: failed.append(str(error)))
        page.goto(url)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not failed, f"scripts failed: {failed}"
    strangers = {url for url in asked if not url.startswith("http://127.0.0.1:")}
    assert not strangers, f"asked of others: {strangers}"


@pytest.fixture
def picture(tmp_path: Path) -> Callable[[Any, str], Path]:
    """picture(page, name, full=False): a PNG, in docs/images where pictures are wanted."""

    def take(page: Any, name: str, full: bool = False) -> Path:
        folder = IMAGES if os.environ.get("FIELDPROOF_SCREENSHOTS") else tmp_path
        folder.mkdir(exist_ok=True)
        page.screenshot(path=folder / f"{name}.png", full_page=full)
        return folder / f"{name}.png"

    return take


@pytest.fixture
def station(mosquitto: Any, tmp_path: Path, free_port: int, until: Callable[..., None]) -> Iterator[Station]:
    made = Station(tmp_path / "device", mosquitto.url, free_port, until)
    yield made
    made.close()
