"""`fieldproof-provision`: the app. Its commands stand in `commands_*.py`; what they share in `doorway.py`.

Every command may be repeated: it converges to the same state and says so.
"""

from __future__ import annotations

import typer

from agent import memory
from provisioning import (
    commands_calibration,
    commands_device,
    commands_doctor,
    commands_moving,
    commands_rotation,
    commands_setup,
)

COMMANDS = (
    commands_setup.setup,
    commands_device.init,
    commands_device.join,
    commands_device.show,
    commands_rotation.rotate,
    commands_doctor.doctor,
    commands_moving.backup,
    commands_moving.restore,
    commands_moving.resume,
    commands_calibration.calibrator_key,
    commands_calibration.calibrate,
)

app = typer.Typer(
    add_completion=True,
    no_args_is_help=True,
    help="Gives this device its identity and its place in a network.",
    pretty_exceptions_enable=False,
)
for command in COMMANDS:
    app.command()(command)


def main() -> None:
    memory.close()
    app()


if __name__ == "__main__":
    main()
