"""Key URI -> `Signer`. The same URI works in provisioning and in the agent.

- `file:/PATH`: an Ed25519 seed in a file, wrapped under a key made from what the board offers. **Weak**:
  it stops a card or a backup that is copied without a thought, not a person who can read the board.
- `credential:/PATH?with-key=…`: wrapped under a systemd encrypted credential, `tpm2:/PATH[?pcrs=…]`: under a
  key that a TPM 2.0 seals, `otp:/PATH`: under the private key in a Raspberry Pi's OTP memory. What each
  protects against: docs/keys.md.
- `sim:/PATH`: the same file for simulated devices, wrapped under a constant; a live network refuses it.
- Every place holds two keys: the device's, and at `/PATH.next` the one a rotation must use (§8.4); during
  a rotation a third. They lie in files whatever the scheme (decision 0009): `keyfile`.
- A key that is missing, damaged, too open or another board's is a `FixKey`. Never a new identity, never
  a fallback: only `create_key` makes keys, and it never overwrites.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

from agent.errors import FixConfig
from agent.keyfile import KeyFile, Seeds
from agent.wrapping import THIS_BOARD, BoardFacts, Constant, Wrapping
from agent.wrapping import Board as Board  # callers know keys by this module
from proof.keys import Signer

_Given = Mapping[str, str]


@dataclass(frozen=True, slots=True)
class Provider:
    """How a scheme's URI goes on, and what its seeds are wrapped under."""

    form: str
    parameters: frozenset[str]
    wrapping: Callable[[str, Path, _Given, Board], Wrapping]


def _credential(uri: str, path: Path, given: _Given, _board: Board) -> Wrapping:
    from agent.wrapping_credential import WITH_KEYS, Credential

    with_key = given.get("with-key")
    if with_key not in WITH_KEYS:
        raise FixConfig(
            f"key: {uri[:200]!r} must say what the credential is encrypted with: ?with-key= and one of "
            f"{', '.join(WITH_KEYS)}."
        )
    return Credential(path.with_name(f"{path.name}.cred"), with_key)


def _tpm2(uri: str, path: Path, given: _Given, _board: Board) -> Wrapping:
    from agent.wrapping_tpm2 import Sealed, pcrs_of

    pcrs = pcrs_of(given["pcrs"], uri) if "pcrs" in given else ""
    return Sealed(path.with_name(f"{path.name}.tpm"), pcrs)


def _otp(_uri: str, _path: Path, _given: _Given, board: Board) -> Wrapping:
    from agent.wrapping_otp import Otp

    return Otp(board.mailbox)


PROVIDERS = {
    "file": Provider("/PATH", frozenset(), lambda _uri, _path, _given, board: BoardFacts(board)),
    "credential": Provider("/PATH?with-key=host|tpm2|host+tpm2", frozenset({"with-key"}), _credential),
    "tpm2": Provider("/PATH or /PATH?pcrs=0,7", frozenset({"pcrs"}), _tpm2),
    "otp": Provider("/PATH", frozenset(), _otp),
    "sim": Provider("/PATH", frozenset(), lambda _uri, _path, _given, _board: Constant()),
}


def open_key(uri: str, board: Board = THIS_BOARD) -> Signer:
    """The device's key; raises `FixConfig` for the URI, `FixKey` for the key, like all of these."""
    return _slots(uri, board).open()


def open_next_key(uri: str, board: Board = THIS_BOARD) -> Signer:
    """The key that a rotation of `uri` must use (§8.4)."""
    return _slots(uri, board).open_next()


def create_key(uri: str, created_s: int, board: Board = THIS_BOARD) -> Signer:
    """Make the device's key and the next one; `created_s` is seconds since 1970, a note for people."""
    return _slots(uri, board).create(created_s)


def key_exists(uri: str, board: Board = THIS_BOARD) -> bool:
    """Whether there is something in the key's place, good or not."""
    return _slots(uri, board).exists()


def prepare_rotation(uri: str, created_s: int, board: Board = THIS_BOARD) -> Signer:
    """The key after the next one, to be committed to by a rotation: made, or found where it is already."""
    return _slots(uri, board).prepare_rotation(created_s)


def rotation_prepared(uri: str, board: Board = THIS_BOARD) -> bool:
    """Whether `prepare_rotation` was called since the last `settle_key`."""
    return _slots(uri, board).rotation_prepared()


def settle_key(uri: str, in_force: bytes, created_s: int, board: Board = THIS_BOARD) -> Signer:
    """Make the public key `in_force`, the current or the next one, the current; repeated it converges."""
    return _slots(uri, board).settle(in_force, created_s)


def export_seeds(uri: str, board: Board = THIS_BOARD) -> Seeds:
    """What a backup must hold; nothing else ever sees it."""
    return _slots(uri, board).export_seeds()


def import_seeds(uri: str, seeds: Seeds, created_s: int, board: Board = THIS_BOARD) -> Signer:
    """Put a backup's keys where no key is; repeated with the same seeds it converges."""
    return _slots(uri, board).import_seeds(seeds, created_s)


def _slots(uri: str, board: Board) -> KeyFile:
    scheme, path, given = _split(uri)
    return KeyFile(path, scheme, PROVIDERS[scheme].wrapping(uri, path, given, board))


def _split(uri: str) -> tuple[str, Path, dict[str, str]]:
    scheme, colon, rest = uri.partition(":")
    if not colon or scheme not in PROVIDERS:
        known = ", ".join(f"{name}:{provider.form}" for name, provider in PROVIDERS.items())
        raise FixConfig(f"key: {uri[:200]!r} has no scheme of this version; there are {known}.")
    place, mark, query = rest.partition("?")
    path = Path(place)
    if not path.is_absolute() or path.name in ("", "..") or not place.isprintable():
        raise FixConfig(f"key: {uri[:200]!r} must name a file by its absolute path, like {scheme}:/PATH.")
    pairs = [pair.partition("=") for pair in query.split("&")] if mark else []
    given = {name: value for name, _, value in pairs}
    if len(given) < len(pairs) or not given.keys() <= PROVIDERS[scheme].parameters or not all(given.values()):
        raise FixConfig(f"key: {uri[:200]!r} is not of the form {scheme}:{PROVIDERS[scheme].form}.")
    return scheme, path, given
