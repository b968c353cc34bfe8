"""Settings: one TOML file, checked once, frozen.

- The dataclasses below are the schema: pydantic checks a file against them (`load`), prints their JSON
  Schema (`json_schema`) and is then left behind: the running daemon does not import it (decision 0003).
- An unknown key, a wrong type, a value out of range: refused with the key's path.
- Units stand in names; durations are numbers of seconds.
"""

from __future__ import annotations

import re
import tomllib
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

from annotated_types import Ge, Gt, Le

from agent.errors import FixConfig

if TYPE_CHECKING:
    from pydantic_core import ErrorDetails

MAX_CONFIG_BYTES = 256 * 1024
MAX_INSTRUMENTS = 64
_NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,31}")
_STRICT = {"extra": "forbid", "strict": False}

Seconds = Annotated[float, Ge(0.01), Le(31_536_000)]
Finite = Annotated[float, Ge(-1e9), Le(1e9)]


@dataclass(frozen=True, slots=True)
class LimitSettings:
    """Limits of one quantity's quality flags (§9); `unit` must be the one the instrument gives."""

    __pydantic_config__ = _STRICT
    unit: str
    low: Finite | None = None
    high: Finite | None = None
    jump: Annotated[Finite, Gt(0)] | None = None
    frozen_s: Seconds | None = None

    def __post_init__(self) -> None:
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError("low is above high")


@dataclass(frozen=True, slots=True)
class InstrumentSettings:
    """`bus` is `i2c:<number>`; `address` is hexadecimal text such as `0x76`; `calibration` are files of
    signed certificates, one per quantity (§12)."""

    __pydantic_config__ = _STRICT
    name: str
    driver: str
    bus: str
    address: str = ""
    interval_s: Seconds = 60.0
    deadline_s: Annotated[float, Gt(0), Le(60)] = 2.0
    raw_evidence: bool = False
    limits: dict[str, LimitSettings] = field(default_factory=dict)
    calibration: tuple[Path, ...] = ()

    def __post_init__(self) -> None:
        if not _NAME.fullmatch(self.name):
            raise ValueError("name: 1 to 32 of a-z, 0-9 and -")
        if self.deadline_s > self.interval_s:
            raise ValueError("deadline_s is longer than interval_s")


@dataclass(frozen=True, slots=True)
class ProofSettings:
    """A proof is sealed when it holds `readings`, or when its first reading is `window_s` old;
    after `heartbeat_s` of silence an empty one says that the node lives (§3.7)."""

    __pydantic_config__ = _STRICT
    readings: Annotated[int, Ge(1), Le(1000)] = 60
    window_s: Seconds = 600.0
    heartbeat_s: Seconds = 3600.0


@dataclass(frozen=True, slots=True)
class JournalSettings:
    """Bounds of the store: its own size, and the space it leaves free on its file system. With
    `loss_window_s` readings are written together: a power cut may take those of so many seconds; 0: none."""

    __pydantic_config__ = _STRICT
    max_bytes: Annotated[int, Ge(1_000_000)] = 512_000_000
    free_floor_bytes: Annotated[int, Ge(0)] = 64_000_000
    loss_window_s: Annotated[float, Ge(0), Le(3600)] = 0.0


@dataclass(frozen=True, slots=True)
class MqttSettings:
    """`broker_url` is `mqtts://host:port`; empty means the one of the claim. `mqtt://` (no TLS) is used
    only where `allow_plain` is true. `ca_file` takes the place of the claim's and the system's authorities.
    `username` is the device's id where only a password is given."""

    __pydantic_config__ = _STRICT
    broker_url: str = ""
    allow_plain: bool = False
    ca_file: Path | None = None
    cert_file: Path | None = None
    key_file: Path | None = None
    username: str = ""
    password_file: Path | None = None
    keepalive_s: Annotated[int, Ge(5), Le(3600)] = 60
    in_flight: Annotated[int, Ge(1), Le(10)] = 8


@dataclass(frozen=True, slots=True)
class LocationSettings:
    """Published as it stands here: choose the precision you want to show."""

    __pydantic_config__ = _STRICT
    lat: Annotated[Decimal, Ge(-90), Le(90)]
    lon: Annotated[Decimal, Ge(-180), Le(180)]
    alt_m: Decimal = Decimal(0)
    accuracy_m: Annotated[int, Ge(0), Le(10_000_000)] = 1000


@dataclass(frozen=True, slots=True)
class Settings:
    """The whole file. `key` is a key URI: `file:/PATH`, `credential:/PATH?with-key=host` (or `tpm2`, or
    `host+tpm2`), `tpm2:/PATH` or `tpm2:/PATH?pcrs=0,7`, `otp:/PATH`; for simulated devices `sim:/PATH`.
    `calibrators` are the `did:key`s whose calibration certificates the owner trusts."""

    __pydantic_config__ = _STRICT
    state_dir: Path
    key: str
    instrument: tuple[InstrumentSettings, ...]
    proof: ProofSettings = field(default_factory=ProofSettings)
    journal: JournalSettings = field(default_factory=JournalSettings)
    mqtt: MqttSettings = field(default_factory=MqttSettings)
    location: LocationSettings | None = None
    log_format: Literal["text", "json"] = "text"
    calibrators: tuple[str, ...] = ()

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
    from pydantic import TypeAdapter, ValidationError

    try:
        return TypeAdapter(Settings).validate_python(table)
    except ValidationError as error:
        problems = "; ".join(_problem(detail) for detail in error.errors(include_url=False)[:5])
        raise FixConfig(f"The configuration {where} is wrong. {problems}.") from None


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
    from pydantic import TypeAdapter

    return TypeAdapter(Settings).json_schema()
