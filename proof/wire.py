"""Bytes and topics on MQTT (§7).

- A message is the COSE bytes (first byte 0xd2), or their zlib form when that is smaller (0x78).
- The zlib form uses the preset dictionary `dictionary.bin` (RFC 1950 FDICT, decision 0002); a
  receiver also accepts zlib without it. Hashes and signatures are of the COSE bytes (§2.6).
- A receiver stops inflating at the limit; input after the stream's end is refused.
"""

from __future__ import annotations

import pkgutil
import re
import zlib
from typing import cast

from proof.cose import MAX_BYTES
from proof.keys import multibase_part
from proof.reasons import Reason, Refused

MAX_MESSAGE_BYTES = MAX_BYTES
DEVICE_WRITES, DEVICE_READS = ("proof", "enrol", "status"), ("receipt", "challenge", "membership")  # §7.4
CONTENT_TYPE = 'application/cose; cose-type="cose-sign1"'
_COSE, _ZLIB = 0xD2, 0x78
_MULTIBASE = re.compile(r"z6Mk[1-9A-HJ-NP-Za-km-z]{44}")
# Not importlib.resources: on a device it is the only one that brings zipfile and tempfile into memory.
_DICTIONARY = cast(bytes, pkgutil.get_data("proof", "dictionary.bin"))


def deflate(data: bytes) -> bytes:
    """The message that carries COSE bytes `data`."""
    packer = zlib.compressobj(9, zlib.DEFLATED, 15, 9, zlib.Z_DEFAULT_STRATEGY, _DICTIONARY)
    packed = packer.compress(data) + packer.flush()
    return packed if len(packed) < len(data) else data


def inflate(message: bytes, limit: int = MAX_BYTES) -> bytes:
    """The COSE bytes a message carries; raises `Refused` too_large or malformed (§4.1)."""
    if len(message) > min(limit, MAX_MESSAGE_BYTES):
        raise Refused(Reason.TOO_LARGE, f"the message has {len(message)} bytes")
    if not message or message[0] not in (_COSE, _ZLIB):
        raise Refused(Reason.MALFORMED, "the message is neither COSE nor zlib")
    if message[0] == _COSE:
        return message
    # FDICT is bit 5 of the second byte (RFC 1950 §2.2); zlib takes the dictionary only where it is set.
    has_dictionary = len(message) > 1 and bool(message[1] & 0x20)
    unpacker = zlib.decompressobj(zdict=_DICTIONARY) if has_dictionary else zlib.decompressobj()
    try:
        data = unpacker.decompress(message, limit + 1)
    except zlib.error as error:
        raise Refused(Reason.MALFORMED, f"the message is not zlib: {error}") from None
    if len(data) > limit:
        raise Refused(Reason.TOO_LARGE, f"the message inflates to more than {limit} bytes")
    if not unpacker.eof or unpacker.unused_data:
        raise Refused(Reason.MALFORMED, "the zlib stream is cut short or has bytes after its end")
    return data


def topic(network: str, device: str, leaf: str) -> str:
    """`fieldproof/1/<network>/<id>/<leaf>` (§7.1)."""
    return f"fieldproof/1/{network}/{multibase_part(device)}/{leaf}"


def beacon_topic(network: str) -> str:
    return f"fieldproof/1/{network}/beacon"


def parse_topic(name: str) -> tuple[str, str, str] | None:
    """(network, device id, leaf) of a device's topic, else None."""
    match name.split("/"):
        case ["fieldproof", "1", network, part, leaf] if _MULTIBASE.fullmatch(part):
            return network, f"did:key:{part}", leaf
    return None
