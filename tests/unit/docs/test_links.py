"""Links between pages: what a page points to is there, and every page is found from docs/README.md."""

from __future__ import annotations

import re
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
from markdown_it import MarkdownIt

from tests.docs_commands import ROOT

PAGES = [ROOT / "README.md", ROOT / "systemd" / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
NAMES = [str(page.relative_to(ROOT)) for page in PAGES]


@cache
def links(page: Path) -> tuple[str, ...]:
    found = []
    for token in MarkdownIt().enable("table").parse(page.read_text()):
        for child in token.children or ():
            found += [str(child.attrs[name]) for name in ("href", "src") if name in child.attrs]
        found += (
            re.findall(r'(?:href|src|srcset)="([^"]+)"', token.content) if token.type == "html_block" else ()
        )
    return tuple(link for link in found if not re.match(r"[a-z]+:", link))


@cache
def anchors(page: Path) -> tuple[str, ...]:
    """As GitHub makes them of headings."""
    tokens = MarkdownIt().parse(page.read_text())
    headings = [
        "".join(child.content for child in following.children or ())
        for token, following in pairwise(tokens)
        if token.type == "heading_open"
    ]
    made: list[str] = []
    for heading in headings:
        slug = re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-")
        same = sum(re.fullmatch(rf"{re.escape(slug)}(-\d+)?", one) is not None for one in made)
        made.append(f"{slug}-{same}" if same else slug)
    return tuple(made)


def target(page: Path, link: str) -> tuple[Path, str]:
    path, _, anchor = link.partition("#")
    return ((page.parent / path).resolve() if path else page), anchor


@pytest.mark.parametrize("name", NAMES)
def test_every_link_of_a_page_leads_to_a_place_that_is_there(name):
    page = ROOT / name
    broken = []
    for link in links(page):
        path, anchor = target(page, link)
        if not path.exists() or (anchor and anchor not in anchors(path)):
            broken.append(link)
    assert broken == []


def test_every_page_is_found_from_the_index_and_the_index_from_the_readme():
    index = ROOT / "docs" / "README.md"
    assert index in [target(ROOT / "README.md", link)[0] for link in links(ROOT / "README.md")]
    seen: set[Path] = set()
    waiting = [index]
    while waiting:
        page = waiting.pop()
        if page in seen or page.suffix != ".md":
            continue
        seen.add(page)
        for place in (target(page, link)[0] for link in links(page)):
            waiting += place.glob("*.md") if place.is_dir() else [place]
    assert [name for name, page in zip(NAMES, PAGES, strict=True) if page not in seen] == ["README.md"]


def test_the_index_names_every_page_of_its_folder():
    named = {target(ROOT / "docs" / "README.md", link)[0] for link in links(ROOT / "docs" / "README.md")}
    missing = [p.name for p in (ROOT / "docs").glob("*.md") if p not in named and p.name != "README.md"]
    assert missing == [], "docs/README.md lists every page, under its reader"


def test_no_two_decisions_have_one_number_and_each_begins_with_its_own() -> None:
    decisions = sorted((ROOT / "docs" / "decisions").glob("*.md"))
    numbers = [page.name[:4] for page in decisions]
    assert len(set(numbers)) == len(numbers)
    for page, number in zip(decisions, numbers, strict=True):
        assert page.read_text().startswith(f"# {number}: "), page.name
