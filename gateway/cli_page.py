"""`fieldproof-gateway page`: the operator's page and /metrics, beside a running `listen`."""

from __future__ import annotations

import signal
import threading
from typing import Annotated

import structlog
import typer

from gateway import folder, logs
from gateway.cli_parts import Dir, doorway
from gateway.errors import FixInput

LISTEN = "127.0.0.1:8734"
app = typer.Typer()


@app.command(name="page")
def serve_page(
    directory: Dir,
    listen: Annotated[str, typer.Option(help="Address and port.")] = LISTEN,
    allow_remote: Annotated[
        bool,
        typer.Option("--allow-remote", help="Beyond this machine: whoever reaches the address reads all."),
    ] = False,
    name: Annotated[
        str, typer.Option(help="The name a reverse proxy passes on as Host; else this machine's.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="Log in JSON.")] = False,
) -> None:
    """The network in a browser, and /metrics for Prometheus, until SIGTERM. It only reads."""
    # What a page needs is imported by those who serve one.
    from gateway import page
    from web import server

    with doorway(as_json):
        view = page.View(directory, folder.load_settings(directory))
        with view.look():  # a ledger that cannot be read is said at once
            pass
        try:
            host, _port = server.split_listen(listen)
            if not (allow_remote or folder.is_loopback(host)):
                raise FixInput(
                    f"{listen} is beyond this machine, and the page asks nobody who he is: put a reverse "
                    "proxy with authentication before it, or say --allow-remote."
                )
            logs.configure(as_json)
            stop = threading.Event()
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, lambda *_: stop.set())
            running = server.serve(page.make(view, allow_remote=allow_remote, name=name or None), listen)
        except server.CannotListen as error:
            raise FixInput(str(error)) from None
        shown = f"[{host}]" if ":" in host else host
        structlog.get_logger().info("serving", page=f"http://{shown}:{running.port}/")
        stop.wait()
        running.close()
