"""Calibration certificates (§12): what they correct, who signed them, and what is no certificate."""

from __future__ import annotations

import hashlib
import math
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proof import bundle, calibration, cbor, cose, joining
from proof.calibration import BARKJOHN_2021, HUMIDITY_CORRECTED_PM, Certificate, apply, sign
from proof.cose import IAT, ISS, SUB, Typ
from proof.finding import Finding
from proof.keys import SeedSigner, device_id
from proof.reasons import Reason, Refused
from tests.proof_samples import (
    BME280,
    CERTIFICATE,
    DESCRIPTOR,
    DEVICE,
    DEVICE_ID,
    GATEWAY,
    MEMBERSHIP,
    NETWORK,
    NOW_S,
    proof,
)
from verifier import words

CALIBRATOR = SeedSigner(bytes(range(160, 192)), "file")
CALIBRATOR_ID = device_id(CALIBRATOR.public_key)
PM = replace(
    CERTIFICATE,
    quantity="pm2.5",
    unit="ug/m3",
    model=HUMIDITY_CORRECTED_PM,
    coefficients=BARKJOHN_2021,
    humidity_serial="0badcafe",
)


def payload_of(certificate: Certificate) -> dict:
    signed = cose.parse(sign(certificate, CALIBRATOR), Typ.CALIBRATION)
    return dict(cbor.decode(signed.payload, 4096, "it"))


def forged(payload: object = None, signer: SeedSigner = CALIBRATOR, **claims: object) -> bytes:
    """A certificate whose payload or claims are not those that `sign` writes."""
    said = {ISS: CALIBRATOR_ID, SUB: CERTIFICATE.serial, IAT: CERTIFICATE.issued_s}
    said |= {{"iss": ISS, "sub": SUB, "iat": IAT}[name]: value for name, value in claims.items()}
    body = cbor.encode(payload_of(CERTIFICATE) if payload is None else payload)
    return cose.sign(Typ.CALIBRATION, said, body, signer)


@pytest.mark.parametrize("certificate", [CERTIFICATE, PM, replace(CERTIFICATE, expires_s=None)])
def test_a_certificate_comes_back_as_it_was_signed_with_its_calibrator(certificate):
    data = sign(certificate, CALIBRATOR)
    opened = calibration.open_certificate(data)
    assert (opened.certificate, opened.calibrator, opened.data) == (certificate, CALIBRATOR_ID, data)
    assert opened.hash == hashlib.sha256(data).digest() == cose.object_hash(data)


def test_a_linear_certificate_is_offset_and_gain():
    assert apply(CERTIFICATE, 20.0) == pytest.approx(-0.4 + 1.02 * 20.0)


def test_a_polynomial_certificate_is_the_sum_of_its_powers():
    quintic = replace(CERTIFICATE, model="polynomial", coefficients=(1.0, 2.0, 3.0, 4.0, 5.0, 6.0))
    assert apply(quintic, 2.0) == 1 + 2 * 2 + 3 * 4 + 4 * 8 + 5 * 16 + 6 * 32


def test_the_published_particle_correction_gives_what_its_paper_says():
    # Barkjohn et al. 2021, abstract: raw values overestimate by about 40 % in typical conditions.
    assert apply(PM, 30.0, 50.0) == pytest.approx(0.524 * 30.0 - 0.0862 * 50.0 + 5.75) == pytest.approx(17.16)
    assert apply(PM, 0.0, 90.0) == pytest.approx(-2.008), "a negative result is not clamped"


def test_without_the_humidity_it_needs_nothing_is_corrected():
    assert apply(PM, 30.0, None) is None


def test_a_result_that_no_proof_could_hold_is_none():
    steep = replace(CERTIFICATE, coefficients=(0.0, 1e20))
    assert apply(steep, 1.0) is None
    assert apply(CERTIFICATE, math.nan) is None


@given(st.floats(-1e6, 1e6), st.floats(-1e3, 1e3), st.floats(-10, 10))
def test_linear_is_the_polynomial_of_degree_one(value, offset, gain):
    line = replace(CERTIFICATE, coefficients=(offset, gain))
    assert apply(line, value) == apply(replace(line, model="polynomial"), value)


@pytest.mark.parametrize(
    "changes",
    [
        {"coefficients": (1.0,)},
        {"coefficients": (1.0, 2.0, 3.0)},
        {"coefficients": (0.0, math.nan)},
        {"coefficients": (0.0, math.inf)},
        {"model": "polynomial", "coefficients": (1.0,) * 7},
        {"model": "polynomial", "coefficients": (1.0,)},
        {"model": "humidity-corrected-pm", "coefficients": (1.0, 2.0)},
        {"model": "spline"},
        {"uncertainty": 0.0},
        {"uncertainty": -0.1},
        {"uncertainty": math.inf},
        {"low": 40.0, "high": 40.0},
        {"low": 41.0},
        {"expires_s": CERTIFICATE.issued_s},
        {"expires_s": -1},
        {"issued_s": -1},
        {"serial_kind": ""},
        {"serial": "a\nb"},
        {"serial": "x" * 129},
        {"reference": "x" * 129},
        {"quantity": "x" * 33},
    ],
    ids=str,
)
def test_a_certificate_nobody_would_accept_is_not_signed(changes):
    with pytest.raises(Refused) as caught:
        sign(replace(CERTIFICATE, **changes), CALIBRATOR)
    assert caught.value.verdict.reason is Reason.MALFORMED


@pytest.mark.parametrize(
    ("label", "value"),
    [
        (1, ["BME280", BME280.serial]),
        (1, ["BME280", BME280.serial, True]),
        (1, "BME280"),
        (4, 1),
        (5, [1.0, True]),
        (5, ["1.0", 2.0]),
        (6, "0badcafe"),
        (8, True),
        (9, [1.0]),
        (9, [1.0, 2.0, 3.0]),
        (10, 1.5),
        (11, True),
        (12, 0),
    ],
)
def test_a_field_of_another_shape_is_malformed(label, value):
    with pytest.raises(Refused) as caught:
        calibration.open_certificate(forged({**payload_of(CERTIFICATE), label: value}))
    assert caught.value.verdict.reason is Reason.MALFORMED


@pytest.mark.parametrize("label", range(1, 12))
def test_every_field_is_needed(label):
    payload = payload_of(CERTIFICATE)
    del payload[label]
    with pytest.raises(Refused, match=f"lacks field {label}"):
        calibration.open_certificate(forged(payload))


@pytest.mark.parametrize("claims", [{"sub": "another"}, {"iat": NOW_S}])
def test_claims_that_name_another_instrument_or_date_than_the_certificate_are_refused(claims):
    with pytest.raises(Refused, match="the claims name another"):
        calibration.open_certificate(forged(**claims))


def test_the_issuer_must_be_the_one_who_signed():
    with pytest.raises(Refused) as caught:
        calibration.open_certificate(forged(signer=GATEWAY))
    assert caught.value.verdict.reason is Reason.BAD_KEY


def test_no_bit_of_a_certificate_can_be_changed():
    data = sign(CERTIFICATE, CALIBRATOR)
    for place in range(len(data)):
        with pytest.raises(Refused):
            calibration.open_certificate(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])


@given(st.binary(max_size=300))
def test_arbitrary_bytes_are_refused(data):
    with pytest.raises(Refused):
        calibration.open_certificate(data)


def test_an_object_of_another_typ_is_no_certificate():
    with pytest.raises(Refused) as caught:
        calibration.open_certificate(joining.sign_membership(MEMBERSHIP, GATEWAY, NOW_S))
    assert caught.value.verdict.reason is Reason.WRONG_TYP


FIRST = calibration.open_certificate(sign(CERTIFICATE, CALIBRATOR))
SECOND = calibration.open_certificate(sign(replace(CERTIFICATE, quantity="humidity", unit="%RH"), CALIBRATOR))


def test_one_certificate_is_named_by_its_hash_and_several_by_the_hash_of_theirs():
    assert calibration.combined_hash([]) is None
    assert calibration.combined_hash([FIRST]) == FIRST.hash
    assert calibration.combined_hash([FIRST, SECOND]) == hashlib.sha256(FIRST.hash + SECOND.hash).digest()


def test_a_descriptor_names_its_certificates_in_the_order_of_its_quantities():
    both = replace(BME280, calibration_hash=calibration.combined_hash([FIRST, SECOND]))
    assert calibration.named(both, [SECOND, FIRST]) == (FIRST, SECOND)
    assert calibration.named(both, [FIRST]) == ()
    assert calibration.named(replace(both, serial="another"), [FIRST, SECOND]) == ()
    assert calibration.named(BME280, [FIRST, SECOND]) == ()


def bundled(*objects: bytes, calibration_hash: bytes | None) -> Finding:
    instrument = replace(BME280, calibration_hash=calibration_hash)
    descriptor = replace(DESCRIPTOR, instruments=(instrument,))
    first = proof(descriptor=descriptor, descriptor_hash=descriptor.hash(), signer=DEVICE)
    member = joining.sign_membership(MEMBERSHIP, GATEWAY, NOW_S)
    data = b"".join(bundle.write(DEVICE_ID, NETWORK, (member, *objects, first)))
    return bundle.examine(data, [GATEWAY.public_key])


def test_a_bundle_shows_who_calibrated_what_against_what_and_until_when():
    finding = bundled(FIRST.data, calibration_hash=FIRST.hash)
    assert finding.certificates == (("bme280-76", FIRST),)
    text = "\n".join(words.of(finding))
    assert "temperature calibrated against PT100 no. 7, DKD-K-00001 on 2027-01-14 08:00:00 UTC" in text
    assert "valid until 2027-01-16 08:00:00 UTC" in text
    assert f"by {CALIBRATOR_ID}" in text


def test_a_certificate_that_no_descriptor_names_shows_nothing():
    finding = bundled(SECOND.data, calibration_hash=FIRST.hash)
    assert finding.certificates == ()
    assert "which is not in the bundle" in "\n".join(words.of(finding))
    assert "without calibration certificate" in "\n".join(
        words.of(bundled(SECOND.data, calibration_hash=None))
    )


def test_a_bad_certificate_spoils_the_bundle_and_is_named():
    with pytest.raises(Refused, match="object 2"):
        bundled(FIRST.data[:-1] + bytes([FIRST.data[-1] ^ 1]), calibration_hash=FIRST.hash)
