"""Writes tests/vectors/good and tests/vectors/bad; with `--check` only compares and exits 1 on a difference.

- One file per object, and an `index.json` per folder that says what a verifier in any language must find.
- Everything is made from fixed seeds and fixed times: the same bytes come out on every machine.
- A changed vector is a changed protocol: look at the difference before committing it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tests import proof_samples as samples
from tests.vectors import make_bad, make_bad_objects, make_bundles, make_good
from tests.vectors.make_good import Vector

HERE = Path(__file__).parent
SUFFIXES = {"claim": ".txt", "bundle": ".cborseq"}


def file_name(vector: Vector) -> str:
    # What is neither COSE nor CBOR carries no suffix that says so.
    kind = SUFFIXES.get(vector.kind, ".cbor" if vector.data[:1] == b"\xd2" else ".bin")
    return vector.name + kind


def index(vectors: list[Vector], about: str) -> bytes:
    entries: list[dict[str, Any]] = [
        {
            "name": vector.name,
            "file": file_name(vector),
            "kind": vector.kind,
            "shows": vector.shows,
            "signer": vector.signer.hex(),
            "expected": vector.expected,
            **vector.extra,
        }
        for vector in vectors
    ]
    world = {
        "about": about,
        "fields": {
            "signer": "Ed25519 public key of the signer (hex); for claims and bundles of the device",
            "expected": "verdict of a verifier at now_s (docs/protocol.md §10)",
            "notes": "what it notes on an accepted proof (§4.8-4.11)",
            "after": "names of the good proofs accepted before, in this order",
            "object": "number of the object of a bundle that is wrong (§11.2)",
            "finding": "what a verifier finds in a good bundle, at least; docs/evidence.md has the fields",
            "other_keys": "of signers within good bundles: a third of the device, a calibrator, a gateway",
            "form": "how the message is packed (§7.3); plain COSE where absent",
        },
        "now_s": samples.NOW_S,
        "network": samples.NETWORK,
        "network_kind": "test",
        "device": samples.DEVICE_ID,
        "device_key": samples.DEVICE.public_key.hex(),
        "next_key": samples.NEXT_KEY.public_key.hex(),
        "gateway_key": samples.GATEWAY.public_key.hex(),
        "other_keys": [
            signer.public_key.hex()
            for signer in (samples.AFTER_NEXT_KEY, make_bundles.CALIBRATOR, make_bundles.OTHER_GATEWAY)
        ],
        "claim_secret": samples.CLAIM.secret.hex(),
        "beacons": ["beacon"],
        "vectors": entries,
    }
    return (json.dumps(world, indent=1, ensure_ascii=False) + "\n").encode()


def build() -> dict[str, bytes]:
    """Path below this folder -> content."""
    folders = {
        "good": ([*make_good.vectors(), *make_bundles.good_bundles()], "objects a verifier accepts"),
        "bad": (
            [*make_bad.vectors(), *make_bad_objects.vectors(), *make_bundles.bad_bundles()],
            "objects a verifier refuses or notes, each wrong in one way",
        ),
    }
    files: dict[str, bytes] = {}
    for folder, (vectors, about) in folders.items():
        for vector in vectors:
            name = f"{folder}/{file_name(vector)}"
            if name in files:
                raise ValueError(f"two vectors are called {name}")
            files[name] = vector.data
        files[f"{folder}/index.json"] = index(vectors, about)
    return files


def differences(files: dict[str, bytes]) -> list[str]:
    on_disk = {
        path.relative_to(HERE).as_posix(): path.read_bytes()
        for folder in ("good", "bad")
        for path in (HERE / folder).glob("*")
    }
    return sorted(name for name in files.keys() | on_disk.keys() if files.get(name) != on_disk.get(name))


def main(arguments: list[str]) -> int:
    files = build()
    changed = differences(files)
    if arguments == ["--check"]:
        for name in changed:
            print(f"tests/vectors/{name} is not what the code writes now")
        print(f"{len(files)} files, {len(changed)} differ")
        return 1 if changed else 0
    for name in changed:
        path = HERE / name
        path.parent.mkdir(exist_ok=True)
        if name in files:
            path.write_bytes(files[name])
        else:
            path.unlink()
    print(f"{len(files)} files, {len(changed)} written or removed")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
