"""The verifier in JavaScript (docs/verify-elsewhere) and ours say the same of every bundle."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from proof import bundle, cbor, cose
from proof.sequence import Spoiled
from tests.node_parts import SOURCE, judged, second_verifier
from tests.proof_samples import DEVICE, GATEWAY
from tests.unit.proof.test_sequence import SMALL, flipped
from tests.vectors import make_bundles, make_good
from tests.vectors.make_bundles import UNREADABLE
from tests.vectors.make_good import Vector

pytestmark = [pytest.mark.node, pytest.mark.timeout(180)]  # the first one installs, on a busy machine
VECTORS = [*make_bundles.good_bundles(), *make_bundles.bad_bundles()]
Judge = Callable[[list[bytes]], list[dict[str, Any]]]


@pytest.fixture(scope="module")
def program() -> Path:
    return second_verifier()


@pytest.fixture
def judge(program: Path, tmp_path: Path) -> Judge:
    def judge(bundles: list[bytes]) -> list[dict[str, Any]]:
        names = [tmp_path / str(number) for number in range(len(bundles))]
        for name, data in zip(names, bundles, strict=True):
            name.write_bytes(data)
        return judged(program, GATEWAY.public_key, names)

    return judge


def expected(vector: Vector) -> dict[str, Any]:
    if vector.expected == "accepted":
        return dict(vector.extra["finding"])
    return {"valid": False, "code": vector.expected, "number": vector.extra["object"]}


def test_both_verifiers_say_the_same_of_every_bundle_of_the_zoo(judge):
    said = dict(zip((v.name for v in VECTORS), judge([v.data for v in VECTORS]), strict=True))
    assert said == {v.name: expected(v) for v in VECTORS}
    assert sum(v.expected == "accepted" for v in VECTORS) >= 15
    assert len({v.expected for v in VECTORS}) >= 10


def test_both_name_the_same_object_whichever_byte_is_wrong_or_missing(judge):
    """In a byte of every seven, all bits by turns; and cut off before it."""
    changed = [flipped(SMALL, at, 1 << at % 8) for at in range(0, len(SMALL), 7)]
    changed += [SMALL[:at] for at in range(0, len(SMALL), 31)]
    ours: list[tuple[bool, int | None]] = []
    for data in changed:
        try:
            bundle.examine(data, [GATEWAY.public_key])
            ours.append((True, None))
        except Spoiled as spoiled:
            ours.append((False, spoiled.place.number))
    assert [(said["valid"], said.get("number")) for said in judge(changed)] == ours
    assert ours.count((True, None)) <= 2


def test_the_command_prints_json_and_its_exit_code_is_the_verdict(program, tmp_path):
    for vector in (VECTORS[0], VECTORS[-1]):
        file = tmp_path / vector.name
        file.write_bytes(vector.data)
        words = ["node", "verify.js", str(file), GATEWAY.public_key.hex()]
        done = subprocess.run(words, cwd=program, capture_output=True, text=True, timeout=60)
        good = vector.expected == "accepted"
        assert (done.returncode, done.stderr) == (0 if good else 2, "")
        assert json.loads(done.stdout)["valid"] is good


def test_both_read_and_leave_out_the_same_packs(judge):
    bundles = [make_bundles.of(make_good.JOINED, make_bundles.with_pack(p)) for p in UNREADABLE.values()]
    said = dict(zip(UNREADABLE, judge(bundles), strict=True))
    ours = dict(zip(UNREADABLE, map(make_bundles.essential, bundles), strict=True))
    assert said == ours
    assert {name: sum(found["unreadable"].values()) for name, found in ours.items()} == dict.fromkeys(ours, 1)


def test_a_key_id_that_is_a_part_of_one_is_none(judge):
    header = cbor.decode(cose.parse(make_good.WITH_DESCRIPTOR, cose.Typ.PROOF).protected, 4096, "")
    for kid in (b"", header[4][:7], header[4] + b"\0", header[4].hex()):
        protected, payload = cbor.encode(header | {4: kid}), b"\x80"
        signature = DEVICE.sign(cose._to_be_signed(protected, payload))
        data = b"\xd2\x84" + cbor.bstr(protected) + b"\xa0" + cbor.bstr(payload) + cbor.bstr(signature)
        bundle_ = make_bundles.of(make_good.JOINED, data)
        assert judge([bundle_]) == [{"valid": False, "code": "malformed", "number": 2}]
        with pytest.raises(Spoiled) as spoiled:
            bundle.examine(bundle_, [GATEWAY.public_key])
        assert (spoiled.value.verdict.reason.value, spoiled.value.place.number) == ("malformed", 2)


@pytest.mark.parametrize("given", [(), ("nowhere",), ("nowhere", "ab" * 32), ("verify.js", "xyz")])
def test_what_the_command_cannot_do_is_one_sentence(program, given):
    words = ["node", "verify.js", *given]
    done = subprocess.run(words, cwd=program, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert done.stderr.startswith(("Give it a bundle", "Cannot read nowhere: ENOENT"))


def test_the_lock_file_names_no_registry():
    text = (SOURCE / "package-lock.json").read_text()
    assert "resolved" not in text
    assert set(json.loads(text)["packages"][""]["dependencies"]) == {"@auth0/cose", "cbor2"}
