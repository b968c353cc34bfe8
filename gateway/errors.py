"""Errors of the gateway, named by what the operator must do. Each carries one sentence: what happened,
where, what to do. The command line prints it and exits with `exit_code`."""

from __future__ import annotations


class GatewayError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = 1

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(sentence)


class TryAgain(GatewayError):
    """It may work later: a busy ledger, a full disk that is cleared, a dead network."""


class FixInput(GatewayError):
    """An argument, a file or the settings are wrong; nothing was touched."""

    exit_code = 2


class FixFolder(GatewayError):
    """The gateway's key or ledger is missing, damaged, too open or another gateway's; never replaced."""

    exit_code = 2
