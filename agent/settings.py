"""Settings: one TOML file, checked once, frozen.

- The dataclasses below are the schema: pydantic checks a file against them (`load`), prints their JSON
  Schema (`json_schema`) and is then left behind: the running daemon does not import it (decision 0003).
- An unknown key, a wrong type, a value out of range: refused with the key's path.
- The sentence under a key says what it does: docs/configuration.md and the JSON Schema are made from it.
- Units stand in names; durations are numbers of seconds.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from decimal import Decimal
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from agent.errors import FixConfig

if TYPE_CHECKING:
    from pydantic import TypeAdapter
    from pydantic_core import ErrorDetails

MAX_CONFIG_BYTES = 256 * 1024
MAX_INSTRUMENTS = 64
NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_PREFIX = re.compile(r"[A-Za-z0-9_-]+(/[A-Za-z0-9_-]+){0,5}")
_LISTEN = re.compile(r"(?:[0-9.]{7,15}|\[[0-9a-fA-F:.]{2,45}\]|localhost):[0-9]{1,5}")
_STRICT = {"extra": "forbid", "strict": False}

Seconds = Annotated[float, Ge(0.01), Le(31_536_000)]
Finite = Annotated[float, Ge(-1e9), Le(1e9)]


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """When a value of one quantity is flagged. It is published all the same, and never changed. Without a key
    the datasheet's range holds, and for temperature, humidity and pressure published limits of jumps and
    standstills (docs/protocol.md §9)."""

    __pydantic_config__ = _STRICT
    unit: str
    """The unit the limits are in. It must be the one that the instrument gives, such as `Cel` or `%RH`."""
    low: Finite | None = None
    """A value below this is flagged `quality_range`."""
    high: Finite | None = None
    """A value above this is flagged `quality_range`."""
    jump: Annotated[Finite, Gt(0)] | None = None
    """A change from one reading to the next beyond this is flagged `quality_jump`."""
    frozen_s: Seconds | None = None
    """A value that did not move for so long is flagged `quality_frozen`."""

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")


@dataclass(frozen=True, slots=True)
class InstrumentSettings:
    """One sensor, and how often it is read. There are 1 to 64 of these tables. `fieldproof-agent discover`
    prints them for what is connected."""

    __pydantic_config__ = _STRICT
    name: str
    """Stands before every quantity of this instrument in the readings. 1 to 32 of a-z, 0-9 and -; no two
    alike."""
    driver: str
    """The part, by the name of its driver: see docs/wiring.md."""
    bus: str
    """Where it is: `i2c:1` is `/dev/i2c-1`, `serial:/dev/serial/by-id/…` a serial line by a name that stays,
    `w1:` the kernel's 1-Wire parts."""
    address: str = ""
    """Which part on the bus: on I2C hexadecimal text such as `0x76`, with Modbus the unit number, on 1-Wire
    the ROM code. Empty: the part's usual one."""
    interval_s: Seconds = 60.0
    """From one reading to the next."""
    deadline_s: Annotated[float, Gt(0), Le(60)] = 2.0
    """A reading that takes longer is given up. Not longer than `interval_s`. A few parts need more than 2 s;
    docs/wiring.md and `discover` give what they need."""
    raw_evidence: bool = False
    """Also publish the raw words that the part sent, so that anyone can compute the values again. Costs
    bytes on the wire."""
    limits: dict[str, LimitSettings] = field(default_factory=dict)
    """Tighter limits than the datasheet's, per quantity."""
    calibration: tuple[Path, ...] = ()
    """Files of signed calibration certificates, one per quantity (docs/protocol.md §12)."""

    def __post_init__(self) -> None:
        if not NAME.fullmatch(self.name):
            raise ValueError("name: 1 to 32 of a-z, 0-9 and -")
        if self.deadline_s > self.interval_s:
            raise ValueError("deadline_s is longer than interval_s")


@dataclass(frozen=True, slots=True)
class ProofSettings:
    """How many readings are signed together. Few: they arrive sooner. Many: fewer bytes for each."""

    __pydantic_config__ = _STRICT
    readings: Annotated[int, Ge(1), Le(1000)] = 60
    """A proof is sealed when it holds so many readings."""
    window_s: Seconds = 600.0
    """It is sealed earlier when its first reading is so old."""
    heartbeat_s: Seconds = 3600.0
    """After so long a silence an empty proof says that the node lives."""


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """The store: how much of the disk it may take, and how often it writes."""

    __pydantic_config__ = _STRICT
    max_bytes: Annotated[int, Ge(1_000_000)] = 512_000_000
    """The journal's own size. When it is full the oldest proofs go first, those with a receipt before
    those without."""
    free_floor_bytes: Annotated[int, Ge(0)] = 64_000_000
    """Space that is left free on the journal's file system for everything else."""
    loss_window_s: Annotated[float, Ge(0), Le(3600)] = 0.0
    """0: a reading is on the disk before anything else happens to it. More: readings are written together,
    and a power cut may take those of so many seconds. It spares the card."""


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """The broker. Without this table everything is as the claim of your network says."""

    __pydantic_config__ = _STRICT
    broker_url: str = ""
    """`mqtts://host:port` in place of the claim's. Empty: the one of the claim."""
    allow_plain: bool = False
    """Allow `mqtt://`, without TLS: everyone on the way may read and drop what this device sends. Signatures
    still show what is genuine."""
    ca_file: Path | None = None
    """Authorities that may have signed the broker's certificate (PEM), in place of the claim's and the
    system's."""
    cert_file: Path | None = None
    """This device's certificate (PEM), for a broker that asks for one."""
    key_file: Path | None = None
    """The private key of `cert_file` (PEM)."""
    username: str = ""
    """Empty: the device's id, where a password is given."""
    password_file: Path | None = None
    """A file with the password, for a broker that asks for one."""
    keepalive_s: Annotated[int, Ge(5), Le(3600)] = 60
    """How often the link says that it lives, when it has nothing else to say."""
    in_flight: Annotated[int, Ge(1), Le(10)] = 8
    """At most so many proofs are under way that the broker has not acknowledged."""


@dataclass(frozen=True, slots=True)
class HomeAssistantSettings:
    """Show instruments and their readings in Home Assistant, over a broker of your own: never the network's
    ([monitoring](monitoring.md#home-assistant)). Off without this table."""

    __pydantic_config__ = _STRICT
    enabled: bool = False
    """Whether anything is sent there."""
    broker_url: str = ""
    """`mqtts://host:port` of the broker that Home Assistant listens to."""
    allow_plain: bool = False
    """Allow `mqtt://`, without TLS, as it is usual at home."""
    username: str = ""
    """The name at that broker. Empty: `fieldproof-` and the device's id, where a password is given."""
    password_file: Path | None = None
    """A file with the password, readable by the agent."""
    ca_file: Path | None = None
    """Authorities that may have signed that broker's certificate (PEM), in place of the system's."""
    discovery_prefix: str = "homeassistant"
    """Home Assistant's own discovery prefix, where it is not the usual one."""

    def __post_init__(self) -> None:
        if self.enabled and not self.broker_url:
            raise ValueError("broker_url is needed, the address of Home Assistant's broker")
        if not _PREFIX.fullmatch(self.discovery_prefix):
            raise ValueError("discovery_prefix: like homeassistant; letters, digits, -, _ and inner slashes")


@dataclass(frozen=True, slots=True)
class LocationSettings:
    """Where the node stands. Published as it is written here: choose the precision you want to show. Without
    this table nothing is said of it."""

    __pydantic_config__ = _STRICT
    lat: Annotated[Decimal, Ge(-90), Le(90)]
    """Degrees north of the equator (WGS 84)."""
    lon: Annotated[Decimal, Ge(-180), Le(180)]
    """Degrees east of Greenwich."""
    alt_m: Decimal = Decimal(0)
    """Height above sea level."""
    accuracy_m: Annotated[int, Ge(0), Le(10_000_000)] = 1000
    """How far off this may be."""


@dataclass(frozen=True, slots=True)
class PageSettings:
    """A page for people in the local network, and `/metrics`: how the node is, and the last 48 hours. It is
    read-only and has no password: whoever is in the network can read it. docs/page.md shows it."""

    __pydantic_config__ = _STRICT
    enabled: bool = False
    """Serve it. Off, it costs nothing."""
    listen: str = "0.0.0.0:8733"
    """Address and port. `0.0.0.0` is every IPv4 address of this machine, `[::]` the IPv6 ones too,
    `127.0.0.1` this machine only. Whatever stands here, only private, link-local and loopback addresses are
    answered."""

    def __post_init__(self) -> None:
        if not _LISTEN.fullmatch(self.listen):
            raise ValueError("listen: an address and a port, such as 0.0.0.0:8733")


@dataclass(frozen=True, slots=True)
class Settings:
    """These keys stand before the first table of the file."""

    __pydantic_config__ = _STRICT
    state_dir: Path
    """The folder of the journal and the membership. This user's alone."""
    key: str
    """Where the device's key is, and what it opens with: `file:/PATH`, `credential:/PATH?with-key=host` (or
    `tpm2`, or `host+tpm2`), `tpm2:/PATH` or `tpm2:/PATH?pcrs=0,7`, `otp:/PATH`; for simulated devices
    `sim:/PATH`. What each protects against: docs/keys.md."""
    instrument: tuple[InstrumentSettings, ...]
    """The sensors."""
    proof: ProofSettings = field(default_factory=ProofSettings)
    """How many readings are signed together."""
    journal: JournalSettings = field(default_factory=JournalSettings)
    """The store."""
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    """The broker."""
    home_assistant: HomeAssistantSettings = field(default_factory=HomeAssistantSettings)
    """Home Assistant, over a broker of your own."""
    location: LocationSettings | None = None
    """Where the node stands."""
    page: PageSettings = field(default_factory=PageSettings)
    """The page."""
    log_format: Literal["text", "json"] = "text"
    """`text` for people, `json` for machines."""
    calibrators: tuple[str, ...] = ()
    """The `did:key`s whose calibration certificates you trust. `fieldproof-provision calibrator-key` prints
    the one of a key."""

    def __post_init__(self) -> None:
        names = [instrument.name for instrument in self.instrument]
        if not 1 <= len(names) <= MAX_INSTRUMENTS:
            raise ValueError(f"1 to {MAX_INSTRUMENTS} [[instrument]] tables are needed")
        if len(set(names)) != len(names):
            raise ValueError("two instruments have the same name")

    @property
    def journal_path(self) -> Path:
        return self.state_dir / "journal.db"

    @property
    def membership_path(self) -> Path:
        return self.state_dir / "membership.json"

    @property
    def control_socket(self) -> Path:
        return self.state_dir / "control.sock"


def load(path: Path) -> Settings:
    """The settings in `path`; raises `FixConfig` with the key's path and what would be right."""
    try:
        with path.open("rb") as file:
            text = file.read(MAX_CONFIG_BYTES + 1)
    except OSError as error:
        raise FixConfig(
            f"The configuration {path} cannot be read: {error.strerror}. Give --config FILE."
        ) from None
    if len(text) > MAX_CONFIG_BYTES:
        raise FixConfig(
            f"The configuration {path} has more than {MAX_CONFIG_BYTES} bytes: is it the right file?"
        )
    try:
        table = tomllib.loads(text.decode(), parse_float=Decimal)
    except RecursionError:
        raise FixConfig(f"The configuration {path} is not TOML for people: it is nested too deep.") from None
    except ValueError as error:  # of tomllib, and of Python for numbers of thousands of digits
        raise FixConfig(f"The configuration {path} is not TOML: {str(error)[:200]}.") from None
    return parse(table, str(path))


def parse(table: dict[str, Any], where: str) -> Settings:
    """`table` checked against the schema; raises `FixConfig`."""
    from pydantic import ValidationError

    try:
        return _checker().validate_python(table)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors(include_url=False)[:5])
        raise FixConfig(f"The configuration {where} is wrong. {problems}.") from None


@cache
def _checker() -> TypeAdapter[Settings]:
    from pydantic import TypeAdapter

    return TypeAdapter(Settings)


def _problem(detail: ErrorDetails) -> str:
    place = ".".join(map(str, detail["loc"]))[:120] or "the file"
    if detail["type"] == "unexpected_keyword_argument":
        return f"{place}: there is no such key"
    try:
        found = f"found {str(detail['input'])[:60]!r}"
    except ValueError:  # Python does not print integers of thousands of digits
        found = "found a number nobody can read"
    return f"{place}: {detail['msg'].removeprefix('Value error, ')}, {found}"


def json_schema() -> dict[str, Any]:
    """With the sentence under each key as its description."""
    from pydantic import TypeAdapter

    _STRICT["use_attribute_docstrings"] = True  # reads this file's source: no start of the agent pays for it
    return TypeAdapter(Settings).json_schema()
