"""Certificates at the device (§12): which are accepted, what they do to a sample, when none is published."""

from __future__ import annotations

import math
from dataclasses import replace
from decimal import Decimal
from pathlib import Path

import pytest

from agent import cli
from agent.calibration import Calibrator, Humidities, certificates_of
from agent.clock import SOURCE_NONE, SOURCE_NTP, Wall
from agent.errors import FixConfig, HardStop
from agent.settings import InstrumentSettings, Settings, load
from drivers.bme280 import BME280
from drivers.contract import Flag, Identity, Quantity
from drivers.errors import NeedsHuman
from drivers.sds011 import SDS011
from hardware_sim import run
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.scenario import climate, recorded_day
from hardware_sim.worlds import ClimateWorld
from proof import bundle, calibration
from proof.calibration import BARKJOHN_2021, Certificate, SignedCertificate
from proof.keys import SeedSigner, device_id
from tests.agent_parts import START_S
from tests.sim_parts import GATEWAY, NAME, joined_config, live, made_up_day, sealed

CALIBRATOR = SeedSigner(bytes(range(160, 192)), "file")
STRANGER = SeedSigner(bytes(range(192, 224)), "file")
CALIBRATOR_ID = device_id(CALIBRATOR.public_key)
NOW = Wall(START_S * 10**9, SOURCE_NTP, 1000)
LINEAR = Certificate(
    instrument_model="BME280",
    serial="5d0c39f1",
    serial_kind="trim-sha256",
    quantity="temperature",
    unit="Cel",
    model="linear",
    coefficients=(-0.5, 1.1),
    reference="PT100",
    uncertainty=0.07,
    low=-10.0,
    high=40.0,
    issued_s=START_S - 1000,
    expires_s=START_S + 1000,
)
PM = replace(
    LINEAR,
    instrument_model="SDS011",
    quantity="pm2.5",
    unit="ug/m3",
    model="humidity-corrected-pm",
    coefficients=BARKJOHN_2021,
    high=250.0,
)
AIR = (
    Quantity("pm2.5", "ug/m3", 0.1, 5.0, 0.0, 1000.0),
    Quantity("humidity", "%RH", 0.1, 3.0, 0.0, 100.0),
)
ME = Identity("BME280", "5d0c39f1", "trim-sha256")


def signed(certificate: Certificate, signer: SeedSigner = CALIBRATOR) -> SignedCertificate:
    return calibration.open_certificate(calibration.sign(certificate, signer))


def calibrator(*certificates, quantities=BME280.quantities, humidities=None):
    return Calibrator(quantities, [signed(c) for c in certificates], humidities or Humidities())


# What it does to a sample


def test_each_quantity_has_its_own_correction_and_the_others_stay_as_they_are():
    one = calibrator(LINEAR, replace(LINEAR, quantity="humidity", unit="%RH", high=100.0))
    found = one.correct((20.0, 101_325.0, 50.0), NOW, 0)
    assert found.values == (pytest.approx(21.5), 101_325.0, pytest.approx(54.5))
    assert (found.flags, found.problem) == (0, "")


def test_what_was_not_measured_stays_not_measured():
    assert calibrator(LINEAR).correct((None, 1.0, None), NOW, 0).values == (None, 1.0, None)


def test_without_certificates_nothing_changes():
    assert calibrator().correct((20.0, None, 50.0), NOW, 0).values == (20.0, None, 50.0)


@pytest.mark.parametrize(
    ("seconds", "source", "flag"),
    [
        (999.9, SOURCE_NTP, 0),
        (1000.0, SOURCE_NTP, Flag.CALIBRATION_EXPIRED),
        (1e6, SOURCE_NTP, Flag.CALIBRATION_EXPIRED),
        (1e6, SOURCE_NONE, 0),
    ],
)
def test_an_expired_certificate_is_flagged_from_its_expiry_on_where_the_clock_has_a_source(
    seconds, source, flag
):
    wall = Wall(NOW.ns + round(seconds * 1e9), source, 1000)
    found = calibrator(LINEAR).correct((20.0, 1.0, 50.0), wall, 0)
    assert found.flags == flag
    assert found.values[0] == pytest.approx(21.5), "an expired certificate still corrects"


def test_one_without_expiry_is_never_flagged():
    found = calibrator(replace(LINEAR, expires_s=None)).correct((20.0, 1.0, 50.0), Wall(2**62, 1, 0), 0)
    assert found.flags == 0


@pytest.mark.parametrize(("value", "flag"), [(-10.0, 0), (40.0, 0), (40.01, 1), (-10.01, 1)])
def test_a_value_outside_the_range_of_validity_is_corrected_and_flagged(value, flag):
    found = calibrator(LINEAR).correct((value, 1.0, 50.0), NOW, 0)
    assert (found.values[0], found.flags) == (pytest.approx(-0.5 + 1.1 * value), flag)


def test_a_correction_that_gives_no_usable_number_publishes_none():
    found = calibrator(replace(LINEAR, coefficients=(0.0, 1e20))).correct((20.0, 1.0, 50.0), NOW, 0)
    assert found.values == (None, 1.0, 50.0)
    assert "temperature is left out" in found.problem


# Humidity


def test_particles_are_corrected_with_the_instruments_own_humidity_as_it_is_published():
    rh = replace(PM, quantity="humidity", unit="%RH", model="linear", coefficients=(10.0, 1.0), high=100.0)
    found = calibrator(PM, rh, quantities=AIR).correct((30.0, 40.0), NOW, 0)
    assert found.values == (pytest.approx(0.524 * 30 - 0.0862 * 50 + 5.75), 50.0)


def test_particles_are_corrected_with_the_humidity_another_instrument_gave_lately():
    shared = Humidities()
    weather = calibrator(humidities=shared)
    weather.require("weather", ME)
    dust = calibrator(replace(PM, humidity_serial=ME.serial), quantities=AIR[:1], humidities=shared)
    assert dust.correct((30.0,), NOW, 0).values == (None,), "nothing is guessed"
    weather.correct((20.0, 1.0, 50.0), NOW, 10**9)
    wanted = pytest.approx(0.524 * 30 - 0.0862 * 50 + 5.75)
    assert dust.correct((30.0,), NOW, 600 * 10**9).values == (wanted,)
    late = dust.correct((30.0,), NOW, 602 * 10**9)
    assert late.values == (None,), "600 s later it is no longer the humidity of the air"
    assert "pm2.5 is left out: no humidity of 5d0c39f1" in late.problem


def test_a_humidity_that_was_not_measured_corrects_nothing():
    found = calibrator(PM, quantities=AIR).correct((30.0, None), NOW, 0)
    assert found.values == (None, None)


# Whose certificate it is


@pytest.mark.parametrize(
    "other",
    [replace(ME, serial="another"), replace(ME, model="BME680"), replace(ME, kind="serial")],
    ids=["serial", "model", "kind"],
)
def test_the_certificate_of_another_instrument_needs_a_person(other):
    one = calibrator(LINEAR)
    one.require("x", ME)
    with pytest.raises(NeedsHuman) as caught:
        one.require("x", other)
    assert "temperature certificate is for the BME280 with trim-sha256 '5d0c39f1'" in caught.value.sentence


def test_an_instrument_without_certificate_may_be_any():
    calibrator().require("x", replace(ME, serial="another"))


# What the configuration names


@pytest.fixture
def bench(tmp_path):
    """bench(*certificates) -> settings of one BME280 that names these files."""

    def make(*certificates: Certificate | bytes, calibrators=(CALIBRATOR_ID,), signer=CALIBRATOR) -> Settings:
        paths = []
        for number, one in enumerate(certificates):
            paths.append(tmp_path / f"{number}.cose")
            paths[-1].write_bytes(one if isinstance(one, bytes) else calibration.sign(one, signer))
        instrument = InstrumentSettings("one", "bme280", "i2c:1", calibration=tuple(paths))
        return Settings(tmp_path, "sim:/x", (instrument,), calibrators=calibrators)

    return make


def checked(settings: Settings) -> tuple[SignedCertificate, ...]:
    return certificates_of(settings, {"one": BME280.__new__(BME280)})["one"]


def test_certificates_come_in_the_order_of_the_quantities(bench):
    rh = replace(LINEAR, quantity="humidity", unit="%RH")
    assert [c.certificate for c in checked(bench(rh, LINEAR))] == [LINEAR, rh]


BAD = {
    "no certificate": ((b"\x00",), {}, "is no calibration certificate: malformed"),
    "too long": ((bytes(5000),), {}, "is no calibration certificate: too_large"),
    "cut short": ((calibration.sign(LINEAR, CALIBRATOR)[:-1],), {}, "malformed"),
    "changed": ((calibration.sign(LINEAR, CALIBRATOR).replace(b"PT100", b"PT101"),), {}, "bad_signature"),
    "of a stranger": ((LINEAR,), {"signer": STRANGER}, "is not among `calibrators`"),
    "nobody is trusted": ((LINEAR,), {"calibrators": ()}, "is not among `calibrators`"),
    "no quantity of it": ((replace(LINEAR, quantity="pm2.5"),), {}, "is for pm2.5; it measures temperature,"),
    "another unit": ((replace(LINEAR, unit="K"),), {}, "is in K, the instrument gives temperature in Cel"),
    "two of a kind": ((LINEAR, LINEAR), {}, "is the second one for temperature"),
    "no did": ((), {"calibrators": ("did:key:z6Mkx",)}, "is not like did:key"),
}


@pytest.mark.parametrize(("certificates", "options", "said"), BAD.values(), ids=BAD)
def test_what_is_wrong_with_a_certificate_is_one_sentence(bench, certificates, options, said):
    with pytest.raises(FixConfig) as caught:
        checked(bench(*certificates, **options))
    assert said in caught.value.sentence


def test_a_file_that_is_not_there_is_said(bench):
    settings = bench(LINEAR)
    settings.instrument[0].calibration[0].unlink()
    with pytest.raises(FixConfig, match=r"0\.cose cannot be read"):
        checked(settings)


def test_own_humidity_is_needed_where_a_certificate_wants_it(tmp_path):
    path = tmp_path / "pm.cose"
    path.write_bytes(calibration.sign(PM, CALIBRATOR))
    dust = InstrumentSettings("one", "sds011", "serial:/dev/x", calibration=(path,))
    settings = Settings(tmp_path, "sim:/x", (dust,), calibrators=(CALIBRATOR_ID,))

    with pytest.raises(FixConfig, match="own humidity, which it does not measure"):
        certificates_of(settings, {"one": SDS011.__new__(SDS011)})


# A whole node on a simulated chip


@pytest.fixture
def member(tmp_path) -> tuple[Path, str]:
    return joined_config(tmp_path)


def serial_of(settings: Settings) -> str:
    """The serial of the chip that the simulator puts behind the first instrument."""
    clock = PacedClock(0, 0, 1.0, boot_id=bytes(16), source=SOURCE_NONE)
    buses = SimulatedBuses(settings.instrument, ClimateWorld(seed=1), clock)
    return BME280(buses.get("i2c:1"), 0x76, clock).open().serial  # type: ignore[arg-type]


def with_certificates(config: Path, *instruments: tuple[Certificate, ...]) -> Settings:
    """Settings of `config` whose instruments have these certificates; a second one is at 0x77."""
    settings = load(config)
    first = replace(settings.instrument[0], raw_evidence=True)
    given = []
    for number, certificates in enumerate(instruments):
        paths = []
        for one in certificates:
            paths.append(config.parent / f"{number}-{one.quantity}.cose")
            paths[-1].write_bytes(calibration.sign(one, CALIBRATOR))
        name, address = (NAME, "0x76") if number == 0 else ("bme280-77", "0x77")
        given.append(replace(first, name=name, address=address, calibration=tuple(paths)))
    return replace(settings, instrument=tuple(given), calibrators=(CALIBRATOR_ID,))


def test_a_node_publishes_corrected_values_and_raw_words_and_says_who_calibrated(member, tmp_path, until):
    config, device = member
    mine = replace(LINEAR, serial=serial_of(load(config)))
    rh = replace(mine, quantity="humidity", unit="%RH", coefficients=(2.0, 1.0), high=95.0)
    scenario = recorded_day(made_up_day(tmp_path / "day.csv", 20))

    def lived(folder: str, *certificates: Certificate):
        state = tmp_path / folder
        state.mkdir()
        settings = replace(with_certificates(config, certificates), state_dir=state)
        (state / "membership.json").write_bytes((tmp_path / "membership.json").read_bytes())
        live(settings, scenario, until)
        proofs, _ = sealed(settings, device)
        return settings, proofs, [reading for proof in proofs for reading in proof.readings()]

    _, _, plain = lived("plain")
    settings, proofs, corrected = lived("corrected", mine, rh)
    assert [reading.raw for reading in corrected] == [reading.raw for reading in plain]
    for before, after in zip(plain, corrected, strict=True):
        was = {m.quantity: float(m.value) for m in before.values}
        now = {m.quantity: m.value for m in after.values}
        # Both were rounded to 0.01, the correction was made before.
        assert float(now["temperature"]) == pytest.approx(-0.5 + 1.1 * was["temperature"], abs=0.011)
        assert float(now["humidity"]) == pytest.approx(2.0 + was["humidity"], abs=0.011)
        assert all(Decimal(value) == round(Decimal(value), 2) for value in now.values())
        assert now.get("pressure") == {m.quantity: m.value for m in before.values}.get("pressure")
        # 100 %RH is outside the certificate (95) and, corrected to 102, outside the instrument.
        assert bool(after.flags & Flag.RANGE) == (was["humidity"] > 95.0)
    descriptor = proofs[0].claims.descriptor
    assert descriptor is not None
    one = descriptor.instruments[0]
    assert [q.uncertainty for q in one.quantities][::2] == [0.07, 0.07]
    assert one.calibration_hash == calibration.combined_hash([signed(mine), signed(rh)])

    data = b"".join(cli._bundle(settings, 0, 2**40))  # of the journal on disk: no agent runs
    finding = bundle.examine(data, [GATEWAY.public_key])
    assert [(name, c.certificate, c.calibrator) for name, c in finding.certificates] == [
        (NAME, mine, CALIBRATOR_ID),
        (NAME, rh, CALIBRATOR_ID),
    ]


def test_an_instrument_with_anothers_certificate_is_not_sampled_and_the_others_are(member, until):
    config, device = member
    settings = with_certificates(config, (), (LINEAR,))
    node = run.build(settings, climate(1, 20), math.inf)
    node.start()
    try:
        until(lambda: all(sampler.state.ended for sampler in node.samplers), 30.0, "the end")
        well, refused = (sampler.state for sampler in node.samplers)
        assert (well.samples, well.problem) == (20, "")
        assert refused.samples == 0
        assert "put the right one in" in refused.problem
        assert "put the right one in" in str(node.answers.status()["news"])
    finally:
        node.stop()
    proofs, _ = sealed(settings, device)
    assert {reading.instrument for proof in proofs for reading in proof.readings()} == {NAME}


def test_a_node_whose_only_instrument_has_anothers_certificate_does_not_start(member):
    settings = with_certificates(member[0], (LINEAR,))
    node = run.build(settings, climate(1, 3), math.inf)
    try:
        with pytest.raises(HardStop, match="put the right one in"):
            node.start()
    finally:
        node.stop()


def test_check_config_says_what_can_be_known_without_hardware(member):
    config, _ = member
    cli.check(with_certificates(config, (LINEAR,)))
    with pytest.raises(FixConfig, match="is in K"):
        cli.check(with_certificates(config, (replace(LINEAR, unit="K"),)))
