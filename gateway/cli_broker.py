"""`fieldproof-gateway acl` and `broker-config`: what a Mosquitto needs to know of the network (§7.4)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from gateway import access
from gateway.access import Identity
from gateway.cli_parts import Dir, Json, doorway, say
from gateway.errors import FixInput
from gateway.folder import Settings, load_settings

app = typer.Typer()
KnownBy = Annotated[Identity, typer.Option(help="What the broker knows a device by.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", help="File to write.", dir_okay=False)]
_UNSAFE = set("+#/\r\n\0")


@app.command()
def acl(
    directory: Dir,
    identity: KnownBy = Identity.CERTIFICATE,
    gateway_user: Annotated[
        str,
        typer.Option(help="The gateway's name at the broker; not given: username of the settings, else "
                     f"{access.GATEWAY_USER}."),
    ] = "",
    output: Output = None,
    as_json: Json = False,
) -> None:  # fmt: skip
    """The access rules of the network as a Mosquitto ACL file."""
    with doorway(as_json):
        settings = load_settings(directory)
        user = gateway_user or settings.username or access.GATEWAY_USER
        if set(user) & _UNSAFE or user != user.strip():
            raise FixInput(
                f"{user!r} cannot be a user's name at a broker: it has one of + # / or a blank end."
            )
        _give(access.acl(settings.network, identity, user), "acl", output, as_json)


@app.command()
def broker_config(
    directory: Dir,
    identity: KnownBy = Identity.CERTIFICATE,
    folder: Annotated[Path, typer.Option(help="Where the broker finds its files.", file_okay=False)] = Path(
        "/etc/mosquitto/fieldproof"
    ),
    output: Output = None,
    as_json: Json = False,
) -> None:
    """The part of mosquitto.conf that goes with the ACL; TLS only."""
    with doorway(as_json):
        settings = load_settings(directory)
        text = access.broker_config(settings.network, identity, _tls_port(settings), str(folder))
        _give(text, "config", output, as_json)


def _tls_port(settings: Settings) -> int:
    _host, port, tls = settings.endpoint()
    if not tls:
        raise FixInput(f"broker is {settings.broker}, which is without TLS: set it to mqtts://HOST first.")
    return port


def _give(text: str, name: str, output: Path | None, as_json: bool) -> None:
    """On stdout, or whole into `output`: a broker that reads it meanwhile sees the old or the new."""
    if output is None:
        say(as_json, {name: text}, text.rstrip("\n"))
        return
    draft = output.with_name(f".{output.name}.{os.getpid()}")
    try:
        draft.write_text(text)
        draft.replace(output)
    except OSError as error:
        raise FixInput(f"Cannot write {output}: {error.strerror}.") from None
    finally:
        draft.unlink(missing_ok=True)
    say(as_json, {name: text, "file": str(output)}, f"Written to {output}.")
