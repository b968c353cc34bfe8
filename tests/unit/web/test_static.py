"""What the browser gets: the chart library as its makers published it, and colours that can be read."""

from __future__ import annotations

import hashlib
import re

from web.response import STATIC

AA_TEXT, AA_SIGNS = 4.5, 3.0


def test_the_chart_library_is_what_was_published():
    sums = re.findall(r"^sha256 (\w{64}) (\S+)$", (STATIC / "VENDORED.txt").read_text(), re.M)
    assert len(sums) == 2
    for expected, name in sums:
        assert hashlib.sha256((STATIC / name).read_bytes()).hexdigest() == expected, name
    assert "MIT" in (STATIC / "uPlot-LICENSE.txt").read_text()


def test_nothing_is_fetched_from_elsewhere():
    for path in STATIC.iterdir():
        if path.suffix in (".css", ".js"):
            assert not re.search(r"(url\(|import|fetch\(|src=).{0,3}(https?:)?//", path.read_text()), (
                path.name
            )


def test_text_can_be_read_in_the_light_and_in_the_dark():
    css = (STATIC / "shared.css").read_text()
    light, dark = (dict(re.findall(r"--([\w-]+): (#[0-9a-f]{6});", block)) for block in _themes(css))
    assert light.keys() == dark.keys()
    assert len(light) > 10
    for name, colours in (("light", light), ("dark", dark)):
        for ink, grounds in {
            "ink": ("ground", "card", "good-ground", "warn-ground", "bad-ground"),
            "quiet": ("ground", "card", "good-ground", "warn-ground", "bad-ground"),
            "accent": ("ground", "card", "good-ground", "warn-ground", "bad-ground"),
            "good": ("card", "ground", "good-ground"),
            "warn": ("card", "ground", "warn-ground"),
            "bad": ("card", "ground", "bad-ground"),
        }.items():
            for ground in grounds:
                ratio = contrast(colours[ink], colours[ground])
                assert ratio >= AA_TEXT, f"{name}: {ink} on {ground} has {ratio:.2f}"
        for sign in ("edge", "plot", "accent"):
            assert contrast(colours[sign], colours["card"]) >= AA_SIGNS, f"{name}: {sign}"


def _themes(css: str) -> tuple[str, str]:
    light, dark = re.findall(r":root \{(.*?)\}", css, re.S)
    return light, dark


def contrast(one: str, other: str) -> float:
    """WCAG 2.1, relative luminance."""
    lighter, darker = sorted((_luminance(one), _luminance(other)), reverse=True)
    return (lighter + 0.05) / (darker + 0.05)


def _luminance(colour: str) -> float:
    parts = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    red, green, blue = (p / 12.92 if p <= 0.04045 else ((p + 0.055) / 1.055) ** 2.4 for p in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue
