"""A certificate out of a co-location: what the fit finds again, what is refused, what a node makes of it."""

from __future__ import annotations

import csv
import json
import math
import random
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from agent import cli as agent_cli
from agent import settings as settings_module
from agent.clock import SOURCE_NONE
from agent.errors import FixConfig, HardStop
from agent.keystore import Board
from hardware_sim.buses import SimulatedBuses
from hardware_sim.clock import PacedClock
from hardware_sim.scenario import climate
from hardware_sim.worlds import ClimateWorld
from proof import calibration
from proof.calibration import BARKJOHN_2021, apply
from proof.keys import device_id
from provisioning import calibrating, colocation, fitting
from provisioning.cli import app
from provisioning.colocation import FixRecording, Moment, Pair
from tests.sim_parts import GATEWAY, NAME, joined_config, live

FOLDER = Path(__file__).parents[4] / "shared" / "data" / "bme280_sds011_aberdeen"
OFFSET, GAIN, NOISE = -0.7, 1.04, 0.05


def recorded_days(count: int = 3) -> list[tuple[float, float]]:
    """(seconds, °C) of days of the Aberdeen station: what the reference is made to say."""
    days = sorted(FOLDER.glob("2018-07-*_bme280_*.csv"))[:count]
    if not days:
        pytest.skip(f"the recordings of {FOLDER.name} are not here")
    rows = [row for day in days for row in csv.DictReader(day.read_text().splitlines(), delimiter=";")]
    return [
        (datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC).timestamp(), float(row["temperature"]))
        for row in rows
        if row["temperature"]
    ]


def miscalibrated(truth: list[tuple[float, float]], seed: int) -> list[tuple[float, float]]:
    """What a device with a known wrong offset and gain, and noise, would have said 20 s later."""
    noise = random.Random(seed)
    return [(at_s + 20, (true - OFFSET) / GAIN + noise.gauss(0, NOISE)) for at_s, true in truth]


def pairs_of(truth, device):
    return colocation.join(
        [Moment(at_s, (value,)) for at_s, value in truth],
        [Moment(at_s, (value,)) for at_s, value in device],
        60,
    )


# The fit


def test_offset_and_gain_of_a_recorded_station_are_found_again_within_their_stated_errors():
    truth = recorded_days()
    within = {1: 0, 2: 0, 3: 0}
    for seed in range(20):
        fit = fitting.fit(pairs_of(truth, miscalibrated(truth, seed)), "linear", 1, 0.03)
        assert fit.points == len(truth)
        for wanted, found, error in zip((OFFSET, GAIN), fit.coefficients, fit.standard_errors, strict=True):
            for factor in within:
                within[factor] += abs(found - wanted) <= factor * error
        # What is left over is the device's noise, seen through the gain.
        assert fit.residual_std == pytest.approx(NOISE * GAIN, rel=0.1)
        assert fit.uncertainty == pytest.approx(math.hypot(0.03, fit.residual_std))
    print(f"of 40 coefficients {within} lie within 1, 2 and 3 standard errors")
    # 68, 95 and 99.7 % of 40 are 27, 38 and 40; three standard deviations of the count are allowed below.
    assert within[1] >= 18
    assert within[2] >= 34
    assert within[3] >= 38


def test_a_corrected_value_is_as_near_to_the_truth_as_the_certificate_says():
    truth = recorded_days()
    device = miscalibrated(truth, 1)
    fit = fitting.fit(pairs_of(truth[::2], device[::2]), "linear", 1, 0.0)
    others = fitting.residuals_of(pairs_of(truth[1::2], device[1::2]), "linear", fit.coefficients)
    covered = sum(abs(residual) <= 2 * fit.uncertainty for residual in others) / len(others)
    assert 0.93 <= covered <= 0.98, "values that the fit has not seen"


def test_a_curved_device_needs_its_polynomial():
    pairs = [Pair(x / 10, 1.0 + 0.5 * (x / 10) + 0.02 * (x / 10) ** 2) for x in range(100)]
    straight, curved = (fitting.fit(pairs, "polynomial", degree, 0.0) for degree in (1, 2))
    assert curved.coefficients == pytest.approx((1.0, 0.5, 0.02), abs=1e-9)
    assert curved.rmse < 1e-9 < straight.rmse


def test_the_published_correction_is_not_fitted_but_measured():
    of_pm, of_humidity, constant = BARKJOHN_2021
    pairs = [
        Pair(float(pm), of_pm * pm + of_humidity * rh + constant + (1 if pm % 2 else -1), float(rh))
        for pm, rh in zip(range(40), range(30, 70), strict=True)
    ]
    fit = fitting.fit(pairs, "humidity-corrected-pm", 0, 0.0)
    assert (fit.coefficients, fit.standard_errors) == (BARKJOHN_2021, ())
    assert fit.uncertainty == pytest.approx(1.0)


@pytest.mark.parametrize(
    ("pairs", "degree", "said"),
    [
        ([], 1, "Only 0 values"),
        ([Pair(float(n), float(n)) for n in range(19)], 1, "Only 19 values"),
        ([Pair(20.0, float(n)) for n in range(30)], 1, "do not differ enough"),
        ([Pair(float(n % 2), float(n)) for n in range(30)], 2, "do not differ enough"),
        ([Pair(101_000 + n * 1e-3, float(n)) for n in range(30)], 5, "do not differ enough"),
    ],
)
def test_pairs_that_cannot_carry_the_model_are_refused(pairs, degree, said):
    with pytest.raises(HardStop, match=said):
        fitting.fit(pairs, "polynomial", degree, 0.1)


@pytest.mark.parametrize("text", ["", "spline", "polynomial", "polynomial:0", "polynomial:6", "linear:1"])
def test_an_unknown_model_is_refused(text):
    with pytest.raises(FixConfig, match="--model"):
        fitting.parse_model(text)


# Joining


def test_each_value_meets_its_nearest_and_only_once():
    reference = [Moment(0, (1.0,)), Moment(10, (2.0,)), Moment(100, (3.0,)), Moment(500, (4.0,))]
    device = [Moment(4, (10.0,)), Moment(9, (20.0,)), Moment(11, (30.0,)), Moment(161, (40.0,))]
    found = colocation.join(reference, device, 60)
    # 10 s is as near to 9 s as to 11 s: the earlier one; 100 s and 500 s have nobody within 60 s.
    assert found == [Pair(10.0, 1.0), Pair(20.0, 2.0)]
    assert colocation.join(reference, device, 61)[-1] == Pair(40.0, 3.0)
    assert colocation.join(reference, [], 60) == colocation.join([], device, 60) == []


def test_two_references_of_one_value_leave_the_nearer():
    assert colocation.join([Moment(0, (1.0,)), Moment(5, (2.0,))], [Moment(4, (9.0,))], 60) == [
        Pair(9.0, 2.0)
    ]


# Recordings


def test_times_are_iso_or_seconds_and_rows_with_holes_are_left_out(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text(
        "\ufefftime, station ,value\n2018-07-08T00:00:30Z,x,2\n1531008000,x,1.5\n\n2018-07-08T00:01:00,x,\n"
        "2018-07-08T02:01:30+02:00,x,-3e0\n"
    )
    start_s = datetime(2018, 7, 8, tzinfo=UTC).timestamp()
    assert colocation.read_csv(path, ["value"]) == [
        Moment(start_s, (1.5,)),
        Moment(start_s + 30, (2.0,)),
        Moment(start_s + 90, (-3.0,)),
    ]


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"", "names no column time, value"),
        (b"time,temperature\n", "names no column value"),
        (b"time,value\n1531008000,1,2\n", "line 2: 3 cells instead of 2"),
        (b"time,value\n1531008000,1\nyesterday,2\n", "line 3: 'yesterday' is not a time"),
        (b"time,value\n1531008000,warm\n", "line 2: 'warm' is not a number"),
        (b"time,value\n1531008000,nan\n", "is not a number"),
        (b"time,value\n1531008000,1e99\n", "is not a number"),
        (b"time,value\n" + b"9" * 400 + b",1\n", "is not a time"),
        (b"\xff\xfe\x00", "is not CSV in UTF-8"),
        (b'time,value\n"1531008000,1\n', "is not CSV"),
    ],
)
def test_a_bad_recording_is_one_sentence(tmp_path, text, said):
    path = tmp_path / "a.csv"
    path.write_bytes(text)
    with pytest.raises(FixRecording, match=said):
        colocation.read_csv(path, ["value"])


# The command


class Lab:
    """A calibrator's folder: key, configuration, a co-location of three recorded days."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        (folder / "machine-id").write_text("0123456789abcdef0123456789abcdef\n")
        self.board = Board(folder / "machine-id", folder / "no-serial")
        self.config, self.device_id = joined_config(folder)
        self.key = f"file:{folder}/calibrator.key"
        self.output = folder / "cert.cose"
        made = self.run("calibrator-key", self.key, "--json")
        assert made.exit_code == 0, made.output
        self.calibrator = json.loads(made.stdout)["calibrator"]

    def run(self, *arguments):
        return CliRunner().invoke(app, [*map(str, arguments)], obj=self.board)

    def write(self, name: str, column: str, rows) -> Path:
        path = self.folder / name
        path.write_text(f"time,{column}\n" + "".join(f"{at_s},{value:.4f}\n" for at_s, value in rows))
        return path

    def calibrate(self, **changes):
        options = {
            "config": self.config,
            "instrument": NAME,
            "quantity": "temperature",
            "reference": self.folder / "reference.csv",
            "reference-name": "PT100 no. 7",
            "reference-uncertainty": 0.03,
            "device": self.folder / "device.csv",
            "identity": "BME280,trim-sha256,5d0c39f1",
            "calibrator-key": self.key,
            "output": self.output,
            **{name.replace("_", "-"): value for name, value in changes.items()},
        }
        given = [
            part for name, value in options.items() if value is not None for part in (f"--{name}", value)
        ]
        return self.run("calibrate", *given, "--json")


@pytest.fixture
def lab(tmp_path):
    return Lab(tmp_path)


@pytest.fixture
def colocated(lab):
    truth = recorded_days()
    lab.write("reference.csv", "reference", truth)
    lab.write("device.csv", "value", miscalibrated(truth, 1))
    return lab


def refused(result, code=2):
    assert result.exit_code == code, result.output
    said = json.loads(result.stdout)
    assert list(said) == ["error"]
    assert "Traceback" not in result.output
    return said["error"]


def test_a_calibrators_key_is_made_once(lab):
    again = lab.run("calibrator-key", lab.key, "--json")
    assert json.loads(again.stdout) == {"calibrator": lab.calibrator, "key": lab.key, "created": False}


def test_calibrate_writes_a_signed_certificate_a_plot_and_what_the_fit_found(colocated):
    plot = colocated.folder / "plot.png"
    result = colocated.calibrate(plot=plot, valid_days=100)
    assert result.exit_code == 0, result.output
    told = json.loads(result.stdout)
    opened = calibration.open_certificate(colocated.output.read_bytes())
    said = opened.certificate
    assert opened.calibrator == told["calibrator"] == colocated.calibrator
    assert told["hash"] == opened.hash.hex()
    assert list(said.coefficients) == told["coefficients"] == pytest.approx([OFFSET, GAIN], abs=0.02)
    assert (said.instrument_model, said.serial_kind, said.serial) == ("BME280", "trim-sha256", "5d0c39f1")
    assert (said.quantity, said.unit, said.model, said.reference) == (
        "temperature",
        "Cel",
        "linear",
        "PT100 no. 7",
    )
    assert said.expires_s == said.issued_s + 100 * 86_400
    assert said.uncertainty == told["uncertainty"] == pytest.approx(math.hypot(0.03, told["residual_std"]))
    assert told["r_squared"] > 0.99
    assert told["rmse"] < told["largest_residual"]
    assert apply(said, (20.0 - OFFSET) / GAIN) == pytest.approx(20.0, abs=3 * said.uncertainty)
    picture = plot.read_bytes()
    assert picture.startswith(b"\x89PNG\r\n\x1a\n")
    assert len(picture) > 10_000


def test_a_node_that_trusts_the_calibrator_takes_the_certificate_and_another_does_not(colocated):
    assert colocated.calibrate().exit_code == 0
    text = colocated.config.read_text()
    named = text.replace('driver = "bme280"', f'driver = "bme280"\ncalibration = ["{colocated.output}"]')
    colocated.config.write_text(f'calibrators = ["{colocated.calibrator}"]\n' + named)
    agent_cli.check(settings_module.load(colocated.config))
    colocated.config.write_text(named)
    with pytest.raises(FixConfig, match="is not among `calibrators`"):
        agent_cli.check(settings_module.load(colocated.config))


def test_for_people_it_prints_lines(colocated):
    result = colocated.run(
        "calibrate", "--config", colocated.config, "--instrument", NAME, "--quantity", "temperature",
        "--reference", colocated.folder / "reference.csv", "--device", colocated.folder / "device.csv",
        "--reference-name", "PT100", "--reference-uncertainty", "0.03", "--calibrator-key", colocated.key,
        "--identity", "BME280,serial,7", "--model", "polynomial:2", "-o", colocated.output,
    )  # fmt: skip
    assert result.exit_code == 0, result.output
    assert result.stdout.count("\ncoefficients ") == 3
    assert "\nr squared " in result.stdout
    assert "[" not in result.stdout


BAD = {
    "instrument": ({"instrument": "dust"}, "the configuration has no 'dust'"),
    "quantity": ({"quantity": "pm2.5"}, "measures temperature, pressure, humidity, not 'pm2.5'"),
    "model": ({"model": "polynomial:9"}, "--model"),
    "no device": ({"device": None}, "Give the device's values once"),
    "two devices": ({"bundle": "x"}, "Give the device's values once"),
    "no file": ({"device": "nowhere.csv"}, "nowhere.csv cannot be read"),
    "columns swapped": ({"reference": "device.csv"}, "names no column reference"),
    "identity": ({"identity": "BME280"}, "--identity"),
    "no key": ({"calibrator_key": "file:/nowhere/k"}, "/nowhere/k"),
    "not near": ({"tolerance_s": 5}, "Only 0 values"),
    "text too long": ({"reference_name": "x" * 200}, "128 printable characters"),
    "no humidity": ({"model": "humidity-corrected-pm"}, "names no column humidity"),
    "no bundle": ({"device": None, "identity": None, "bundle": "device.csv"}, "is not good: malformed"),
    "bad gateway": (
        {"device": None, "identity": None, "bundle": "device.csv", "gateway_key": "x"}, "--gateway-key"
    ),
    "no hardware": ({"identity": None}, "Instrument bme280-76"),
}  # fmt: skip


@pytest.mark.parametrize(("changes", "said"), BAD.values(), ids=BAD)
def test_what_a_calibrator_gets_wrong_is_one_sentence_and_nothing_is_written(
    colocated, changes, said, monkeypatch
):
    monkeypatch.chdir(colocated.folder)
    assert said in refused(colocated.calibrate(**changes))
    assert not colocated.output.exists()


def test_nothing_is_replaced(colocated):
    colocated.output.write_bytes(b"older")
    plot = colocated.folder / "plot.png"
    assert "is already there" in refused(colocated.calibrate(plot=plot))
    assert colocated.output.read_bytes() == b"older"
    assert not plot.exists()


# The instrument's own word for who it is


def test_an_instrument_that_can_be_opened_says_itself_who_it_is(colocated):
    settings = settings_module.load(colocated.config)
    clock = PacedClock(0, 0, 1.0, boot_id=bytes(16), source=SOURCE_NONE)
    buses = SimulatedBuses(settings.instrument, ClimateWorld(seed=1), clock)
    request = calibrating.Request(
        NAME, "temperature", "linear", colocated.folder / "reference.csv", "PT100", 0.03, 365, 60.0,
        device=colocated.folder / "device.csv",
    )  # fmt: skip
    certificate, _, _ = calibrating.make(settings, request, buses, clock, 1_800_000_000)
    assert (certificate.instrument_model, certificate.serial_kind) == ("BME280", "trim-sha256")
    assert len(certificate.serial) == 16


@pytest.fixture
def lived(lab, until):
    """lived(*certificates): a node has lived a climate; the bundle of what it signed."""

    def make(*certificates: Path) -> tuple[Path, list[tuple[float, float]]]:
        settings = settings_module.load(lab.config)
        instrument = replace(settings.instrument[0], calibration=certificates)
        settings = replace(settings, instrument=(instrument,), calibrators=(lab.calibrator,))
        live(settings, climate(3, 120), until)
        path = lab.folder / "node.bundle"
        path.write_bytes(b"".join(agent_cli._bundle(settings, 0, 2**40)))
        _, found = colocation.read_bundle(path, [GATEWAY.public_key], NAME, "temperature")
        return path, [(moment.time_s, moment.values[0]) for moment in found]

    return make


def test_a_bundle_gives_the_devices_values_and_says_who_it_is(lab, lived):
    path, values = lived()
    assert len(values) == 120
    lab.write("reference.csv", "reference", [(at_s, OFFSET + GAIN * value) for at_s, value in values])
    result = lab.calibrate(
        device=None,
        identity=None,
        bundle=path,
        gateway_key=device_id(GATEWAY.public_key),
        reference_uncertainty=0.1,
    )
    assert result.exit_code == 0, result.output
    said = calibration.open_certificate(lab.output.read_bytes()).certificate
    assert said.coefficients == pytest.approx((OFFSET, GAIN), abs=1e-3)
    # The node itself takes what was made from its own bundle.
    (lab.folder / "journal.db").unlink()
    with pytest.raises(FixRecording, match="corrected by a certificate already"):
        lived(lab.output)


def test_a_bundle_of_a_stranger_is_refused(lab, lived):
    path, _ = lived()
    lab.write("reference.csv", "reference", [(0, 1.0)])
    said = refused(lab.calibrate(device=None, identity=None, bundle=path, gateway_key=lab.calibrator))
    assert "is not good: bad_key" in said
    said = refused(
        lab.calibrate(device=None, identity="BME280,serial,7", bundle=path, gateway_key=lab.calibrator)
    )
    assert "--identity goes with --device" in said


def test_numbers_and_pictures_are_loaded_by_nobody_who_does_not_ask():
    look = (
        "import sys, agent.daemon, agent.cli, provisioning.cli; "
        "print([name for name in ('numpy', 'matplotlib') if name in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", look], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout == "[]\n"
