"""docs/troubleshooting.md and docs/doctor.md: every state and check there is, and no other.
What pages quote is said by somebody."""

from __future__ import annotations

import ast
import re

import pytest

from agent.conditions import CODES
from tests.docs_commands import ROOT
from tests.product_words import texts

PAGE = (ROOT / "docs" / "troubleshooting.md").read_text()
DOCTOR = (ROOT / "docs" / "doctor.md").read_text()


def first_cells(page, heading):
    text = page.partition(f"\n## {heading}\n")[2].partition("\n## ")[0]
    return [line.split("|")[1].strip() for line in text.splitlines() if line.startswith("| ")][1:]


def test_every_state_of_a_node_is_explained_and_no_other():
    assert [cell.strip("`") for cell in first_cells(PAGE, "States")] == list(CODES)


def test_every_check_of_the_doctor_is_explained():
    shown = re.sub(r"\bbroker name, port, TLS\b", "broker name, broker port, broker TLS", DOCTOR)
    named = {name.strip() for cell in first_cells(shown, "What the lines say") for name in cell.split(",")}
    checks = {check for check in checks_by_name() if not check.startswith("bus ")}
    assert len(checks) > 15
    assert checks - named == set()
    assert {"bus …", "the instrument's name"} <= named


def checks_by_name():
    """The names in `Check("…")`, wherever the doctor makes one."""
    for path in (ROOT / "provisioning").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "Check":
                name = node.args[0]
                yield from [name.value] if isinstance(name, ast.Constant) else []


@pytest.mark.parametrize("page", ["moving-and-restoring.md", "troubleshooting.md"])
def test_what_a_page_quotes_is_said_by_the_product(page):
    text, said = (ROOT / "docs" / page).read_text(), texts().lower()
    quoted = re.findall(r'"([^"`\n]{10,})"', text) + re.findall(r"^> ((?:.+\n?)+)", text, re.MULTILINE)
    pieces = [
        piece.strip()
        for quote in quoted
        for piece in re.split(r"…|(?<=\.) ", " ".join(quote.replace("\n> ", " ").split()).lower())
    ]
    assert len(pieces) > 3
    assert [piece for piece in pieces if piece not in said] == []


def test_what_a_page_says_that_the_verifier_says_it_does():
    page, said = (ROOT / "docs" / "what-a-proof-proves.md").read_text(), texts()
    table = page.partition("## How to read the result")[2]
    cells = re.findall(r"^\| (\*.*?) \|", table, re.MULTILINE)
    pieces = [piece.strip(" ,") for cell in cells for piece in re.split(r"[*…]", cell)]
    pieces = [piece for piece in pieces if piece]
    assert len(pieces) > 8
    assert [piece for piece in pieces if piece not in said] == []
