"""Fieldproof beside what one might use instead, through the same outage and the same kills.

    python -m benchmarks.bench_peers [--minutes 10] [--together] [--write] [PEER …]

- The peers run one after the other; with `--together` in the same minutes, each in a process of its own with
  a broker and ports of its own.
- What was found before at the same scale is kept in `build/peers.json`, so that one peer may be run again.
  Tables and plot are written when every peer has been run.
- weewx is left out, and why is written into the docs: its MQTT uploader is in no package index.
"""

from __future__ import annotations

import argparse
import json
import signal
import subprocess
import sys
from collections.abc import Collection, Iterable, Iterator
from dataclasses import asdict, fields, replace
from pathlib import Path

from benchmarks import marked
from benchmarks.field import BUILD, ROOT, work_folder
from benchmarks.peers import report, scenario
from benchmarks.peers.contenders import CONTENDERS
from benchmarks.peers.scenario import Result

KEPT = BUILD / "peers.json"
PLOT = ROOT / "docs" / "peers.svg"
_TITLE = "## Against what you might use instead (`bench_peers`)"
_WEEWX = (
    "weewx was not measured: weewx 5.5.2 installs from PyPI, but its MQTT uploader (weewx-mqtt) is a "
    "download from GitHub only; pip says `ERROR: No matching distribution found for weewx-mqtt`."
)
_COUNTED = """\
Each reading carries a number, given by a sensor whose count outlives the kills. Counted by one subscriber
with a session of its own at the remote broker; Fieldproof's *delivered* is what the gateway's ledger took,
its duplicates and order are those on the wire (the ledger takes each proof once, in chain order).

- Not read: due, but the peer was starting, late or slower. Lost: read, and never delivered.
  For Fieldproof a conversion of the chip is a read, also one that it then refused as late.
- Memory is the peak of the sum over the peer's processes (RSS). CPU is theirs too, without the virtual chip
  in the agent's; only the agent talks to a chip, register by register, the others get a number. Written is
  `write_bytes`, logs left out; syncs are counted by strace in the same run.
- Catch-up: from the broker's return until the last reading from before it that came at all. Fieldproof's
  includes what its receipts and proofs of sixty readings wait for.
"""


def kept(minutes: float) -> dict[str, Result]:
    """Earlier results of the same scale."""
    if not KEPT.exists():
        return {}
    names = {field.name for field in fields(Result)}
    found = json.loads(KEPT.read_text())
    return {
        peer: Result(**values)
        for peer, values in found.items()
        if values.keys() <= names and values["minutes"] == minutes
    }


def write(results: list[Result]) -> None:
    report.plot(results, PLOT)
    said = [report.wrapped(text) for text in (report.promise(results), report.worst(results))]
    found = f"{report.table(results)}\n\n{said[0]}\n\n{said[1]}\n"
    scale = report.wrapped(report.scale(results))
    details = f"{_COUNTED}\n{report.notes()}\n{report.wrapped(f'- {_WEEWX}', '  ')}\n"
    image = "![Readings that had arrived, by time, per peer]"
    docs = f"{_TITLE}\n\n{scale}\n\n{found}\n{image}(peers.svg)\n\n{details}"
    readme = f"{scale}\n\n{found}\n{image}(docs/peers.svg)\n\n{report.wrapped(_WEEWX)}\n"
    marked.write(ROOT / "docs" / "benchmarks.md", "peers", docs)
    marked.write(ROOT / "README.md", "peers", readme)


def one_after_another(peers: Iterable[str], minutes: float) -> Iterator[tuple[str, Result]]:
    for peer in peers:
        print(f"\n== {CONTENDERS[peer].name}", flush=True)
        yield peer, scenario.play(CONTENDERS[peer], minutes)


def side_by_side(peers: Collection[str], minutes: float) -> Iterator[tuple[str, Result]]:
    """Those that came to their end."""
    command = [sys.executable, "-m", "benchmarks.bench_peers", "--minutes", str(minutes), "--into"]
    with work_folder() as folder:
        running = {
            peer: subprocess.Popen([*command, str(folder / peer), peer])  # noqa: S603
            for peer in peers
        }
        try:
            for peer, process in running.items():
                if process.wait() == 0:
                    found = Result(**json.loads((folder / peer).read_text()))
                    yield peer, replace(found, beside=len(running) - 1)
        finally:
            for process in running.values():
                process.terminate()
                process.wait()


def main() -> int:
    parser = argparse.ArgumentParser(description="Fieldproof beside its peers, in one scenario for all.")
    parser.add_argument("--minutes", type=float, default=10.0, help="length of the scenario")
    parser.add_argument("peer", nargs="*", help=f"one of {', '.join(CONTENDERS)}; all, unless named")
    parser.add_argument("--together", action="store_true", help="all of them in the same minutes")
    parser.add_argument("--write", action="store_true", help="only write again what is kept of that length")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)  # one peer's result, for `--together`
    arguments = parser.parse_args()
    if strangers := set(arguments.peer) - CONTENDERS.keys():
        parser.error(f"no such peer: {', '.join(sorted(strangers))}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # what was started is ended
    peers: list[str] = [] if arguments.write else arguments.peer or list(CONTENDERS)
    if arguments.into:
        arguments.into.write_text(json.dumps(asdict(scenario.play(CONTENDERS[peers[0]], arguments.minutes))))
        return 0
    results = kept(arguments.minutes)
    play = side_by_side if arguments.together else one_after_another
    for peer, result in play(peers, arguments.minutes):
        results[peer] = result
        print(report.table([result]), flush=True)
        BUILD.mkdir(exist_ok=True)
        KEPT.write_text(json.dumps({name: asdict(result) for name, result in results.items()}) + "\n")
    if missing := CONTENDERS.keys() - results.keys():
        print(f"\nNothing written yet: not run at this scale: {', '.join(sorted(missing))}.")
        return 0
    write([results[peer] for peer in CONTENDERS])
    print("\nWritten to docs/benchmarks.md, docs/peers.svg and README.md.")
    return 0


if __name__ == "__main__":
    sys.exit(main())
