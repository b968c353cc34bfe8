"""Parts for tests of simulated nodes: settings with a sim: key, a membership without a gateway, day files."""

from __future__ import annotations

import contextlib
import math
from collections.abc import Callable
from pathlib import Path

from agent import papers
from agent.journal import Journal
from agent.keystore import create_key
from agent.membership import Joined, save
from agent.settings import Settings, load
from hardware_sim import run
from hardware_sim.scenario import Scenario
from proof import joining, sealing
from proof.joining import Membership
from proof.keys import SeedSigner, device_id
from proof.sealing import Proof

GATEWAY = SeedSigner(bytes(range(64, 96)), "file")
NETWORK = "simulated"
NOWHERE = "mqtt://127.0.0.1:1"
NAME = "bme280-76"
_CONFIG = """\
state_dir = "{folder}"
key = "{scheme}:{folder}/device.key"

[[instrument]]
name = "{name}"
driver = "bme280"
bus = "i2c:1"
address = "0x76"

[proof]
window_s = 86400

[mqtt]
allow_plain = true
"""


def write_config(folder: Path, scheme: str = "sim", more: str = "") -> Path:
    """A configuration; its state is in the same folder."""
    path = folder / "agent.toml"
    path.write_text(_CONFIG.format(folder=folder, scheme=scheme, name=NAME) + more)
    return path


def joined_config(folder: Path) -> tuple[Path, str]:
    """(configuration, device id) of a member of a network whose broker is nowhere."""
    path = write_config(folder)
    settings = load(path)
    device = device_id(create_key(settings.key, 0).public_key)
    membership = Membership(device, NETWORK, "test", (GATEWAY.public_key,), (), 1_700_000_000, None)
    signed = joining.sign_membership(membership, GATEWAY, 1_700_000_000)
    save(settings.membership_path, Joined(NOWHERE, (GATEWAY.public_key,), signed, membership))
    return path, device


def live(
    settings: Settings, scenario: Scenario, until: Callable[..., None], captured: Path | None = None
) -> None:
    """A whole life in virtual time that does not wait; `until` is the fixture."""
    node = run.build(settings, scenario, math.inf, captured)
    node.start()
    try:
        until(lambda: all(sampler.state.ended for sampler in node.samplers), 30.0, "the end of the world")
    finally:
        node.stop()


def sealed(settings: Settings, device: str) -> tuple[list[Proof], int]:
    """The proofs in the journal, in chain order, and how many samples it says it captured."""
    with contextlib.closing(Journal(settings.journal_path, device)) as journal:
        log = journal.open_log()
        assert log is not None
        proofs = [journal.proof_at(log.id, seq) for seq in range(1, log.seq + 1)]
        return [sealing.parse(proof.data) for proof in proofs if proof], papers.counts(journal).captured


def write_day(path: Path, *rows: tuple[str, str, str, str]) -> Path:
    """A day file of (time, pressure, temperature, humidity)."""
    header = "sensor_id;sensor_type;location;lat;lon;timestamp;pressure;altitude;pressure_sealevel;"
    lines = [header + "temperature;humidity"]
    lines += [f"1;BME280;2;0;0;2018-07-08T{time};{p};;;{t};{h}" for time, p, t, h in rows]
    path.write_text("\n".join(lines) + "\n")
    return path


def made_up_day(path: Path, count: int = 100) -> Path:
    """Every 150 s; some fog, one row without pressure, one hole of 14 rows in the middle."""
    rows = []
    for number in range(count + 14):
        if count // 2 <= number < count // 2 + 14:
            continue
        minute, second = divmod(150 * number, 60)
        pressure = "" if number == 7 else f"{101_000 + 3.17 * number:.2f}"
        humidity = "100.00" if number % 10 == 0 else f"{60 + number % 17 * 1.03:.2f}"
        time = f"{minute // 60:02}:{minute % 60:02}:{second:02}"
        rows.append((time, pressure, f"{12 + number % 23 * 0.37:.2f}", humidity))
    return write_day(path, *rows)
