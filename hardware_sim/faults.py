"""What goes wrong in a simulated node: a TOML file of `[[fault]]` tables. Data only; `faulty.py` acts.

    seed = 7                       # of rates, bits and garbage; 0 where it is left out

    [[fault]]
    fault = "bit-flip"
    instrument = "outdoor"         # or bus = "i2c:1": every instrument on it
    rate = 0.01                    # or transactions = [3, 17], counted from 0 per instrument and start
    from_s = 3600                  # boot time of the simulated node; likewise until_s

- Without `rate` and `transactions` a fault holds all the time from `from_s` to `until_s`.
- A transaction is one transfer on I2C, one message that a part says on a serial line.
- The kinds, where they can happen and what else they take stand in `KINDS`. `unplug` and `bus-stuck` that
  begin with a transaction last `seconds`; a `hang` delays one transaction by `seconds`.
- An unknown key or kind, a value that is none, a fault of another bus: refused with one sentence.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge, Gt, Le

from agent.settings import Finite

_STRICT = {"extra": "forbid"}
_AIM = frozenset({"fault", "instrument", "bus", "from_s", "until_s"})
_PER_TRANSACTION = frozenset({"transactions", "rate"})

Seconds = Annotated[float, Ge(0), Le(31_536_000)]


@dataclass(frozen=True, slots=True)
class Kind:
    """`buses` it can happen on, keys it `needs` and keys it `may` have besides those of every fault."""

    buses: frozenset[str]
    needs: frozenset[str] = frozenset()
    may: frozenset[str] = frozenset()


_I2C, _SERIAL = frozenset({"i2c"}), frozenset({"serial"})
_WIRES, _ALL = _I2C | _SERIAL, frozenset({"i2c", "serial", "w1"})

KINDS: Mapping[str, Kind] = {
    "nack": Kind(_I2C, may=_PER_TRANSACTION),
    "bus-stuck": Kind(_I2C, may=_PER_TRANSACTION | {"seconds"}),
    "short-read": Kind(_WIRES, may=_PER_TRANSACTION),
    "bit-flip": Kind(_WIRES, may=_PER_TRANSACTION | {"bit"}),
    "hang": Kind(_WIRES, frozenset({"seconds"}), _PER_TRANSACTION),
    "garbage": Kind(_SERIAL, may=_PER_TRANSACTION | {"count"}),
    "split": Kind(_SERIAL, may=_PER_TRANSACTION | {"seconds"}),
    "flood": Kind(_SERIAL, may=frozenset({"count"})),
    "unplug": Kind(_ALL, may=_PER_TRANSACTION | {"seconds"}),
    "wrong-chip": Kind(_WIRES, frozenset({"chip"})),
    "frozen": Kind(_ALL, may=frozenset({"key"})),
    "drift": Kind(_ALL, frozenset({"key", "per_hour"})),
    "jump": Kind(_ALL, frozenset({"key", "by"})),
}
LASTING = ("unplug", "bus-stuck")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """One `[[fault]]` table. `key` is a world's (`temperature_degC`); `per_hour` and `by` are in its unit."""

    __pydantic_config__ = _STRICT
    fault: str
    instrument: str = ""
    bus: str = ""
    from_s: Seconds = 0.0
    until_s: Seconds | None = None
    transactions: tuple[Annotated[int, Ge(0)], ...] | None = None
    rate: Annotated[float, Gt(0), Le(1)] | None = None
    seconds: Seconds | None = None
    bit: Annotated[int, Ge(0)] | None = None
    count: Annotated[int, Ge(1), Le(4096)] | None = None
    key: str | None = None
    per_hour: Finite | None = None
    by: Finite | None = None
    chip: str | None = None

    def __post_init__(self) -> None:
        kind = KINDS.get(self.fault)
        if kind is None:
            raise ValueError(f"there is no fault {self.fault[:40]!r}; there are {', '.join(KINDS)}")
        given = {name for name in self.__slots__ if name not in _AIM and getattr(self, name) is not None}
        if missing := kind.needs - given:
            raise ValueError(f"{self.fault} needs {', '.join(sorted(missing))}")
        if surplus := given - kind.needs - kind.may:
            raise ValueError(f"{self.fault} has no {', '.join(sorted(surplus))}")
        if bool(self.instrument) == bool(self.bus):
            raise ValueError("give either instrument or bus")
        if given >= _PER_TRANSACTION:
            raise ValueError("give either transactions or rate")
        if self.until_s is not None and self.until_s <= self.from_s:
            raise ValueError("until_s is not after from_s")
        if self.fault in LASTING and bool(given & _PER_TRANSACTION) != (self.seconds is not None):
            raise ValueError(f"{self.fault} lasts seconds after a transaction, else from from_s to until_s")

    def holds(self, boottime_ns: int) -> bool:
        """Whether the time is between `from_s` and `until_s`."""
        return self.from_s <= boottime_ns / 1e9 < (float("inf") if self.until_s is None else self.until_s)


@dataclass(frozen=True, slots=True, kw_only=True)
class FaultFile:
    """The whole file; `toml_file.load` reads one."""

    __pydantic_config__ = _STRICT
    seed: int = 0
    fault: tuple[Fault, ...] = ()
