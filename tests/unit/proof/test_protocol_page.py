"""docs/protocol.md says what the code does, where the two can be compared."""

from __future__ import annotations

import hashlib
import re
import zlib
from importlib import resources
from pathlib import Path

from proof import beacon, calibration, claims, cose, joining, receipt, senml
from proof.cose import Typ
from proof.reasons import QUALITY_REASONS, Reason

DOCS = Path(__file__).parents[3] / "docs"
PAGE = (DOCS / "protocol.md").read_text()
CDDL = (DOCS / "protocol.cddl").read_text()


def section(number: int) -> str:
    return PAGE.split(f"\n## §{number} ")[1].split("\n## §")[0]


def test_the_dictionary_is_the_one_the_protocol_states():
    data = resources.files("proof").joinpath("dictionary.bin").read_bytes()
    assert f"{len(data):,} bytes" in section(7)
    assert hashlib.sha256(data).hexdigest() in section(7)
    assert f"{zlib.adler32(data):08x}" in section(7)


def test_section_10_names_every_reason_and_no_other():
    assert set(re.findall(r"`([a-z_]+)`", section(10))) == {reason.value for reason in Reason}


def test_section_10_gives_each_quality_reason_its_flag():
    for bit, reason in QUALITY_REASONS.items():
        assert re.search(rf"`{reason.value}` \((flag )?{bit}\)", section(10).replace("\n", " ")), reason


def test_every_typ_is_named_and_every_kind_that_has_an_object_is_in_the_cddl():
    names = [typ.value.removeprefix("application/fieldproof") for typ in Typ]
    assert [name for name in names if name not in PAGE] == []
    assert [typ for typ in Typ if typ.value not in CDDL] == []


def test_the_limits_are_those_of_the_code():
    for limit in (
        cose.MAX_BYTES,
        joining.MAX_BYTES,
        receipt.MAX_BYTES,
        beacon.MAX_BYTES,
        claims.MAX_ROTATION_BYTES,
        calibration.MAX_BYTES,
    ):
        assert f"{limit:,}" in section(2)
    assert f"{senml.MAX_RECORDS:,} records" in section(3)


def test_the_clauses_that_the_code_cites_exist():
    clauses = set(re.findall(r"^(\d+\.\d+) ", PAGE, re.MULTILINE))
    # Drivers cite datasheets by section; a line that names an RFC may cite that.
    files = [path for folder in ("agent", "gateway", "proof") for path in (DOCS.parent / folder).glob("*.py")]
    lines = [line for path in files for line in path.read_text().splitlines() if "RFC" not in line]
    cited = {clause for line in lines for clause in re.findall(r"§(\d+\.\d+)", line)}
    assert len(cited) > 30
    assert cited - clauses == set()
