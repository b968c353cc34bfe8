"""docs/attacks.md: every test, reason code, clause and quoted sentence of its tables exists."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from proof.reasons import Reason
from tests.product_words import texts

ROOT = Path(__file__).parents[3]
PAGE = (ROOT / "docs" / "attacks.md").read_text()
ROWS = [
    [cell.strip() for cell in line.strip("|").split("|")]
    for line in PAGE.splitlines()
    if line.startswith("| ") and not line.startswith("| the attack")
]
ASKED_FOR = (
    "stolen claim",
    "replayed claim",
    "claim of another network",
    "forged gateway",
    "forged membership",
    "stolen current key",
    "cloned card",
    "rolled-back card",
    "key swap",
    "device id collision",
    "downgrade to plain MQTT",
    "downgrade of key class",
)


def ticked(cell: str, pattern: str) -> list[str]:
    return re.findall(rf"`({pattern})`", cell)


def test_each_row_says_everything_there_is_to_say():
    assert len(ROWS) > 30
    for row in ROWS:
        attack, has, happens, _told, _remains, _clause, tests = row
        assert all((attack, has, happens, tests)), row
    attacks = " ".join(row[0] for row in ROWS)
    assert [name for name in ASKED_FOR if name not in attacks] == []


def test_each_reason_code_is_one_of_the_protocol():
    codes = [code for row in ROWS for code in ticked(row[3], "[a-z_]+")]
    assert len(codes) > 30
    assert set(codes) - {reason.value for reason in Reason} == set()


def test_each_clause_exists():
    clauses = set(re.findall(r"^(\d+\.\d+) ", (ROOT / "docs" / "protocol.md").read_text(), re.MULTILINE))
    named = {clause for row in ROWS for clause in re.findall(r"§(\d+\.\d+)", row[5])}
    assert len(named) > 15
    assert named - clauses == set()


def test_each_quoted_sentence_is_one_that_somebody_says():
    said = texts()
    quotes = [quote for row in ROWS for quote in re.findall(r'"([^"]+)"', row[3])]
    assert len(quotes) > 20
    assert [quote for quote in quotes if quote not in said] == []


@pytest.mark.timeout(120)  # a pytest of its own that collects some twenty files, on a busy machine
def test_each_named_test_is_collected():
    named = {name for row in ROWS for name in ticked(row[6], r"test_\w+")}
    assert len(named) > 50
    assert [row for row in ROWS if not ticked(row[6], r"test_\w+")] == []
    pattern = re.compile(rf"^def ({'|'.join(sorted(named))})\(", re.MULTILINE)
    files = [path for path in (ROOT / "tests").rglob("test_*.py") if pattern.search(path.read_text())]
    words = ["-m", "pytest", "-q", "--collect-only", "-p", "no:cacheprovider", *map(str, files)]
    ran = subprocess.run([sys.executable, *words], cwd=ROOT, capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout[-2000:]
    collected = set(re.findall(r"::(test_\w+)", ran.stdout))
    assert named - collected == set()
