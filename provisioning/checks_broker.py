"""Checks of the way to the broker: name, port, TLS. No MQTT is spoken: a running agent does not notice."""

from __future__ import annotations

import contextlib
import socket
import ssl
import time
from typing import Any

from agent.broker import Broker, broker_of, tls_context, why_unreachable
from agent.clock import Clock
from agent.membership import Joined
from agent.settings import Settings
from provisioning.checks import FAIL, PASS, WARN, Finding, failed
from provisioning.joining import date

CONNECT_S = 5.0
SOON_S = 14 * 86_400


def name(joined: Joined, settings: Settings) -> Finding:
    """The value is the broker."""
    broker = broker_of(settings.mqtt, joined.broker_url, joined.broker_ca)
    try:
        found = socket.getaddrinfo(broker.host, broker.port, type=socket.SOCK_STREAM)
    except OSError as error:
        return failed(why_unreachable(error, broker))
    addresses = ", ".join(sorted({str(address[4][0]) for address in found}))
    said = f"{broker.host} is {addresses}." if addresses != broker.host else f"{addresses}, no name."
    return Finding(PASS, said, "", broker)


def port(broker: Broker) -> Finding:
    begun_s = time.monotonic()
    try:
        socket.create_connection((broker.host, broker.port), CONNECT_S).close()
    except OSError as error:
        return failed(why_unreachable(error, broker))
    took_ms = (time.monotonic() - begun_s) * 1000
    return Finding(PASS, f"{broker} takes connections, in {took_ms:.0f} ms.", "", broker)


def tls(broker: Broker, clock: Clock) -> Finding:
    context = tls_context(broker)
    if context is None:
        return _plain(broker)
    try:
        with (
            socket.create_connection((broker.host, broker.port), CONNECT_S) as plain,
            contextlib.closing(context.wrap_socket(plain, server_hostname=broker.host)) as secure,
        ):
            certificate: dict[str, Any] = secure.getpeercert() or {}
            version = secure.version()
    except TimeoutError:  # the port was open a moment ago
        return Finding(FAIL, f"{broker} does not answer the TLS handshake.", "Is this the TLS port?")
    except ConnectionError as error:
        return Finding(FAIL, f"{broker} ends the TLS handshake: {error.strerror}.", "Is this the TLS port?")
    except OSError as error:
        return failed(why_unreachable(error, broker))
    ends_s = ssl.cert_time_to_seconds(certificate["notAfter"])
    issuer = ", ".join(value for part in certificate["issuer"] for _, value in part)
    said = f"{version}; its certificate is from {issuer}, valid until {date(ends_s)}"
    if ends_s - clock.wall().ns / 1e9 < SOON_S:
        return Finding(WARN, f"{said}: soon.", "Ask the broker's operator to renew it.", broker)
    return Finding(PASS, f"{said}.", "", broker)


def _plain(broker: Broker) -> Finding:
    addresses = {info[4][0] for info in socket.getaddrinfo(broker.host, broker.port)}
    if all(str(address).startswith("127.") or address == "::1" for address in addresses):
        return Finding(PASS, "None, and none is needed: the broker is on this machine.", "", broker)
    to_do = "Ask the operator for an address with mqtts://; set mqtt.broker_url to it."
    return Finding(WARN, "None: everyone on the way may read and drop.", to_do, broker)
