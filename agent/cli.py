"""`fieldproof-agent`: run | check-config | discover | test-read | status | export; `cli_told`: log | explain.

Every error a person can cause ends here as one sentence and an exit code: 2 when something must be changed
first, 1 when it may work later.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import sqlite3
import sys
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any

import typer

from agent import cli_told, control, membership, memory, settings
from agent.cli_told import DEFAULT_CONFIG, AsJson, Config
from agent.errors import AgentError, FixConfig, FixStore, TryAgain
from agent.settings import Settings

_NO_LIMIT_S = 2**40  # a device's clock may be ahead

app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Samples instruments, signs what they gave, keeps it, and delivers it as proofs.",
)


def main() -> None:
    memory.close()
    try:
        app(prog_name="fieldproof-agent")
    except AgentError as error:
        sys.stderr.write(f"fieldproof-agent: {error.sentence}\n")
        sys.exit(error.exit_code)


@app.command()
def run(config: Config = DEFAULT_CONFIG) -> None:
    """Run the node in the foreground; a service manager starts it like this."""
    checked = check(settings.load(config))
    fd = os.memfd_create("fieldproof-settings", 0)  # no close-on-exec: the daemon inherits it
    with os.fdopen(fd, "wb", closefd=False) as file:
        pickle.dump(checked, file)
    os.lseek(fd, 0, os.SEEK_SET)
    daemon = [sys.executable, "-P", "-m", "agent.daemon", str(fd)]  # -P: never from the working directory
    os.execv(sys.executable, daemon)  # noqa: S606 our own interpreter, no shell


@app.command()
def check_config(
    config: Config = DEFAULT_CONFIG,
    schema: Annotated[bool, typer.Option("--schema", help="Print the JSON Schema instead.")] = False,
) -> None:
    """Check a configuration without touching hardware, keys or network."""
    if schema:
        typer.echo(json.dumps(settings.json_schema(), indent=2))
        return
    found = check(settings.load(config))
    places = [(i.name, i.driver, f"{i.bus} {i.address}".rstrip()) for i in found.instrument]
    names = ", ".join(f"{name} ({driver} at {place})" for name, driver, place in places)
    typer.echo(f"{config}: in order. Instruments: {names}.")


@app.command()
def discover(
    config: Config = DEFAULT_CONFIG,
    as_json: AsJson = False,
    serial: Annotated[
        list[Path] | None,
        typer.Option(help="A line besides those of /dev/serial/by-id, such as /dev/serial0."),
    ] = None,
    ask: Annotated[
        bool, typer.Option("--ask", help="Ask lines that say nothing known the questions of all parts.")
    ] = False,
    listen_s: Annotated[
        float,
        typer.Option("--listen-s", min=0.1, max=60.0, help="At each line speed; old smart meters need 12."),
    ] = 3.0,
) -> None:
    """Find instruments without changing anything in them, and print configuration to paste."""
    from agent import discover as search
    from agent import fragment
    from agent.buses import HardwareBuses
    from agent.clock import SystemClock

    _refuse_while_running(config)
    where = search.places() + [f"serial:{path.absolute()}" for path in serial or ()]
    if not where:
        raise TryAgain(
            "There is no I2C bus, no serial line by-id and no 1-Wire bus on this machine: enable them "
            "(sudo raspi-config, Interface Options), plug in the USB adapter, or name a line with --serial."
        )
    typer.echo(f"Searching {', '.join(where)}: up to two minutes.", err=True)
    clock = SystemClock()
    # The buses are not closed: one that hangs would hold us, and the end of this process closes them.
    found = search.discover(
        where,
        search.Search(HardwareBuses(clock), clock, listen_s, ask),
        patience_s=search.PATIENCE_S + 10 * listen_s,
    )
    typer.echo(json.dumps(fragment.table(found), indent=2) if as_json else fragment.text(found))
    if not any(finding.drivers for finding in found):
        raise TryAgain(
            f"No instrument was named at {', '.join(where)}: check power and wiring"
            f"{'' if ask else '; for serial parts that speak only when asked, try --ask'}."
        )


@app.command("test-read")
def read_instruments(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """Open every instrument, read it once and show what it gave. Stores and sends nothing."""
    from agent import testread

    results = [testread.read_once(instrument) for instrument in check(settings.load(config)).instrument]
    typer.echo(json.dumps(results, indent=2) if as_json else "\n".join(map(testread.text, results)))
    raise typer.Exit(max(int(result["exit_code"]) for result in results))


@app.command()
def status(config: Config = DEFAULT_CONFIG, as_json: AsJson = False) -> None:
    """What the running agent says of itself. Exit code 0 only when it is healthy."""
    report = control.ask_status(settings.load(config).control_socket)
    typer.echo(json.dumps(report, indent=2) if as_json else "\n".join(_status_lines(report)))
    raise typer.Exit(0 if report.get("healthy") else 1)


@app.command()
def export(
    output: Annotated[Path, typer.Option("--output", "-o", help="The bundle to write.")],
    config: Config = DEFAULT_CONFIG,
    since: Annotated[str, typer.Option(help="ISO 8601 time, UTC unless it says otherwise.")] = "1970-01-01",
    until: Annotated[str, typer.Option(help="ISO 8601 time; no limit if not given.")] = "",
) -> None:
    """Write an evidence bundle: what anyone needs to verify this device's proofs of that time."""
    found = settings.load(config)
    since_s, until_s = _seconds(since), _seconds(until) if until else _NO_LIMIT_S
    size = 0
    try:
        with output.open("xb") as file, _removed_on_failure(output):
            for piece in _bundle(found, since_s, until_s):
                size += file.write(piece)
    except FileExistsError:
        raise FixConfig(f"{output} is already there and stays as it is: give another name.") from None
    except OSError as error:
        raise FixConfig(f"{output} cannot be written: {error.strerror}.") from None
    typer.echo(f"{output}: {size} bytes. Verify it with: fieldproof-verify {output} --gateway-key KEY")


app.add_typer(cli_told.app)


def check(found: Settings) -> Settings:
    """What the schema cannot say: known drivers, buses and addresses, units of limits, calibration
    certificates, the broker."""
    from agent.broker import home_broker, parse_broker_url
    from agent.buses import PaperBuses
    from agent.calibration import certificates_of
    from agent.clock import SystemClock
    from agent.instruments import build_instrument
    from agent.quality import limits_of

    built = {i.name: build_instrument(i, PaperBuses(), SystemClock()) for i in found.instrument}
    for instrument in found.instrument:
        limits_of(instrument.name, built[instrument.name].quantities, instrument.limits)
    certificates_of(found, built)
    if found.mqtt.broker_url:
        parse_broker_url(found.mqtt.broker_url, found.mqtt)
    if found.home_assistant.enabled:
        home_broker(found.home_assistant)
    return found


def _refuse_while_running(config: Path) -> None:
    """Two who talk to one part by turns mix up each other's answers."""
    try:
        control.ask_status(settings.load(config).control_socket)
    except AgentError:
        return  # no agent runs, or none was configured yet
    raise FixConfig("The agent is running and reads its instruments: stop it first, and start it afterwards.")


@contextlib.contextmanager
def _removed_on_failure(output: Path) -> Iterator[None]:
    """A bundle is whole or not there."""
    try:
        yield
    except BaseException:  # whatever it is: tidy up and raise it again
        output.unlink(missing_ok=True)
        raise


def _bundle(found: Settings, since_s: int, until_s: int) -> Iterator[bytes]:
    """From the running agent; from the journal itself where none runs."""
    from agent import export as exports
    from agent.calibration import read_certificates
    from agent.journal import Journal
    from agent.keystore import open_key

    try:
        held = b""
        for piece in control.ask(found.control_socket, f"export {since_s} {until_s}"):
            yield held
            held = piece
        if not held.endswith(control.END):
            raise TryAgain("The agent stopped in the middle of the export: try again.")
        yield held.removesuffix(control.END)
        return
    except TryAgain:
        if held or not control.nobody(found.control_socket):
            raise
    certificates = [s.data for i in found.instrument for s in read_certificates(i, found.calibrators)]
    device = open_key(found.key).device
    joined = membership.load(found.membership_path, device, int(time.time()))
    if not found.journal_path.exists():
        raise FixStore(f"There is no journal at {found.journal_path}: nothing was ever sampled here.")
    try:
        with contextlib.closing(Journal(found.journal_path, device)) as journal:

            def call(job: Callable[[Journal], Any], /) -> Any:
                return job(journal)

            yield from exports.pieces(call, joined, since_s, until_s, certificates)
    except sqlite3.Error as error:
        raise FixStore(
            f"The journal {found.journal_path} cannot be read: {error}. Start the agent: it keeps what is "
            "damaged and goes on with a new journal."
        ) from None


def _seconds(text: str) -> int:
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        raise FixConfig(f"{text!r} is not a time like 2026-07-09 or 2026-07-09T12:00:00+02:00.") from None
    return max(0, int((moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()))


def _old(report: dict[str, Any]) -> str:
    """Behind what the journal said, where it does not answer now."""
    if report.get("answered", True):  # not said by an agent that has not been restarted since an upgrade
        return ""
    at_s = report.get("answered_at_s")
    when = "not known yet" if at_s is None else f"as it was at {cli_told.time_of(at_s)}"
    return f" (the journal does not answer: {when})"


def _status_lines(report: dict[str, Any]) -> Iterator[str]:
    age_s = report["last_receipted_reading_age_s"]
    health = "healthy" if report["healthy"] else "NOT HEALTHY"
    errors = [c["code"] for c in report.get("conditions", ()) if c["severity"] == "error"]
    if errors:
        health += f", {'but ' if report['healthy'] else ''}{errors[0].replace('_', ' ')}"
    newest = "none yet" if age_s is None else f"{age_s:.0f} s old"
    old = _old(report)
    yield f"{health}: newest receipted reading {newest}{', as far as is known' if old else ''}"
    yield from (f"  - {sentence}" for sentence in report["why"])
    yield f"device    {report['device']} ({report['key_class']} key)"
    yield f"network   {report['network']} ({report['kind']})"
    readings, proofs, link = report["readings"], report["proofs"], report["link"]
    yield f"readings  {readings['captured']} captured, {readings['unsealed']} not sealed yet{old}"
    waiting = f"{proofs['unreceipted']} wait for a receipt, {proofs['in_flight']} in flight"
    yield f"proofs    {proofs['sealed']} sealed, {waiting}{old}"
    yield f"link      {link['protocol'] or 'not connected'}"
    recovered = report.get("recovery", {})  # not of an agent that has not been restarted since an upgrade
    if again := [f"{name.replace('_', ' ')} {count}" for name, count in recovered.items() if count]:
        yield f"recovery  {', '.join(again)}"
    for instrument in report["instruments"]:
        values = ", ".join(f"{name} {value:g} {unit}" for name, (value, unit) in instrument["latest"].items())
        counts = f"{instrument['samples']} samples, {instrument['missed']} missed"
        yield f"{instrument['name']}  {counts}; {values}"


if __name__ == "__main__":
    main()
