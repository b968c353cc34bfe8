"""The broker's address, its TLS context, and what its failures mean to an operator.

- `mqtts://host[:8883]` is the default; `mqtt://host[:1883]` (no TLS) only where `mqtt.allow_plain` is true.
- TLS 1.2 or newer, host name checked, against `mqtt.ca_file`; else the authority in the claim, for the
  claim's broker only; else the system's.
- Nothing falls back to a connection without TLS.
- Files of the configuration are read once, when the connection is set up; a wrong one is a `FixConfig`.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import urlsplit

from agent.errors import FixConfig
from agent.settings import HomeAssistantSettings, MqttSettings
from agent.tls import TlsSocket, meaning

_PORTS = {"mqtts": 8883, "mqtt": 1883}
_MAX_URL_CHARS, _MAX_PASSWORD_BYTES = 256, 65_535


@dataclass(frozen=True, slots=True)
class Broker:
    """`ca` is the authority that came with the claim, in DER; empty if there was none. `table` is where
    `settings` stand in the configuration."""

    host: str
    port: int
    tls: bool
    settings: MqttSettings
    ca: bytes = field(default=b"", repr=False)
    table: str = "mqtt"

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def broker_of(settings: MqttSettings, claim_url: str, claim_ca: bytes) -> Broker:
    """The broker of the configuration, else of the claim; raises `FixConfig`."""
    if settings.broker_url:
        return parse_broker_url(settings.broker_url, settings)
    return replace(parse_broker_url(claim_url, settings), ca=claim_ca)


def parse_broker_url(url: str, settings: MqttSettings, table: str = "mqtt") -> Broker:
    """The broker `url` names; raises `FixConfig`."""
    or_claim = ", or ask for a new claim if it comes from there" if table == "mqtt" else ""
    if "@" in url:  # what stands before it is never said: it may be a password
        raise FixConfig(
            f"The broker's address (…@{url.rpartition('@')[2][:_MAX_URL_CHARS]}) names a user: user name and "
            f"password have keys of their own, {table}.username and {table}.password_file. "
            f"Correct {table}.broker_url{or_claim}."
        )
    try:
        if len(url) > _MAX_URL_CHARS:
            raise ValueError
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname or ""
        host.encode("idna")
        if not host or parts.path not in ("", "/") or parts.query or parts.fragment:
            raise ValueError
    except (ValueError, KeyError):
        raise FixConfig(
            f"The broker's address {url[:_MAX_URL_CHARS]!r} is not like mqtts://host or mqtts://host:8883. "
            f"Correct {table}.broker_url{or_claim}."
        ) from None
    if parts.scheme == "mqtt" and not settings.allow_plain:
        raise FixConfig(
            f"The broker's address {url} is without TLS. Use mqtts://, or set {table}.allow_plain = true "
            "if everyone on the way may read and drop what this device sends."
        )
    return Broker(host, port, parts.scheme == "mqtts", settings, table=table)


def home_broker(settings: HomeAssistantSettings) -> Broker:
    """The owner's own; raises `FixConfig`."""
    mqtt = MqttSettings(
        allow_plain=settings.allow_plain,
        ca_file=settings.ca_file,
        username=settings.username,
        password_file=settings.password_file,
    )
    return parse_broker_url(settings.broker_url, mqtt, "home_assistant")


def tls_context(broker: Broker) -> ssl.SSLContext | None:
    """The TLS context for `broker`, None without TLS; raises `FixConfig` for unusable files."""
    if not broker.tls:
        return None
    settings = broker.settings
    claim_ca = None if settings.ca_file else broker.ca or None
    try:
        context = ssl.create_default_context(cafile=settings.ca_file, cadata=claim_ca)
    except (OSError, ssl.SSLError) as error:
        if claim_ca:
            raise FixConfig(
                "The certificate authority in the claim is no certificate. Ask the operator for a new claim."
            ) from None
        raise _unusable(f"{broker.table}.ca_file", settings.ca_file, error) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = TlsSocket
    if settings.key_file is not None and settings.cert_file is None:
        raise FixConfig(
            "mqtt.key_file is set without mqtt.cert_file, the certificate it belongs to. Set both."
        )
    if settings.cert_file is not None:
        try:
            # An encrypted key must not ask for its password on a daemon's terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise _unusable("mqtt.cert_file or mqtt.key_file", settings.cert_file, error) from None
    return context


def password(settings: MqttSettings, table: str = "mqtt") -> str | None:
    """The first line of the password file; raises `FixConfig`."""
    if settings.password_file is None:
        return None
    try:
        with settings.password_file.open("rb") as file:
            return file.read(_MAX_PASSWORD_BYTES).decode().split("\n", 1)[0].strip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable(f"{table}.password_file", settings.password_file, error) from None


def why_unreachable(error: OSError, broker: Broker) -> str:
    """The sentence for a connection that did not come about."""
    match error:
        case ssl.SSLError():
            what = meaning(error, broker.table)
        case ConnectionResetError() if broker.tls:
            what = "it hung up. Is this the TLS port?"
        case TimeoutError() if broker.tls:
            what = "no answer. Check the network and the firewall, and that this is the TLS port"
        case socket.gaierror():
            what = (
                f"the name has no address: {error.strerror}. Check the network and {broker.table}.broker_url"
            )
        case ConnectionRefusedError():
            what = "nothing listens there. Is the broker running, is the port right?"
        case TimeoutError():
            what = "no answer. Check the network and the firewall"
        case _:
            what = f"{error.strerror or error}. Check the network"
    return f"The broker {broker} cannot be reached: {what.rstrip('.')}{'' if what.endswith('?') else '.'}"


def _unusable(key: str, path: Path | None, error: Exception) -> FixConfig:
    why = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
    return FixConfig(f"{key}: {path} cannot be used: {why}. Correct the file or the setting.")
