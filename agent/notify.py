"""systemd's notification socket (sd_notify(3)): READY, WATCHDOG, STOPPING. Nothing without systemd."""

from __future__ import annotations

import os
import socket


def notify(state: str) -> None:
    """Send one state, such as `READY=1`; a service manager that is not there is no error."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), address)
        except OSError:
            return


def watchdog_s() -> float | None:
    """Half of the interval after which systemd kills a silent service; None where it does not."""
    try:
        interval_us = int(os.environ["WATCHDOG_USEC"])
    except (KeyError, ValueError):
        return None
    ours = os.environ.get("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
    return interval_us / 2e6 if ours and interval_us > 0 else None
