"""A gateway on disk: one folder with `gateway.key`, `gateway.toml` and `ledger.db`.

- The key is 32 raw bytes (an Ed25519 seed), mode 0400. It is written under another name, synced and then
  linked into place, so that it is there whole or not at all and never overwrites another.
- A folder that holds any of the three files is never initialised again: no second identity over a first.
- A key that others may read, or of the wrong size, is refused; so are unknown settings.
- The broker is reached by TLS; without (`mqtt://`) only on this machine or where `allow_plain` is true.
- Paths in the settings are relative to the folder.
"""

from __future__ import annotations

import ipaddress
import json
import os
import tomllib
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from gateway.errors import FixFolder, FixInput
from proof.joining import Kind, network_name
from proof.keys import SEED_BYTES, SeedSigner
from proof.reasons import Refused

KEY, CONFIG, LEDGER = "gateway.key", "gateway.toml", "ledger.db"
KEY_CLASS = "file"
_MAX_CONFIG_BYTES = 64 * 1024
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_FILES = ("ca_file", "cert_file", "key_file")


@dataclass(frozen=True, slots=True)
class Settings:
    """`gateway.toml`. `quality` are the network's parameters, sent in every membership (§8.3).

    `ca_file` signs the broker's certificate, the system's authorities where it is empty; it goes into every
    claim (§8.1). `cert_file` and `key_file` are the gateway's own, for a broker that asks for one.
    """

    network: str
    kind: Kind
    broker: str
    beacon_period_s: float = 60.0
    username: str = ""
    password: str = field(default="", repr=False)
    ca_file: str = ""
    cert_file: str = ""
    key_file: str = ""
    allow_plain: bool = False
    quality: dict[str, float] = field(default_factory=dict)

    def endpoint(self) -> tuple[str, int, bool]:
        """(host, port, whether TLS) of the broker."""
        return endpoint(self.broker)


def endpoint(url: str) -> tuple[str, int, bool]:
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        parts, port = urlsplit(""), None
    if parts.scheme not in _PORTS or not parts.hostname or parts.username or parts.path not in ("", "/"):
        raise FixInput(
            f"Broker {url!r} is not mqtt://HOST[:PORT] or mqtts://HOST[:PORT] (credentials go into {CONFIG})."
        )
    return parts.hostname, _PORTS[parts.scheme] if port is None else port, parts.scheme == "mqtts"


def create(folder: Path, settings: Settings, random: Callable[[int], bytes] = os.urandom) -> SeedSigner:
    """Write key and settings of a new gateway; the ledger follows (`Ledger.create`)."""
    check(settings)
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = [name for name in (KEY, CONFIG, LEDGER) if (folder / name).exists()]
        if found:
            raise FixFolder(
                f"{folder} already holds {' and '.join(found)}: choose another folder; nothing was changed."
            )
        seed = random(SEED_BYTES)
        _write_new(folder / KEY, seed, 0o400)
        _write_new(folder / CONFIG, _toml(settings).encode(), 0o600)
    except OSError as error:
        raise FixInput(f"Cannot make a gateway in {folder}: {error.strerror or error}.") from None
    return SeedSigner(seed, KEY_CLASS)


def load_key(folder: Path) -> SeedSigner:
    path = folder / KEY
    try:
        with path.open("rb") as file:
            mode = os.fstat(file.fileno()).st_mode & 0o777
            seed = file.read(SEED_BYTES + 1)
    except OSError as error:
        raise FixFolder(
            f"Cannot read the gateway's key {path}: {error.strerror}. Restore it from your copy, or make "
            f"a new gateway in another folder with `fieldproof-gateway init`."
        ) from None
    if mode & 0o077:
        raise FixFolder(f"Others may read the key {path} (mode {mode:04o}): run `chmod 0400 {path}`.")
    if len(seed) != SEED_BYTES:
        raise FixFolder(f"The key {path} does not have {SEED_BYTES} bytes: restore it from your copy.")
    return SeedSigner(seed, KEY_CLASS)


def load_settings(folder: Path) -> Settings:
    path = folder / CONFIG
    try:
        with path.open("rb") as file:
            text = file.read(_MAX_CONFIG_BYTES + 1)
        if len(text) > _MAX_CONFIG_BYTES:
            raise FixInput(f"{path} is larger than {_MAX_CONFIG_BYTES} bytes.")
        table = tomllib.loads(text.decode())
    except OSError as error:
        raise FixFolder(
            f"Cannot read {path}: {error.strerror}. Is {folder} a gateway's folder? "
            "`fieldproof-gateway init` makes one."
        ) from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as error:
        raise FixInput(f"{path} is not TOML: {error}.") from None
    try:
        table = _typed(table)
        table |= {name: str(folder.absolute() / table[name]) for name in _FILES if table.get(name)}
        settings = Settings(**table)
        check(settings)
    except (FixInput, TypeError) as error:
        raise FixInput(f"{path}: {error}") from None
    return settings


def check(settings: Settings) -> None:
    """Raises `FixInput`."""
    try:
        network_name(settings.network)
    except Refused as refused:
        raise FixInput(f"Network {settings.network[:64]!r}: {refused.verdict.detail}.") from None
    if settings.kind not in ("test", "live"):
        raise FixInput(f"Kind {settings.kind!r} is neither test nor live.")
    if not 1 <= settings.beacon_period_s <= 3600:
        raise FixInput("beacon_period_s must be from 1 to 3600.")
    host, _port, tls = settings.endpoint()
    if not tls and not settings.allow_plain and not is_loopback(host):
        raise FixInput(
            f"Broker {settings.broker} is without TLS: use mqtts://, or set allow_plain = true (init: "
            "--allow-plain) if everyone on the way may read and drop what is sent."
        )
    if not tls and any((settings.ca_file, settings.cert_file, settings.key_file)):
        raise FixInput(f"ca_file, cert_file and key_file are for mqtts://, and broker is {settings.broker}.")
    if settings.key_file and not settings.cert_file:
        raise FixInput("key_file needs cert_file, the certificate it belongs to.")


def is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _typed(table: dict[str, Any]) -> dict[str, Any]:
    known = {item.name for item in fields(Settings)}
    for name, value in table.items():
        if name not in known:
            raise FixInput(f"unknown setting {name!r}; known are {', '.join(sorted(known))}.")
        if name == "quality":
            if not isinstance(value, dict) or not all(_is_number(number) for number in value.values()):
                raise FixInput("quality must be a table of numbers.")
        elif name == "beacon_period_s":
            if not _is_number(value):
                raise FixInput(f"{name} must be a number.")
        elif name == "allow_plain":
            if not isinstance(value, bool):
                raise FixInput(f"{name} must be true or false.")
        elif not isinstance(value, str):
            raise FixInput(f"{name} must be a text.")
    for name in ("network", "kind", "broker"):
        if name not in table:
            raise FixInput(f"setting {name!r} is missing.")
    return table


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _toml(settings: Settings) -> str:
    def text(value: str) -> str:
        return json.dumps(value, ensure_ascii=False)  # JSON's escapes are TOML's

    named = {name: getattr(settings, name) for name in (*_FILES, "username")}
    given = "".join(f"{name} = {text(value)}\n" for name, value in named.items() if value)
    return (
        f"network = {text(settings.network)}\n"
        f"kind = {text(settings.kind)}\n"
        f"broker = {text(settings.broker)}\n"
        f"beacon_period_s = {settings.beacon_period_s:g}\n"
        + given
        + "allow_plain = true\n" * settings.allow_plain
        + '# username = "" and password = "" for a broker that asks for them; they never enter a claim.\n'
    )


def _write_new(path: Path, data: bytes, mode: int) -> None:
    """`data` under a name that must be free, durable when this returns."""
    draft = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode)
    try:
        try:
            os.write(descriptor, data)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.link(draft, path)
    finally:
        draft.unlink()
    parent = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(parent)
    finally:
        os.close(parent)
