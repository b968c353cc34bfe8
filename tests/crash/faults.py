"""What may happen to a world, drawn from a seed: when, for how long, and what to.

- A plan is a sequence of lives; each ends with SIGKILL of the agent, wherever it is: `linger_s` after its
  start, which is often before it has sampled; or after so many samples; or after the gateway has heard it.
- A fault begins before the life it belongs to (`during` False) or in it, and lasts for `lives`.
- Pure: what a fault does to processes and files is the runner's business (`tests.crash.run_world`).
"""

from __future__ import annotations

import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from tests.crash import damage, proxy

PROCESSES = ("kill_gateway", "kill_broker", "freeze_gateway", "reboot")
CLOCK = ("day_on", "day_back", "ten_years_on", "ten_years_back", "at_1970")
# `read_only` and `full` happen to a whole file system, the others to calls.
DISK = ("full", "read_only", "turned_read_only", "write_error", "half_write", "sync_error", "gateway_disk")
MENUS = {
    "kills": PROCESSES,
    "clock": CLOCK,
    "network": proxy.NETWORK,
    "answers": proxy.ANSWERS,
    "disk": DISK,
    "damage": tuple(damage.KINDS),
}
_RARE = {"kills": 0.12, "damage": 0.12}  # how often a life has a fault of its menu; else `_OFTEN`
_OFTEN = 0.6
_BETWEEN_LIVES = ("reboot", *damage.KINDS)


@dataclass(frozen=True, slots=True)
class Fault:
    """`number` is the fault's own dice."""

    kind: str
    during: bool
    lives: int
    number: int


@dataclass(frozen=True, slots=True)
class Life:
    """`captured` None: from its start; `heard`: the gateway has committed something since."""

    captured: int | None
    heard: bool
    linger_s: float
    faults: tuple[Fault, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """`last` are the faults in which the last life begins; they end while it lives."""

    lives: tuple[Life, ...]
    last: tuple[Fault, ...]


def menus_of(seed: int, without: Collection[str] = ()) -> tuple[str, ...]:
    """What a world meets where nobody chose: every second one only kills, the others some of everything."""
    if seed % 2:
        return ("kills",)
    dice = random.Random(f"menus {seed}")
    others = [menu for menu in MENUS if menu not in ("kills", *without)]
    return ("kills", *dice.sample(others, dice.randint(1, len(others))))


def draw(seed: int, menus: Sequence[str], lives: int) -> Plan:
    dice = random.Random(seed)
    kinds = [kind for menu in menus for kind in MENUS[menu]]
    often = max(_RARE.get(menu, _OFTEN) for menu in menus)
    drawn = tuple(_life(dice, kinds, often) for _ in range(lives))
    lasting = [kind for kind in kinds if kind not in _BETWEEN_LIVES]
    last = _life(dice, lasting, 0.9).faults if lasting else ()
    return Plan(drawn, last)


def _life(dice: random.Random, kinds: Sequence[str], often: float) -> Life:
    faults: list[Fault] = []
    while dice.random() < often and len(faults) < 3:
        during, lives = dice.random() < 0.5, dice.choice((1, 1, 2, 4))
        faults.append(Fault(dice.choice(kinds), during, lives, dice.getrandbits(32)))
    if dice.random() < 0.4:
        return Life(None, False, dice.uniform(0.0, 0.08), tuple(faults))
    heard = dice.random() < 0.4
    return Life(dice.choice((1, 2, 5, 12)), heard, dice.expovariate(1 / 0.03), tuple(faults))
