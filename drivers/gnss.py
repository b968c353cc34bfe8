"""GNSS receivers on a serial line: position, its accuracy, satellites; and UTC beside them (`utc`).

References: NMEA 0183 v4.11 and u-blox UBX-13003221 for what is heard (`nmea`, `ubx`); NEO-M8 data sheet
UBX-15031086 §1.4 for the accuracy. Works with every receiver that says RMC or GGA with checksums, or NAV-PVT.

- The type of a fix is its dimensions, 2 or 3; any other type is no sample.
- A read forgets what came in before, waits for the next epoch whose beginning it sees, and takes it. UBX is
  preferred where both languages come. Nothing is configured in the receiver.
- Only a measured position with a valid fix and a possible date is a sample. Before the first: `RetryLater`;
  when it is lost, held, estimated, undated or of the same moment as the last: `DropSample`.
- The line speed is found by listening at the usual ones.
- Identity: a u-blox says its unique id (SEC-UNIQID, from M8 on), older ones their firmware (MON-VER), both
  asked by empty polls. Other makers' receivers cannot be told apart: kind "none".
"""

from __future__ import annotations

import math
from datetime import datetime

from drivers import ubx
from drivers.contract import Clock, Identity, Quantity, Sample
from drivers.errors import DriverError, DropSample, InstrumentGone, RetryLater
from drivers.framing import Voice
from drivers.gnss_epoch import FORMAT, NO_FIX, RELEASED, Epoch, Stream
from drivers.gnss_message import Kind
from drivers.gnss_time import UtcSource
from drivers.serial_line import Conversation, LineSettings, SerialLine

_SPEEDS = (9600, 38400, 115200, 4800)  # u-blox to M8, M9 and later, modems, NMEA's own
_HEAR_S = 2.2  # longer than two seconds' beats: at the right speed something whole is heard
_POLL_EVERY_S = 0.7
_PAUSE_S = 0.2  # at 4800 baud a character takes 2 ms; between epochs of 1 Hz there is more
_COLD_S = 30.0  # UBX-15031086 table 2: cold start 26 to 30 s under open sky
_LONGEST_SERIAL = 128

# UBX-15031086 §1.4: 2.5 m CEP; one standard deviation of each axis is CEP / 1.1774 (bivariate normal).
_AXIS_M = 2.5 / 1.1774
_METRES_PER_DEGREE = 111_320.0  # of latitude; of longitude times the cosine, taken at 45°


class GNSS:
    """One receiver with a line for itself; implements `drivers.contract.Instrument`."""

    # Nobody states the vertical and the estimate's own error: twice the axis, and 30 % of 5 m.
    quantities = (
        Quantity("latitude", "lat", 1e-7, _AXIS_M / _METRES_PER_DEGREE, -90.0, 90.0),
        Quantity("longitude", "lon", 1e-7, _AXIS_M / _METRES_PER_DEGREE * math.sqrt(2), -180.0, 180.0),
        Quantity("altitude", "m", 0.1, 2 * _AXIS_M, -500.0, 50_000.0),
        Quantity("accuracy", "m", 0.1, 1.5, 0.0, 1_000.0),
        Quantity("satellites", "count", 1.0, 0.0, 0.0, 100.0),
        Quantity("fix-dimensions", "count", 1.0, 0.0, 2.0, 3.0),
    )

    def __init__(self, line: SerialLine, address: None, clock: Clock, earliest: datetime = RELEASED) -> None:
        self._line, self._clock, self._earliest = line, clock, earliest
        self._settings = LineSettings(_SPEEDS[0])
        self._has_had_a_fix = False
        self._last_utc_ns: int | None = None
        self.utc = UtcSource()

    def open(self) -> Identity:
        """Find the line speed and ask who it is. Raises `InstrumentGone` where no receiver is heard."""
        self._has_had_a_fix = False
        known = self._settings.baudrate
        skipped = 0
        for speed in (known, *(speed for speed in _SPEEDS if speed != known)):
            settings = LineSettings(speed)
            with self._line.transaction(settings, 2 * _HEAR_S) as line:
                heard = self._listen(line)
            if heard.frames:
                self._settings = settings
                return _identity(heard.answers)
            skipped += heard.skipped
        what = f"{skipped} bytes that are neither NMEA nor UBX" if skipped else "nothing"
        raise InstrumentGone(
            f"The GNSS receiver at {self._line.name} sends {what}: check power and wiring, "
            "and that it is the right line."
        )

    def read(self, deadline_s: float) -> Sample:
        stream = Stream(self._earliest)
        with self._line.transaction(self._settings, deadline_s) as line:
            try:
                epoch = self._next_epoch(line, stream)
            except InstrumentGone as gone:
                if not stream.frames:
                    raise
                raise DropSample(
                    f"The GNSS receiver at {self._line.name} told no whole moment in {deadline_s:g} s: "
                    "let it say RMC and GGA, or NAV-PVT, every second, or give it a longer deadline."
                ) from gone
        return self._sample(epoch)

    def close(self) -> None:
        self._line.close()

    # Raw read

    def _listen(self, line: Conversation) -> Stream:
        """What is heard in a while; questions are repeated, for an answer may be lost."""
        stream = Stream(self._earliest)
        line.forget()
        began_ns = asked_ns = self._clock.boottime_ns()
        line.write(ubx.poll(ubx.VER) + ubx.poll(ubx.UNIQID))
        while (now_ns := self._clock.boottime_ns()) - began_ns < _HEAR_S * 1e9:
            if now_ns - asked_ns > _POLL_EVERY_S * 1e9:
                asked_ns = now_ns
                line.write(ubx.poll(ubx.VER) + ubx.poll(ubx.UNIQID))
            stream.feed(line.heard(_PAUSE_S), self._clock.boottime_ns())
            if any(frame[2:4] == ubx.UNIQID for frame in stream.answers):
                break
        return stream

    def _next_epoch(self, line: Conversation, stream: Stream) -> Epoch:
        line.forget()
        while True:
            data = line.heard(_PAUSE_S)
            epochs = stream.feed(data, self._clock.boottime_ns()) if data else stream.silence()
            whole = [epoch for epoch in epochs if epoch.whole]
            for epoch in whole:
                self.utc.add(epoch)
            if whole:
                return max(whole, key=lambda epoch: (epoch.fix is not None, epoch.source == "ubx"))

    # Decode

    def _sample(self, epoch: Epoch) -> Sample:
        fix = epoch.fix
        if fix is None or not fix.measured:
            raise self._no_position(epoch)
        if epoch.utc_ns is None:
            raise DropSample(
                f"The GNSS receiver at {self._line.name} gave a position without a date, so its week may "
                "be wrong: let it say RMC or NAV-PVT."
            )
        if epoch.utc_ns == self._last_utc_ns:
            raise DropSample(f"The GNSS receiver at {self._line.name} repeats one moment: restart it.")
        self._last_utc_ns, self._has_had_a_fix = epoch.utc_ns, True
        satellites = None if epoch.satellites is None else float(epoch.satellites)
        dimensions = 3.0 if fix.kind is Kind.THREE_D else 2.0
        return Sample((fix.lat_deg, fix.lon_deg, fix.alt_m, fix.accuracy_m, satellites, dimensions))

    def _no_position(self, epoch: Epoch) -> DriverError:
        why = epoch.refused or (f"position is {epoch.fix.kind.value}" if epoch.fix else "no position")
        hint = (
            "does it see the sky?" if why == NO_FIX else "if that lasts, restart it or update its firmware."
        )
        sentence = f"The GNSS receiver at {self._line.name} has no position ({why}): {hint}"
        return DropSample(sentence) if self._has_had_a_fix else RetryLater(sentence, _COLD_S)


def _identity(answers: list[bytes]) -> Identity:
    by_key = {answer[2:4]: answer for answer in answers}
    versions = ubx.versions(by_key[ubx.VER]) if ubx.VER in by_key else []
    model = next((text[4:] for text in versions if text.startswith("MOD=")), "")
    if ubx.UNIQID in by_key:
        return Identity(model or "u-blox", ubx.unique_id(by_key[ubx.UNIQID]), "serial")
    if versions:
        return Identity(model or "u-blox", " ".join(versions)[:_LONGEST_SERIAL], "firmware")
    return Identity("GNSS receiver", "", "none")


VOICES = tuple(Voice(LineSettings(speed), FORMAT) for speed in _SPEEDS)
