"""Quality flags (§9): what the device itself notices about a sample. Nothing is ever deleted or changed.

- range: outside the instrument's own range, or the configured one.
- jump: moved more than physics allows since the reading before; judged only when that is at most 180 s old.
- frozen: unchanged for longer than the quantity allows; not judged for temperature and humidity in air of
  95 %RH and more, where both rightly stand still. A hole longer than half of what is allowed says nothing of
  what was inside it: counting begins anew (so what is read more seldom than that is never called frozen).
- cross-check: two quantities of one sample that cannot both be true, by more than one step of the coarser
  resolution: particles up to 1 µm weigh more than those up to 2.5 µm that include them (likewise 2.5 and
  10 µm); humidity above 100 %RH, which is a dew point above the temperature.
- Limits of the range are the driver's own, from the datasheet it names. Of jumps and standstills only what is
  published is in force, and `_PUBLISHED` says by whom. For particles, CO2, radiation, water, mains and
  positions no published limits are known here, and none are made up (smoke and a breath are jumps, clean air
  is 0 µg/m3 for an hour): range and cross-check only, until a configuration says more.
- Pure: one `Inspector` per instrument holds the readings before, and is given every time.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from agent.errors import FixConfig
from agent.settings import LimitSettings
from drivers.contract import Flag, Quantity

JUMP_WINDOW_S = 180.0
_SATURATED_RH = 95.0
_STANDS_STILL_IN_FOG = ("temperature", "humidity")


@dataclass(frozen=True, slots=True)
class Limits:
    """Of one quantity, in its unit; None is "not judged"."""

    low: float
    high: float
    jump: float | None = None
    frozen_s: float | None = None


# (quantity, unit): (jump, frozen_s). WeatherXM, Quality of Data, raw readings: 2 °C, 5 %RH, 0.5 hPa; constant
# for 240, 360 and 120 min.
_PUBLISHED: dict[tuple[str, str], tuple[float, float]] = {
    ("temperature", "Cel"): (2.0, 240 * 60.0),
    ("humidity", "%RH"): (5.0, 360 * 60.0),
    ("pressure", "Pa"): (50.0, 120 * 60.0),
}

# What is counted in the first is counted in the second too.
_PART_OF = (("pm1", "pm2.5"), ("pm2.5", "pm10"))
_SATURATION_RH = 100.0
_ROUNDING = 1 + 1e-6  # 1.3 - 1.2 is a little more than 0.1


def limits_of(
    instrument: str, quantities: Sequence[Quantity], configured: Mapping[str, LimitSettings]
) -> tuple[Limits, ...]:
    """Limits aligned with `quantities`; raises `FixConfig` for a quantity or unit the instrument lacks."""
    known = {quantity.name: quantity for quantity in quantities}
    for name, limit in configured.items():
        if name not in known:
            raise FixConfig(
                f"Instrument {instrument}: limits.{name}: it measures {', '.join(known)}, not {name!r}."
            )
        if limit.unit != known[name].unit:
            raise FixConfig(
                f"Instrument {instrument}: limits.{name}.unit is {limit.unit!r}, the instrument gives "
                f"{known[name].unit!r}: convert the limits and write that unit."
            )
    return tuple(_merged(quantity, configured.get(quantity.name)) for quantity in quantities)


def _merged(quantity: Quantity, configured: LimitSettings | None) -> Limits:
    jump, frozen_s = _PUBLISHED.get((quantity.name, quantity.unit), (None, None))
    if configured is None:
        return Limits(quantity.low, quantity.high, jump, frozen_s)
    return Limits(
        quantity.low if configured.low is None else configured.low,
        quantity.high if configured.high is None else configured.high,
        jump if configured.jump is None else configured.jump,
        frozen_s if configured.frozen_s is None else configured.frozen_s,
    )


@dataclass(slots=True)
class _Track:
    """The reading before of one quantity, and since when it has not moved."""

    value: float
    boottime_ns: int
    still_since_ns: int


class Inspector:
    def __init__(self, quantities: Sequence[Quantity], limits: Sequence[Limits]) -> None:
        self._quantities, self._limits = tuple(quantities), tuple(limits)
        self._tracks: dict[str, _Track] = {}

    def flags(self, values: Sequence[float | None], boottime_ns: int) -> int:
        """Flags of one sample; `values` are aligned with the quantities and rounded as published."""
        named = {quantity.name: value for quantity, value in zip(self._quantities, values, strict=True)}
        saturated = (named.get("humidity") or 0.0) >= _SATURATED_RH
        flags = Flag(0)
        for quantity, limits, value in zip(self._quantities, self._limits, values, strict=True):
            if value is None:
                continue
            if not limits.low <= value <= limits.high:
                flags |= Flag.RANGE
            foggy = saturated and quantity.name in _STANDS_STILL_IN_FOG
            flags |= self._motion(quantity.name, limits, value, boottime_ns, foggy)
        return int(flags | self._cross_check(named))

    def _cross_check(self, named: Mapping[str, float | None]) -> Flag:
        step = {quantity.name: quantity.resolution * _ROUNDING for quantity in self._quantities}
        for part, whole in _PART_OF:
            less, more = named.get(part), named.get(whole)
            if less is not None and more is not None and less - more > max(step[part], step[whole]):
                return Flag.CROSS_CHECK
        humidity = named.get("humidity")
        if humidity is not None and humidity - _SATURATION_RH > step["humidity"]:
            return Flag.CROSS_CHECK
        return Flag(0)

    def _motion(self, name: str, limits: Limits, value: float, boottime_ns: int, foggy: bool) -> Flag:
        before = self._tracks.get(name)
        if before is None:
            self._tracks[name] = _Track(value, boottime_ns, boottime_ns)
            return Flag(0)
        flags = Flag(0)
        elapsed_s = (boottime_ns - before.boottime_ns) / 1e9
        if limits.jump is not None and elapsed_s <= JUMP_WINDOW_S and abs(value - before.value) > limits.jump:
            flags |= Flag.JUMP
        hole = limits.frozen_s is not None and elapsed_s > limits.frozen_s / 2
        if value != before.value or foggy or hole:
            before.still_since_ns = boottime_ns
        still_s = (boottime_ns - before.still_since_ns) / 1e9
        if limits.frozen_s is not None and still_s > limits.frozen_s:
            flags |= Flag.FROZEN
        before.value, before.boottime_ns = value, boottime_ns
        return flags
