"""The payload (§3.3, RFC 8428): what is written, how base fields resolve, what is refused."""

from __future__ import annotations

from decimal import Decimal

import pytest

from proof import cbor, senml
from proof.reasons import Reason, Refused
from proof.senml import Measured, Reading
from tests.proof_samples import BURST, DEVICE_ID, STRANGER_ID, reading

BN, BT, BU, BV, N, U, V, T, VD = -2, -3, -4, -5, 0, 1, 2, 6, 8
PREFIX = f"{DEVICE_ID}/"
START_S = 1_800_000_000


def test_a_row_is_written_as_one_base_time_and_its_records():
    rows = (reading(0, flags=16, raw=BURST), reading(1, time_ms=reading(1).time_ms + 250))
    assert cbor.decode(senml.encode(DEVICE_ID, rows), 4096, "pack") == [
        {BN: PREFIX, BT: START_S - 3600, N: "bme280-76/temperature", U: "Cel", V: Decimal("23.72")},
        {N: "bme280-76/pressure", U: "Pa", V: 100943},
        {N: "bme280-76/humidity", U: "%RH", V: Decimal("65.31")},
        {N: "bme280-76/quality", V: 16},
        {N: "bme280-76/raw", VD: BURST},
        {BT: Decimal("1799996460.25"), N: "bme280-76/temperature", U: "Cel", V: Decimal("23.72")},
        {N: "bme280-76/pressure", U: "Pa", V: 100943},
        {N: "bme280-76/humidity", U: "%RH", V: Decimal("65.31")},
    ]


def test_instruments_read_at_one_time_share_its_base_time():
    other = Reading("sds011-0", reading().time_ms, (Measured("pm2.5", "ug/m3", Decimal("4.2")),))
    records = cbor.decode(senml.encode(DEVICE_ID, (reading(), other)), 4096, "pack")
    assert BT not in records[3]
    assert senml.decode(cbor.encode(records), DEVICE_ID) == (reading(), other)


def test_an_empty_pack_is_a_heartbeat():
    assert senml.encode(DEVICE_ID, ()) == b"\x80"
    assert senml.decode(b"\x80", DEVICE_ID) == ()


def test_a_reading_with_flags_alone_says_that_the_instrument_gave_nothing_good():
    silent = reading(values=(), flags=1)
    assert senml.decode(senml.encode(DEVICE_ID, (silent,)), DEVICE_ID) == (silent,)


def test_times_are_kept_to_the_millisecond():
    for time_ms in (senml.EARLIEST_TIME_MS, 1_799_999_999_999, 1_800_000_000_001, 2**40 * 1000 - 1):
        pack = senml.encode(DEVICE_ID, (reading(time_ms=time_ms),))
        assert [r.time_ms for r in senml.decode(pack, DEVICE_ID)] == [time_ms]


def test_base_fields_hold_until_they_are_written_again():
    assert decode(
        {BN: f"{PREFIX}a/", BT: START_S, BU: "Cel", N: "in", V: 20},
        {N: "out", T: 1, V: Decimal("4.5")},
        {BU: "Pa", BT: START_S + 60, N: "p", V: 100_000},
        {BN: f"{PREFIX}b/", N: "p", V: 7, U: "hPa"},
        {N: "q", V: 8},
    ) == (
        Reading("a", START_S * 1000, (Measured("in", "Cel", 20),)),
        Reading("a", (START_S + 1) * 1000, (Measured("out", "Cel", Decimal("4.5")),)),
        Reading("a", (START_S + 60) * 1000, (Measured("p", "Pa", 100_000),)),
        Reading("b", (START_S + 60) * 1000, (Measured("p", "hPa", 7), Measured("q", "Pa", 8))),
    )


def test_the_base_value_is_added_exactly_and_a_base_name_may_be_the_whole_name():
    assert decode({BN: f"{PREFIX}a/t", BT: START_S, BU: "Cel", BV: Decimal("20.1"), V: Decimal("0.2")}) == (
        Reading("a", START_S * 1000, (Measured("t", "Cel", Decimal("20.3")),)),
    )


def test_a_time_may_lie_before_its_base_time():
    assert decode({**record(), T: Decimal("-0.5")})[0].time_ms == START_S * 1000 - 500


def test_a_finite_float_is_read_as_the_decimal_that_prints_it():
    assert decode({**record(), V: 21.25})[0].values[0].value == Decimal("21.25")


@pytest.mark.parametrize(
    "bt", [0, -5, 2**28 - 1, Decimal("268435455.9"), 2**40, 2**63, -(2**63), float("inf"), None]
)
def test_a_time_that_is_relative_to_now_or_out_of_range_is_refused(bt):
    assert refusal({**record(), BT: bt}) is Reason.BAD_PAYLOAD


def test_a_pack_without_any_time_is_refused():
    assert refusal({BN: PREFIX, N: "a/t", U: "Cel", V: 1}) is Reason.BAD_PAYLOAD


@pytest.mark.parametrize("unit", ["X", "", "cel", None, 1, [], {}, ["Cel"], b"Cel"])
def test_a_unit_outside_the_registry_is_named_as_unknown(unit):
    assert refusal({**record(), U: unit}) is Reason.UNKNOWN_UNIT


def test_a_record_without_unit_and_base_unit_is_refused():
    without_unit = record()
    del without_unit[U]
    assert refusal(without_unit) is Reason.UNKNOWN_UNIT


@pytest.mark.parametrize(
    "name",
    [
        "", "a", "a/", "/t", "a/t/x", "A/t", "a/T", "a b/t", "-a/t", "a/t\n", "a/té", "a" * 33 + "/t",
        "a/" + "t" * 33, "../t", 7, None, b"a/t",
    ],
)  # fmt: skip
def test_a_name_that_is_not_instrument_and_quantity_is_refused(name):
    assert refusal({**record(), N: name}) is Reason.BAD_PAYLOAD


@pytest.mark.parametrize("base", ["", f"{STRANGER_ID}/", DEVICE_ID, None, 7])
def test_a_name_that_does_not_start_with_the_device_is_refused(base):
    assert refusal({**record(), BN: base}) is Reason.BAD_PAYLOAD


@pytest.mark.parametrize(
    "value",
    [
        float("nan"), float("inf"), float("-inf"), True, None, "1", b"1", [1], Decimal("1e19"),
        Decimal("1e-19"), 2**63,
    ],
)  # fmt: skip
def test_a_value_that_is_no_plain_finite_number_is_refused(value):
    assert refusal({**record(), V: value}) is Reason.BAD_PAYLOAD
    assert refusal({**record(), BV: value}) is Reason.BAD_PAYLOAD
    assert refusal({**record(), T: value}) is Reason.BAD_PAYLOAD


@pytest.mark.parametrize("flags", [0, -1, 2**16, 1.0, True, Decimal("1.5"), None])
def test_a_quality_field_that_is_no_bit_field_is_refused(flags):
    assert refusal({**record(), N: "a/quality", V: flags}) is Reason.BAD_PAYLOAD


@pytest.mark.parametrize("raw", [b"", bytes(65), "00", 0, None])
def test_raw_words_that_are_not_one_to_64_bytes_are_refused(raw):
    assert refusal({BN: PREFIX, BT: START_S, N: "a/raw", VD: raw}) is Reason.BAD_PAYLOAD


@pytest.mark.parametrize(
    "changes",
    [{VD: b"x"}, {3: "text"}, {4: True}, {5: 1.0}, {-1: 10}, {-6: 0}, {7: 60}, {"x_": 1}],
    ids=str,
)
def test_a_record_with_another_label_or_two_values_is_refused(changes):
    assert refusal({**record(), **changes}) is Reason.BAD_PAYLOAD


@pytest.mark.parametrize("pack", [{}, 7, "text", [[]], [1], [{}], [{BN: PREFIX}], None], ids=str)
def test_a_pack_that_is_no_array_of_records_is_refused(pack):
    with pytest.raises(Refused) as refused:
        senml.decode(cbor.encode(pack), DEVICE_ID)
    assert refused.value.verdict.reason is Reason.BAD_PAYLOAD


@pytest.mark.parametrize(
    "twice",
    [{N: "a/t", U: "Cel", V: 2}, {N: "a/quality", V: 2}, {N: "a/raw", VD: b"x"}],
    ids=["a value", "the quality", "the raw words"],
)
def test_what_is_written_twice_for_one_time_is_refused(twice):
    both = [record(), {N: "a/quality", V: 1}, {N: "a/raw", VD: b"y"}]
    assert len(decode(*both)) == 1
    assert refusal(*both, twice) is Reason.BAD_PAYLOAD


def test_4096_records_are_read_and_one_more_is_not():
    first, *rows = [{BT: START_S + n, N: "a/t", U: "Cel", V: 1} for n in range(4097)]
    first[BN] = PREFIX
    assert len(decode(first, *rows[:-1])) == 4096
    assert refusal(first, *rows) is Reason.BAD_PAYLOAD


def test_a_pack_over_256_kib_is_a_bad_payload():
    with pytest.raises(Refused) as refused:
        senml.decode(bytes(256 * 1024 + 1), DEVICE_ID)
    assert refused.value.verdict.reason is Reason.BAD_PAYLOAD


def record() -> dict:
    return {BN: PREFIX, BT: START_S, N: "a/t", U: "Cel", V: 1}


def decode(*records: dict) -> tuple[Reading, ...]:
    return senml.decode(cbor.encode(list(records)), DEVICE_ID)


def refusal(*records: dict) -> Reason:
    with pytest.raises(Refused) as refused:
        decode(*records)
    return refused.value.verdict.reason
