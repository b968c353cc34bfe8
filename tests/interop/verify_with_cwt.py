"""python-cwt verifies the committed vectors: `make interop`.

- Runs in an environment of its own (.venv-interop), because python-cwt needs cbor2 below 6.
- Knows nothing of this project but the files: the vectors, their index and the wire form's dictionary.
- Every signed object must verify, must not verify with a bit flipped, and must not verify under another key.
"""

from __future__ import annotations

import hashlib
import json
import sys
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cbor2
from cwt import COSE, COSEKey

ROOT = Path(__file__).parents[2]
GOOD = ROOT / "tests/vectors/good"
DICTIONARY = (ROOT / "proof/dictionary.bin").read_bytes()


def signed_objects(entry: dict[str, Any], index: dict[str, Any]) -> list[tuple[str, bytes, bytes]]:
    """(name, COSE bytes, public key) of each object an entry holds; a claim is not signed."""
    data, key = (GOOD / entry["file"]).read_bytes(), bytes.fromhex(entry["signer"])
    match entry["kind"], data[0]:
        case "claim", _:
            return []
        case "bundle", _:
            return [*bundled(entry["name"], data, index)]
        case _, 0x78:
            preset = bool(data[1] & 0x20)
            unpacker = zlib.decompressobj(zdict=DICTIONARY) if preset else zlib.decompressobj()
            return [(entry["name"], unpacker.decompress(data), key)]
        case _:
            return [(entry["name"], data, key)]


def bundled(name: str, data: bytes, index: dict[str, Any]) -> Iterator[tuple[str, bytes, bytes]]:
    """The objects of a bundle, a CBOR sequence of byte strings; the kid (header 4) tells which key it is."""
    known = [*(index[name] for name in ("device_key", "next_key", "gateway_key")), *index["other_keys"]]
    keys = {hashlib.sha256(key).digest()[:8]: key for key in map(bytes.fromhex, known)}
    objects = []
    stream = memoryview(data)
    while stream:
        item = cbor2.loads(stream)
        stream = stream[len(cbor2.dumps(item)) :]
        objects.append(item)
    for number, item in enumerate(objects[1:], start=1):
        opened = cbor2.loads(item)
        if isinstance(opened, dict):  # a descriptor that stands by itself is vouched for by a proof's hash
            continue
        header = cbor2.loads(opened.value[0])
        yield f"{name} object {number}", item, keys[header[4]]


def verifies(data: bytes, public_key: bytes) -> bool:
    kid = cbor2.loads(cbor2.loads(data).value[0]).get(4)
    key = COSEKey.new({1: 1, -1: 6, -2: public_key, 3: -8, 2: kid, 4: [2]})
    COSE.new().decode(data, key)
    return True


def refuses(data: bytes, public_key: bytes) -> bool:
    try:
        return not verifies(data, public_key)
    except Exception:  # noqa: BLE001  whatever the library raises, it did not accept
        return True


def main() -> int:
    index = json.loads((GOOD / "index.json").read_text())
    objects = [found for entry in index["vectors"] for found in signed_objects(entry, index)]
    verified = refused = 0
    surprises: list[str] = []
    for name, data, public_key in objects:
        try:
            verified += verifies(data, public_key)
        except Exception as error:  # noqa: BLE001  every failure is a finding, whatever its type
            surprises.append(f"{name} does not verify: {error!r}")
        other_key = bytes.fromhex(index["device_key"])
        if public_key == other_key:
            other_key = bytes.fromhex(index["gateway_key"])
        flips = [
            data[:position] + bytes([data[position] ^ 0x01]) + data[position + 1 :]
            for position in range(2, len(data), max(1, len(data) // 40))
        ]
        for number, changed in enumerate(flips):
            if refuses(changed, public_key):
                refused += 1
            else:
                surprises.append(f"{name} with bit {number} flipped verifies")
        if refuses(data, other_key):
            refused += 1
        else:
            surprises.append(f"{name} verifies under another key")
    for surprise in surprises:
        print(surprise)
    print(f"python-cwt: {verified} verified, {refused} refused")
    return 1 if surprises or not verified else 0


if __name__ == "__main__":
    sys.exit(main())
