"""`fieldproof-verify`: the verdict in words, for programs, and unpacked."""

from __future__ import annotations

import csv
import io
import json
import os
import re
from datetime import datetime
from pathlib import Path

import pytest

from proof import bundle, cose, receipt, sealing
from proof.claims import TimeClaim
from proof.receipt import Receipt
from tests.proof_samples import (
    BEACON_BYTES,
    BURST,
    DEVICE,
    DEVICE_ID,
    GATEWAY,
    GATEWAY_ID,
    LOG,
    NOW_S,
    claims,
    following,
    proof,
    reading,
)
from tests.vectors import make_bundles, make_good
from verifier import command, moments, shape, unpack, words
from verifier.moments import iso, length, utc

PAGE = Path(__file__).parents[3] / "docs" / "evidence.md"


def written(tmp_path, *objects: bytes) -> Path:
    file = tmp_path / "bundle"
    file.write_bytes(make_bundles.of(*objects))
    return file


def test_a_good_bundle_is_told_in_plain_words(run, bundle_file):
    code, out, err = run(bundle_file)
    assert (code, err) == (0, "")
    for sentence in (
        f"Signed by {DEVICE_ID},",
        f"a SIMULATED device of test network 'moor', key kept in: sim,\n  admitted by gateway {GATEWAY_ID}.",
        "5 proofs (seq 1 to 8) with 63 readings; every signature and link of the chain fits.",
        "Signed after:  2027-01-15 07:59:30 UTC",
        "Signed before: 2027-01-15 08:00:09 UTC",
        "A gateway confirmed proofs up to seq 8.",
        "Instrument bme280-76: BME280 on i2c-1, trim-sha256 5d0c39f1",
        "Proofs the device declared lost: seq 5 to 7 (disk full).",
        "Samples the device declared lost: 3 (3 bus stuck).",
        "Readings flagged: none.",
        "Not shown: that the air was not heated with a lighter",
    ):
        assert sentence in out
    assert max(map(len, out.splitlines())) <= 110


def test_the_gateways_id_will_do_for_its_key(run, bundle_file):
    assert run(bundle_file, key=GATEWAY_ID)[0] == 0


def test_what_is_absent_is_said(run, tmp_path):
    _code, out, _err = run(written(tmp_path, make_good.JOINED, make_bundles.THIRD))
    for sentence in (
        "a device, simulated or not, of test network 'moor', key kept in: not stated",
        "Signed after:  nothing shows it for all of it",
        "Signed before: nothing shows it, no receipt covers all",
        "The instruments of 1 proof are not described in this bundle.",
    ):
        assert sentence in out


def test_from_where_on_a_beacon_bounds_the_time_is_told(run, tmp_path):
    objects = (make_good.JOINED, BEACON_BYTES, make_bundles.BEFORE_ANY_BEACON, make_bundles.HEARD_LATER)
    _code, out, _err = run(written(tmp_path, *objects))
    assert "Signed after:  nothing shows it for all of it\n" in out
    assert "    from seq 2 of log a1b2c3d4e5f60718 on: after 2027-01-15 07:59:30 UTC\n" in out


def test_parts_that_nothing_links_are_dated_one_by_one(run, tmp_path):
    vectors = {vector.name: vector.data for vector in make_bundles.good_bundles()}
    file = tmp_path / "bundle"
    file.write_bytes(vectors["bundle_logs_swapped"])
    _code, out, _err = run(file)
    for sentence in (
        "Signed after:  2027-01-15 07:59:30 UTC",
        "Signed before: nothing shows it, no receipt covers all",
        "It has 2 parts; nothing links them, or shows which was first:",
        "  seq 1 to 1 of log 1112131415161718:\n    after 2027-01-15 07:59:30 UTC\n"
        "    before: nothing shows it\n",
        "  seq 1 to 2 of log 0102030405060708:\n    after 2027-01-15 07:59:30 UTC\n"
        "    before 2027-01-15 08:00:20 UTC\n",
    ):
        assert sentence in out


def test_a_proof_whose_readings_cannot_be_read_keeps_its_place_and_they_count_for_nothing(run, tmp_path):
    wrong = make_bundles.with_pack(make_bundles.UNREADABLE["unknown_unit"])
    file = written(tmp_path, make_good.JOINED, wrong, following(wrong, reading(1)))
    table, pack = tmp_path / "csv", tmp_path / "senml"
    code, out, err = run(file, "--csv", table, "--senml", pack)
    assert (code, err) == (0, "")
    assert "2 proofs (seq 1 to 2) with 1 reading; every signature and link of the chain fits." in out
    assert "1 proof with readings that cannot be read (unknown_unit): it keeps its place and" in out
    assert [line.split(",")[-2] for line in table.read_text().splitlines()] == ["seq", "2", "2", "2"]
    assert len(json.loads(pack.read_text())) == 3


def test_a_clock_is_not_dated_by_a_proof_whose_readings_cannot_be_read(run, tmp_path):
    """Its `time` speaks of a first reading that nobody knows."""
    wrong = make_bundles.with_pack(make_bundles.UNREADABLE["unknown_unit"])
    unsure = following(wrong, reading(1), time=TimeClaim(65_000_000_000, 0, 0))
    _code, out, _err = run(written(tmp_path, make_good.JOINED, wrong, unsure), "--json")
    assert json.loads(out)["coverage"][0]["undated"] == 1


@pytest.mark.parametrize(
    ("ahead_s", "said"), [(7200, "2 h after a gateway had it"), (61, "61 s after"), (60, ""), (-9999, "")]
)
def test_a_reading_dated_after_a_gateway_had_it_is_told(run, tmp_path, ahead_s, said):
    ahead = proof(reading(0, time_ms=(NOW_S + ahead_s) * 1000))
    taken = Receipt(DEVICE_ID, LOG, 1, cose.object_hash(ahead), NOW_S)
    file = written(tmp_path, make_good.JOINED, ahead, receipt.sign(taken, GATEWAY, NOW_S))
    code, out, _err = run(file)
    assert code == 0
    assert ("one of the two clocks is wrong" in out) == bool(said)
    assert said in out


def test_flags_are_told_by_instrument_and_with_their_sentence(run, tmp_path):
    _code, out, _err = run(written(tmp_path, make_good.JOINED, make_bundles.FLAGGED))
    assert "Readings flagged: quality_range 1, quality_retried 1, quality_late 1." in out
    assert "  bme280-76, 1 of 2: A value lies outside the instrument's range." in out
    assert "  sds011-0, 1 of 1: The reading needed a retry." in out


@pytest.mark.parametrize(
    ("issued_s", "expires_s", "said"),
    [
        (NOW_S - 86_400, None, "in force during all its readings here"),
        (NOW_S - 3600, NOW_S, "in force during all its readings here"),
        (NOW_S - 86_400, NOW_S - 1800, "NOT in force during all its readings here"),
        (NOW_S - 1800, None, "NOT in force during all its readings here"),
        (NOW_S - 86_400, NOW_S - 3600, "NOT in force during its readings here"),
        (NOW_S, None, "NOT in force during its readings here"),
    ],
)
def test_whether_a_calibration_was_in_force_is_told(run, tmp_path, issued_s, expires_s, said):
    certificate, first = make_bundles.calibrated(issued_s, expires_s)
    _code, out, _err = run(written(tmp_path, make_good.JOINED, certificate, first))
    assert f"    {said}\n" in out
    assert f"    by {make_bundles.CALIBRATOR_ID};" in out


def test_holes_are_told_with_what_explains_them(run, tmp_path):
    rows = [reading(number) for number in (0, 1, 2, 3, 20, 21)]
    _code, out, _err = run(written(tmp_path, make_good.JOINED, proof(*rows)))
    assert "usually 60 s apart, which covers 23.8 % of that time" in out
    assert "  1 hole: nothing here explains it;\n    the longest 17 min from 2027-01-15 07:03:00 UTC" in out


def test_a_wrong_object_is_named_with_its_bytes_and_the_reason(run, tmp_path):
    data = bytearray(make_good.BUNDLE)
    at = make_good.BUNDLE.index(make_good.ONE_READING) + len(make_good.ONE_READING) - 5
    data[at] ^= 1
    file = tmp_path / "flipped"
    file.write_bytes(data)
    code, out, err = run(file)
    assert (code, out) == (2, "")
    found = re.fullmatch(
        r"fieldproof-verify: .*flipped is not valid evidence\. Wrong is object 4 \(proof, seq 2, bytes "
        r"(\d+) to (\d+)\): bad_signature: The signature does not fit the bytes\.\n",
        err,
    )
    assert found
    assert int(found[1]) <= at <= int(found[2])
    code, out, err = run(file, "--json")
    said = json.loads(out)
    assert (code, err, said["valid"], said["code"]) == (2, "", False, "bad_signature")
    place = {"first_byte": int(found[1]), "last_byte": int(found[2])}
    assert said["object"] == {"number": 4, "kind": "proof", "seq": 2} | place


def test_a_cut_file_says_within_which_object_it_ends(run, tmp_path):
    file = tmp_path / "cut"
    file.write_bytes(make_good.BUNDLE[:-1])
    assert "the file ends within object 8" in run(file)[2]


@pytest.mark.parametrize("vector", [*make_bundles.good_bundles()], ids=lambda vector: vector.name)
def test_every_good_bundle_is_told_printed_and_unpacked(run, tmp_path, vector):
    file, table, pack = tmp_path / "b", tmp_path / "csv", tmp_path / "senml"
    file.write_bytes(vector.data)
    code, out, err = run(file, "--json", "--csv", table, "--senml", pack)
    assert (code, err) == (0, "")
    said = json.loads(out)
    assert run(file)[0] == 0
    rows = [*csv.DictReader(io.StringIO(table.read_text(), newline=""))]
    assert len({(row["log"], row["seq"], row["time"], row["instrument"]) for row in rows}) == said["readings"]
    assert len(json.loads(pack.read_text())) >= len([row for row in rows if row["value"]])


def test_csv_has_a_row_per_value_as_it_was_signed(run, tmp_path):
    table = tmp_path / "readings.csv"
    run(written(tmp_path, make_good.JOINED, make_bundles.FLAGGED, following(make_bundles.FLAGGED)),
        "--csv", table)  # fmt: skip
    with table.open(newline="") as file:
        rows = [*csv.DictReader(file)]
    assert tuple(rows[0]) == unpack.COLUMNS
    assert rows[0] == {
        "time": "2027-01-15T07:00:00.000Z",
        "clock": "ntp",
        "instrument": "bme280-76",
        "quantity": "temperature",
        "value": "23.72",
        "unit": "Cel",
        "uncertainty": "0.5",
        "flags": "quality_range quality_late",
        "seq": "1",
        "log": "a1b2c3d4e5f60718",
    }
    assert [row["value"] for row in rows[:3]] == ["23.72", "100943", "65.31"]
    assert (rows[3]["instrument"], rows[3]["quantity"], rows[3]["value"]) == ("sds011-0", "", "")
    assert rows[4]["flags"] == "32768"
    assert rows[-1]["seq"] == "2"
    assert rows[-1]["uncertainty"] == "3"
    assert datetime.fromisoformat(rows[0]["time"]).timestamp() == NOW_S - 3600


def test_senml_is_resolved_and_holds_flags_and_raw_words(run, tmp_path):
    pack = tmp_path / "readings.json"
    raw = proof(reading(raw=BURST, flags=16))
    run(written(tmp_path, make_good.JOINED, raw), "--senml", pack)
    name, at = f"{DEVICE_ID}/bme280-76", NOW_S - 3600
    assert json.loads(pack.read_text()) == [
        {"n": f"{name}/temperature", "u": "Cel", "v": 23.72, "t": at},
        {"n": f"{name}/pressure", "u": "Pa", "v": 100943, "t": at},
        {"n": f"{name}/humidity", "u": "%RH", "v": 65.31, "t": at},
        {"n": f"{name}/quality", "v": 16, "t": at},
        {"n": f"{name}/raw", "vd": "SlLAgJbAenY", "t": at},
    ]


def test_an_empty_pack_is_json_too(run, tmp_path):
    pack = tmp_path / "readings.json"
    run(written(tmp_path, make_good.JOINED, make_good.HEARTBEAT), "--senml", pack)
    assert json.loads(pack.read_text()) == []


def test_nothing_is_unpacked_from_a_bundle_that_is_not_good(run, tmp_path):
    file = tmp_path / "bad"
    file.write_bytes(make_good.BUNDLE[:-1])
    assert run(file, "--csv", tmp_path / "c", "--senml", tmp_path / "s")[0] == 2
    assert [path.name for path in tmp_path.iterdir()] == ["bad"]


def test_nothing_is_unpacked_from_a_bundle_that_changed_after_it_was_judged(tmp_path):
    finding = bundle.examine(make_good.BUNDLE, [GATEWAY.public_key])
    for others in ([make_good.RAW_EVIDENCE], [*make_good.CHAIN[:4], make_good.RAW_EVIDENCE]):
        other = io.BytesIO(make_bundles.of(make_good.JOINED, *others))
        with pytest.raises(command.Unusable, match="changed while it was read"):
            list(command._same_proofs(other, finding))
    assert len([*command._same_proofs(io.BytesIO(make_good.BUNDLE), finding)]) == 5


def test_a_file_that_is_there_stays_as_it_is(run, bundle_file, tmp_path):
    mine = tmp_path / "mine"
    mine.write_text("mine")
    for option in ("--csv", "--senml"):
        code, out, err = run(bundle_file, option, mine)
        assert (code, out) == (2, "")
        assert "already there and stays as it is" in err
    assert mine.read_text() == "mine"


def no_links(*_given):
    raise PermissionError(1, "Operation not permitted")


@pytest.mark.parametrize("link", [os.link, no_links])
def test_a_file_that_appeared_meanwhile_stays_as_it_is(run, bundle_file, tmp_path, monkeypatch, link):
    table = tmp_path / "table"

    def while_it_writes(*_given):
        yield "theirs"
        table.write_text("mine")

    monkeypatch.setattr(unpack, "csv", while_it_writes)
    monkeypatch.setattr(os, "link", link)
    code, out, err = run(bundle_file, "--csv", table)
    assert (code, out, table.read_text()) == (2, "", "mine")
    assert "already there and stays as it is" in err
    assert {path.name for path in tmp_path.iterdir()} == {"table", bundle_file.name}


def test_a_file_is_unpacked_where_the_file_system_knows_no_links(run, bundle_file, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "link", no_links)
    table = tmp_path / "table"
    assert run(bundle_file, "--csv", table)[0] == 0
    assert len(table.read_text().splitlines()) > 1
    assert {path.name for path in tmp_path.iterdir()} == {"table", bundle_file.name}


def test_two_forms_of_the_readings_need_two_names(run, bundle_file, tmp_path):
    (tmp_path / "sub").mkdir()
    code, out, err = run(bundle_file, "--csv", tmp_path / "x", "--senml", tmp_path / "sub" / ".." / "x")
    assert (code, out) == (2, "")
    assert "two names" in err
    assert not (tmp_path / "x").exists()


def test_what_cannot_be_read_written_or_understood_is_one_sentence(run, bundle_file, tmp_path):
    for arguments, words_ in (
        ((tmp_path / "none",), "No such file"),
        ((tmp_path,), "directory"),
        ((bundle_file, "--csv", tmp_path / "no" / "where"), "Cannot write"),
    ):
        code, _out, err = run(*arguments)
        assert code == 2
        assert words_ in err
    for key in ("xyz", "did:key:z6Mkxx", "0x" + "ab" * 31, "é" * 64):
        code, out, err = run(bundle_file, key=key)
        assert (code, out, len(err.splitlines())) == (2, "", 1)
        assert json.loads(run(bundle_file, "--json", key=key)[1])["error"].endswith(".")


def test_a_clock_that_says_the_end_of_time_is_believed_by_nobody(run, tmp_path):
    """An empty proof with a source and an impossible sealing time does not date its boot."""
    end = sealing.seal(claims(sealed_at_s=2**63 - 1), (), DEVICE)
    unsure = following(end, reading(1), time=TimeClaim(65_000_000_000, 0, 0))
    code, out, err = run(written(tmp_path, make_good.JOINED, end, unsure), "--json")
    assert (code, err) == (0, "")
    (found,) = json.loads(out)["coverage"]
    assert (found["undated"], found["first_s"]) == (1, NOW_S - 3540)
    sure = following(unsure, reading(2), time=TimeClaim(125_000_000_000, 1, 0))
    _code, out, _err = run(written(tmp_path, make_good.JOINED, end, unsure, sure), "--json")
    assert json.loads(out)["coverage"][0]["undated"] == 0, "a possible time of that boot dates it"


def test_readings_that_another_proof_would_put_out_of_all_time_stay_undated(run, tmp_path):
    """The clock without a source jumped: with its last reading dated the first lies before any calendar."""
    first_s, last_s = 2**28, 2**40 - 1
    for at_s, seen_s in ((first_s, last_s), (last_s, first_s)):
        jumped = (reading(time_ms=at_s * 1000), reading(time_ms=seen_s * 1000))
        unsure = proof(*jumped, time=TimeClaim(5_000_000_000, 0, 0))
        sure = following(unsure, reading(time_ms=last_s * 1000), time=TimeClaim(6_000_000_000, 1, 0))
        file = written(tmp_path, make_good.JOINED, unsure, sure)
        code, out, err = run(file)
        assert (code, err) == (0, "")
        assert "with the time of a clock that had no source" in out
        code, out, err = run(file, "--json", "--csv", tmp_path / f"{at_s}.csv")
        assert (code, err) == (0, "")
        assert json.loads(out)["coverage"][0]["undated"] == 2


@pytest.mark.parametrize("seconds", [-(2**62), -62_135_596_801, 253_402_300_800, 2**63])
def test_a_time_without_a_calendar_is_told_in_seconds(seconds):
    assert (iso(seconds * 1000 + 7), utc(seconds)) == (f"@{seconds}.007", f"@{seconds}")
    assert iso(-62_135_596_800_000).startswith(("1-01-01", "0001-01-01"))


def test_a_time_beyond_the_year_9999_is_told_in_seconds():
    far_s = 2**40 - 1
    assert (iso(far_s * 1000 + 5), utc(far_s)) == (f"@{far_s}.005", f"@{far_s}")
    assert iso(moments._YEAR_10000_S * 1000 - 1) == "9999-12-31T23:59:59.999Z"
    far = proof(reading(time_ms=far_s * 1000))
    finding = bundle.examine(make_bundles.of(make_good.JOINED, far), [GATEWAY.public_key])
    assert f"@{far_s}" in "\n".join(words.of(finding))
    assert f"@{far_s}" in "".join(unpack.csv([sealing.parse(far)], finding))


@pytest.mark.parametrize(
    ("milliseconds", "said"),
    [
        (10_000, "10 s"),
        (119_000, "119 s"),
        (120_000, "2 min"),
        (9_000_000, "2.5 h"),
        (3 * 86_400_000, "3 days"),
    ],
)
def test_a_length_of_time_has_the_unit_that_fits(milliseconds, said):
    assert length(milliseconds) == said


def fields(value: object, before: str = "") -> set[str]:
    """Paths of all fields, lists as [] and the names of flags as one."""
    if isinstance(value, list):
        return {path for one in value for path in fields(one, f"{before}[]")}
    if isinstance(value, dict) and not before.endswith(("flags", "unreadable")):
        return {path for name, one in value.items() for path in fields(one, f"{before}.{name}".lstrip("."))}
    return {before}


def test_the_page_names_every_field_of_the_json():
    found: set[str] = set()
    for vector in make_bundles.good_bundles():
        found |= fields(shape.of(bundle.examine(vector.data, [GATEWAY.public_key])))
    known = set(re.findall(r"^\| `([^`]+)` \|", PAGE.read_text(), re.MULTILINE))
    assert {name for name in found if "[]" not in name} <= known
    assert {name for name in found if "[]" in name} <= known
