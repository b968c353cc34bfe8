"""`backup`, `restore`, `resume`: an identity moves to another board; which of several boards it is."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer

from agent.errors import FixConfig, HardStop
from agent.membership import Joined
from agent.settings import load as load_settings
from provisioning import backup as backups
from provisioning import joining, moving, resuming
from provisioning.become import owning
from provisioning.doorway import CONFIG, AsJson, Config, board_of, doorway, now_s, say

PassphraseFile = Annotated[
    Path | None,
    typer.Option(help="A file whose first line is the passphrase; not given: it is asked for."),
]


def backup(
    context: typer.Context,
    output: Annotated[Path, typer.Option("--output", "-o", help="The backup to write.")],
    config: Config = CONFIG,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Write this device's identity to a file, encrypted: key, membership, configuration, place in its log."""
    with doorway(as_json):
        with owning(load_settings(config).state_dir):
            made, joined = moving.collect(config, board_of(context), now_s())
        if output.exists():
            raise FixConfig(f"{output} is already there and stays as it is: give another name.")
        passphrase = _passphrase(passphrase_file, new=True)
        moving.write(output, backups.seal(made, passphrase))
        news = [
            "Keep the file away from this board, the passphrase away from the file. Who has both is this "
            "device. After `fieldproof-provision rotate` make a new one: this one is then of no use."
        ]
        say(as_json, {"backup": str(output), **_facts(made, joined)}, news)


def restore(
    context: typer.Context,
    file: Annotated[Path, typer.Argument(help="A file of `fieldproof-provision backup`.")],
    config: Config = CONFIG,
    passphrase_file: PassphraseFile = None,
    as_json: AsJson = False,
) -> None:
    """Make this board the device of a backup. The configuration is written too, if there is none."""
    with doorway(as_json):
        data = moving.read(file)
        found = backups.unseal(data, _passphrase(passphrase_file, new=False), str(file))
        done = moving.restore(found, config, board_of(context), now_s())
        facts = {**_facts(found, done.joined), "key": done.settings.key, "config": str(config)}
        news = [f"A configuration was written to {config}; look at its instruments."] * done.config_written
        news.append(
            "Everything was here already; nothing was changed. If another board has taken this one's place, "
            "run `fieldproof-provision resume`."
            if done.again
            else "This board is that device now. Start the agent: it takes over with a new log, and the old "
            "board stops publishing if it runs. If the key was changed after the backup was made, the "
            "network does not take this one, and `fieldproof-agent status` says so."
        )
        say(as_json, {**facts, "config_written": done.config_written, "restored_now": not done.again}, news)


def resume(context: typer.Context, config: Config = CONFIG, as_json: AsJson = False) -> None:
    """Make this board the one that publishes, after another board or an older card took its place."""
    with doorway(as_json):
        settings = load_settings(config)
        with owning(settings.state_dir):
            device, resumed = resuming.resume(settings, board_of(context))
        news = resuming.RESUMED if resumed else resuming.NOTHING
        say(as_json, {"device": device, "resumed": resumed}, [news])


def _facts(found: backups.Backup, joined: Joined) -> dict[str, Any]:
    head = found.head
    return {
        "device": found.device,
        "network": joined.membership.network,
        "made": joining.date(found.made_s),
        "log": head.log.hex() if head else None,
        "head": head.seq if head else 0,
    }


def _passphrase(file: Path | None, *, new: bool) -> str:
    """Raises `HardStop`; a new one must be strong."""
    if file is not None:
        try:
            with file.open("rb") as opened:
                line = opened.readline(4 * backups.LONGEST_PASSPHRASE + 2)
            passphrase = line.decode().rstrip("\r\n")
        except (OSError, UnicodeDecodeError) as error:
            why = error.strerror if isinstance(error, OSError) else "it is not text"
            raise FixConfig(f"--passphrase-file: {file} cannot be read: {why}.") from None
    elif sys.stdin.isatty():
        passphrase = typer.prompt("Passphrase", hide_input=True, confirmation_prompt=new, err=True)
    else:
        raise HardStop("There is no terminal to ask for the passphrase: give --passphrase-file FILE.")
    if new:
        backups.require_strong(passphrase)
    return passphrase
