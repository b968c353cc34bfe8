"""`fieldproof-sim`: run | bus | broker | demo.

- Every error a person can cause ends here as one sentence: exit code 2 when something must be changed first,
  1 when it may work later.
- `demo` ends with its one line of figures, and with 1 unless every reading arrived once and unchanged.
"""

from __future__ import annotations

import os
import shutil
import signal
import sys
import tempfile
import threading
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated

import typer

from agent.errors import AgentError, FixConfig
from hardware_sim.replay import RecordingError

MAX_READINGS = 1_000_000
Worlds = Annotated[
    list[Path] | None, typer.Option("--world", help="A recorded day (Sensor.Community CSV); may be repeated.")
]
app = typer.Typer(
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    help="Simulated hardware: the real agent on virtual buses, in a recorded or a synthetic world.",
)


def main() -> None:
    try:
        app(prog_name="fieldproof-sim")
    except AgentError as error:
        sys.stderr.write(f"fieldproof-sim: {error.sentence}\n")
        sys.exit(error.exit_code)
    except RecordingError as error:
        sys.stderr.write(f"fieldproof-sim: {error}\n")
        sys.exit(FixConfig.exit_code)


@app.command()
def run(
    config: Annotated[Path, typer.Option("--config", "-c", help="The node's TOML file, with a sim: key.")],
    world: Worlds = None,
    world_file: Annotated[
        Path | None, typer.Option(help="What the parts measure: a TOML file of quantities and recordings.")
    ] = None,
    climate: Annotated[int | None, typer.Option(help="Seed of a synthetic climate.")] = None,
    readings: Annotated[
        int | None, typer.Option(min=1, max=MAX_READINGS, help="Without --world: end after so many.")
    ] = None,
    speed: Annotated[float, typer.Option(help="Virtual seconds per second; inf does not wait.")] = 1.0,
    captured: Annotated[
        Path | None, typer.Option(help="Append each sample to this file once the journal has it.")
    ] = None,
    faults: Annotated[Path | None, typer.Option(help="What goes wrong: a TOML file of faults.")] = None,
    until_done: Annotated[
        bool, typer.Option("--until-done", help="Exit when the world has ended and all is receipted.")
    ] = False,
) -> None:
    """Run the node in the foreground. A killed one goes on where its journal ends."""
    from agent import logs, settings
    from agent.daemon import alone, serve
    from hardware_sim import run as runs
    from hardware_sim import scenario, toml_file
    from hardware_sim.faults import FaultFile
    from hardware_sim.replay import ReplayWorld
    from hardware_sim.world_file import FileWorld

    if [bool(world), world_file is not None, climate is not None].count(True) != 1 or (world and readings):
        raise FixConfig(
            "Give one of --world, --world-file and --climate; --readings does not go with --world."
        )
    if not speed > 0:
        raise FixConfig(f"--speed: {speed} is not above 0.")
    found = settings.load(config)
    logs.configure(found.log_format)
    if world:
        chosen = scenario.recorded(ReplayWorld.from_csv(*world))
    elif world_file:
        chosen = scenario.written(FileWorld(world_file), readings)
    else:
        chosen = scenario.climate(climate or 0, readings)
    wrong = toml_file.load(FaultFile, faults) if faults else None
    stop = threading.Event()
    runs.require_simulated(found)
    with alone(found.state_dir):
        node = runs.build(found, chosen, speed, captured, wrong)
        if until_done:
            runs.stop_when_done(node, stop)
        raise typer.Exit(serve(node, found, stop))


@app.command()
def bus(
    root: Annotated[Path, typer.Argument(help="Where dev/serial/by-id shall stand, as on a machine.")],
    part: Annotated[list[str], typer.Option(help="A part to plug in, such as sds011; may be repeated.")],
    climate: Annotated[int, typer.Option(help="Seed of the synthetic climate.")] = 1,
) -> None:
    """Plug simulated parts into serial lines that any program may open: real ttys, under ROOT."""
    from hardware_sim import plugged

    stop = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _number, _frame: stop.set())
    with plugged.in_lines(root.absolute(), part, climate) as lines:
        for line in lines:
            typer.echo(str(line.path))
        stop.wait()


@app.command()
def broker(port: Annotated[int, typer.Option(min=1, max=65535)] = 1883) -> None:
    """Run an MQTT broker on 127.0.0.1 for tests; needs no server, keeps nothing."""
    if find_spec("amqtt") is None:
        raise FixConfig("The embedded broker needs amqtt: in a clone: `pip install '.[broker]'`.")
    # It is the gateway's, and neighbours do not import each other: become that program.
    os.execv(sys.executable, [sys.executable, "-m", "gateway.broker", str(port)])  # noqa: S606 our own module


@app.command()
def demo(
    world: Annotated[Path | None, typer.Option(help="A recorded day (Sensor.Community CSV).")] = None,
    seconds: Annotated[float, typer.Option(min=1, max=86_400, help="How long capturing takes.")] = 30.0,
    readings: Annotated[int, typer.Option(min=10, max=MAX_READINGS, help="Without --world.")] = 900,
    directory: Annotated[
        Path | None, typer.Option("--dir", help="An empty folder to work in and keep; else a temporary one.")
    ] = None,
) -> None:
    """A node, a broker and a gateway on this machine; the broker is stopped, the agent killed; then all is
    counted."""
    from hardware_sim import demo as demos

    plan = demos.recorded(world, seconds) if world else demos.climate(1, readings, seconds)
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # like Ctrl-C: everything started is ended
    folder = _folder(directory)
    try:
        tally = demos.run(plan, folder)
    except KeyboardInterrupt:
        _tidy(folder, directory)
        raise typer.Exit(130) from None
    if tally.good:
        _tidy(folder, directory)
    else:  # what a failed demo leaves behind is worth a look, temporary or not
        for problem in (*tally.problems[:5], f"See {folder}."):
            typer.echo(problem, err=True)
    typer.echo(tally.line())
    raise typer.Exit(0 if tally.good else 1)


def _folder(directory: Path | None) -> Path:
    if directory is None:
        return Path(tempfile.mkdtemp(prefix="fieldproof-demo-"))
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if any(directory.iterdir()):
            raise FixConfig(f"--dir: {directory} is not empty; choose another folder.")
    except OSError as error:
        raise FixConfig(f"--dir: {directory} cannot be used: {error.strerror}.") from None
    return directory.resolve()


def _tidy(folder: Path, asked_for: Path | None) -> None:
    if asked_for is None:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
