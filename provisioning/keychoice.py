"""Which provider keeps a new device's key: the best that is usable here.

- Usable is what was tried: a key is made in a temporary folder, opened, and thrown away.
- The order: `tpm2:`, `otp:`, `credential:`, `file:`. A key that is already in one of their places stays: it
  is this device's.
- What stands in for hardware gets a `sim:` key, so that every proof says so.
"""

from __future__ import annotations

import tempfile
from pathlib import Path

from agent.errors import AgentError, HardStop
from agent.keystore import Board, create_key, key_exists, open_key
from provisioning.person import Person

BEST_FIRST = (
    ("tpm2", "", "sealed in this machine's TPM"),
    ("otp", "", "wrapped under the private key in this board's OTP memory"),
    ("credential", "?with-key=host", "a systemd credential, encrypted for this machine"),
    ("file", "", "weak: wrapped under what this board says of itself"),
)


def best(state_dir: Path, board: Board, devices_root: Path | None, person: Person) -> str:
    """The key's URI; the person may choose another. Raises `HardStop` where none is usable."""
    place = state_dir / "device.key"
    if devices_root is not None:
        person.tell(f"What is under {devices_root} is simulated, and the key says so: sim:{place}")
        return f"sim:{place}"
    for scheme, options, _ in BEST_FIRST:
        uri = f"{scheme}:{place}{options}"
        if _is_ours(uri, board):
            person.tell(f"The key {uri} is there already.")
            return uri
    if key_exists(f"file:{place}", board):
        raise HardStop(
            f"There is something at {place} that is no key of this machine: give --key with its URI, or move "
            "it away."
        )
    found = tried(board)
    offered = [(scheme, options, what) for scheme, options, what, problem in found if not problem]
    if not offered:
        why = " ".join(problem for *_, problem in found)
        raise HardStop(f"No key can be kept on this machine. {why}")
    scheme, options, what = offered[0]
    person.tell(f"The best place for the key here is {scheme}: ({what}).")
    return person.says("Where the key is kept", f"{scheme}:{place}{options}", "--key")


def tried(board: Board) -> list[tuple[str, str, str, str]]:
    """(scheme, options of its URI, what it is, why it is not usable here or ""), best first."""
    found = []
    for scheme, options, what in BEST_FIRST:
        problem = ""
        try:
            with tempfile.TemporaryDirectory(prefix="fieldproof-trial-") as folder:
                uri = f"{scheme}:{folder}/device.key{options}"
                create_key(uri, 0, board)
                open_key(uri, board)
        except (AgentError, OSError) as error:
            problem = error.sentence if isinstance(error, AgentError) else f"{error}."
        found.append((scheme, options, what, problem))
    return found


def _is_ours(uri: str, board: Board) -> bool:
    """Whether the key file that is there was made for this very URI."""
    try:
        return key_exists(uri, board) and bool(open_key(uri, board))
    except AgentError:
        return False
