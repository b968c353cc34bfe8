"""The device's identity: its key, made once.

- `give` makes a key where there is none; where there is one it only says which. Never another identity.
- An existing state folder keeps its mode; a new one is for this user alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

from agent import __version__
from agent.descriptor import hardware_model
from agent.errors import FixConfig
from agent.keystore import Board, create_key, key_exists, open_key
from agent.settings import Settings
from proof.descriptor import Descriptor
from proof.keys import Signer
from provisioning.wholefile import write_new


@dataclass(frozen=True, slots=True)
class Identity:
    device: str
    key_class: str
    key: str
    state_dir: str


def give(settings: Settings, now_s: int, board: Board) -> tuple[Identity, bool]:
    """The identity, and whether it is new; raises `FixKey` or `FixConfig`."""
    try:
        settings.state_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise FixConfig(f"state_dir: {settings.state_dir} cannot be made: {error.strerror}.") from None
    if key_exists(settings.key, board):
        return describe(settings, open_key(settings.key, board)), False
    return describe(settings, create_key(settings.key, now_s, board)), True


def describe(settings: Settings, signer: Signer) -> Identity:
    return Identity(signer.device, signer.key_class, settings.key, str(settings.state_dir))


def descriptor(signer: Signer) -> Descriptor:
    """What the enrolment says of the device; instruments follow in the first proof (§3.4)."""
    return Descriptor(
        agent="fieldproof",
        version=__version__,
        key_class=signer.key_class,
        simulated=signer.key_class == "sim",
        hardware=hardware_model(),
        instruments=(),
    )


def write_example(path: Path) -> bool:
    """Put a commented configuration at `path`; False, and nothing done, where something already is."""
    return write_new(path, resources.files("provisioning").joinpath("example.toml").read_bytes())
