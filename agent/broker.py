"""The broker's address, its TLS context, and what its failures mean to an operator.

- `mqtts://host[:8883]` is the default; `mqtt://host[:1883]` (no TLS) only where `mqtt.allow_plain` is true.
- TLS 1.2 or newer, host name checked, against the system's authorities or `mqtt.ca_file`.
- Files of the configuration are read once, when the connection is set up; a wrong one is a `FixConfig`.
"""

from __future__ import annotations

import socket
import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from agent.errors import FixConfig
from agent.settings import MqttSettings

_PORTS = {"mqtts": 8883, "mqtt": 1883}
_MAX_URL_CHARS, _MAX_PASSWORD_BYTES = 256, 65_535


@dataclass(frozen=True, slots=True)
class Broker:
    host: str
    port: int
    tls: bool
    settings: MqttSettings

    def __str__(self) -> str:
        return f"{self.host}:{self.port}"


def parse_broker_url(url: str, settings: MqttSettings) -> Broker:
    """The broker `url` names; raises `FixConfig`."""
    try:
        if len(url) > _MAX_URL_CHARS:
            raise ValueError
        parts = urlsplit(url)
        port = parts.port or _PORTS[parts.scheme]
        host = parts.hostname or ""
        host.encode("idna")
        if not host or parts.path not in ("", "/") or parts.query or parts.fragment or parts.username:
            raise ValueError
    except (ValueError, KeyError):
        raise FixConfig(
            f"The broker's address {url[:_MAX_URL_CHARS]!r} is not like mqtts://host or mqtts://host:8883. "
            "Correct mqtt.broker_url, or ask for a new claim if it comes from there."
        ) from None
    if parts.scheme == "mqtt" and not settings.allow_plain:
        raise FixConfig(
            f"The broker's address {url} is without TLS. Use mqtts://, or set mqtt.allow_plain = true "
            "if everyone on the way may read and drop what this device sends."
        )
    return Broker(host, port, parts.scheme == "mqtts", settings)


def tls_context(broker: Broker) -> ssl.SSLContext | None:
    """The TLS context for `broker`, None without TLS; raises `FixConfig` for unusable files."""
    if not broker.tls:
        return None
    settings = broker.settings
    try:
        context = ssl.create_default_context(cafile=settings.ca_file)
    except (OSError, ssl.SSLError) as error:
        raise _unusable("mqtt.ca_file", settings.ca_file, error) from None
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.sslsocket_class = _ClosingSocket
    if settings.cert_file is not None:
        try:
            # An encrypted key must not ask for its password on a daemon's terminal.
            context.load_cert_chain(settings.cert_file, settings.key_file, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise _unusable("mqtt.cert_file or mqtt.key_file", settings.cert_file, error) from None
    return context


def password(settings: MqttSettings) -> str | None:
    """The first line of the password file; raises `FixConfig`."""
    if settings.password_file is None:
        return None
    try:
        with settings.password_file.open("rb") as file:
            return file.read(_MAX_PASSWORD_BYTES).decode().split("\n", 1)[0].strip("\r")
    except (OSError, UnicodeDecodeError) as error:
        raise _unusable("mqtt.password_file", settings.password_file, error) from None


def why_unreachable(error: OSError, broker: Broker) -> str:
    """The sentence for a connection that did not come about."""
    match error:
        case ssl.SSLCertVerificationError():
            what = f"its certificate is not trusted: {error.verify_message}. Check mqtt.ca_file and the clock"
        case ssl.SSLError():
            what = f"TLS failed: {getattr(error, 'reason', None) or error}. Is this the TLS port?"
        case socket.gaierror():
            what = f"the name has no address: {error.strerror}. Check the network and mqtt.broker_url"
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


class _ClosingSocket(ssl.SSLSocket):
    """Closes itself when the handshake fails: paho drops it there without closing."""

    def do_handshake(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().do_handshake(*args, **kwargs)
        except BaseException:  # whatever it is: tidy up and raise it again
            self.close()
            raise
