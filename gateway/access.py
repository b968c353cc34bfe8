"""Who may say and hear what at a Mosquitto broker (§7.4), as its ACL file and its configuration. Pure.

- A device is who the broker knows it to be: the common name of its certificate, or the user name its password
  fits. Both are the device id, and become the client id, so that nobody takes another's place.
- `client-id` authenticates no device: whoever says that he is a device is it, for the broker. He can read
  what that device may read and cut it off; he can sign nothing. The gateway has a password all the same.
- Patterns stand for every device, also for one that joins tomorrow: nothing here is changed for it.
- Mosquitto grants any subscription and then hands over only what the ACL lets the subscriber read.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import StrEnum

from proof import wire

GATEWAY_USER = "fieldproof-gateway"


class Identity(StrEnum):
    """What the broker knows a device by."""

    CERTIFICATE = "certificate"
    PASSWORD = "password"  # noqa: S105 - the word, not one
    CLIENT_ID = "client-id"


def acl(network: str, identity: Identity, gateway_user: str) -> str:
    """The ACL file. Two lines of a device never overlap with another's: ids hold no / and no wildcard, and
    Mosquitto refuses names that do."""
    root = f"fieldproof/1/{network}"
    device = f"{root}/{'%c' if identity is Identity.CLIENT_ID else '%u'}"
    lines = [
        f"# Access to the network {network}, devices known by their {_IN_WORDS[identity]} (protocol §7.4)."
    ]
    lines += ["", "# Every device, also those that have not joined yet."]
    lines += [f"pattern write {device}/{leaf}" for leaf in wire.DEVICE_WRITES]
    lines += [f"pattern read {device}/{leaf}" for leaf in wire.DEVICE_READS]
    if identity is Identity.CLIENT_ID:
        lines += [f"topic read {root}/beacon"]
    else:  # the only way to speak of every user
        lines += [
            "# Mosquitto warns that this pattern names nobody; it is meant for all.",
            f"pattern read {root}/beacon",
        ]
    lines += ["", "# The gateway."]
    lines += [f"user {gateway_user}"]
    lines += [f"topic read {root}/+/{leaf}" for leaf in wire.DEVICE_WRITES]
    lines += [f"topic write {root}/+/{leaf}" for leaf in wire.DEVICE_READS]
    lines += [f"topic write {root}/beacon"]
    return "\n".join(lines) + "\n"


def broker_config(network: str, identity: Identity, port: int, folder: str) -> str:
    """A part of mosquitto.conf, Mosquitto 2; its files are in `folder` and have the names used here."""
    return "\n".join(_broker_config(network, identity, port, folder)) + "\n"


def _broker_config(network: str, identity: Identity, port: int, folder: str) -> Iterator[str]:
    yield f"# The broker of the network {network}, devices known by their {_IN_WORDS[identity]}."
    yield f"listener {port}"
    yield f"certfile {folder}/broker.pem"
    yield f"keyfile {folder}/broker.key"
    if identity is Identity.CERTIFICATE:
        yield "# Only clients with a certificate of this authority; its common name is who they are."
        yield f"cafile {folder}/ca.pem"
        yield "require_certificate true"
        yield "use_identity_as_username true"
    if identity is not Identity.CLIENT_ID:
        yield "use_username_as_clientid true"
        yield "allow_anonymous false"
    else:
        yield "# Devices come without a name; the gateway has one, and a password."
        yield "allow_anonymous true"
    if identity is not Identity.CERTIFICATE:
        yield f"password_file {folder}/passwords"
    yield f"acl_file {folder}/acl"
    yield "# A proof is the largest message there is."
    yield f"max_packet_size {wire.MAX_MESSAGE_BYTES + 1024}"


_IN_WORDS = {
    Identity.CERTIFICATE: "certificate",
    Identity.PASSWORD: "user name and password",
    Identity.CLIENT_ID: "client id, which proves nothing",
}
