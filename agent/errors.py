"""Errors of the agent, named by what the caller must do. Each carries one sentence for the operator:
what happened, where, what to do. The command line prints it and exits with `exit_code`."""

from __future__ import annotations


class AgentError(Exception):
    """Base of everything this package raises on purpose."""

    exit_code = 1

    def __init__(self, sentence: str) -> None:
        self.sentence = sentence
        super().__init__(sentence)


class TryAgain(AgentError):
    """It may work later: a dead network, a busy file."""


class HardStop(AgentError):
    """Nothing will change until a person acts; nothing was touched."""

    exit_code = 2


class FixConfig(HardStop):
    """The configuration is wrong; the sentence names the key."""


class FixKey(HardStop):
    """The device key is missing, unreadable, too open or another device's."""


class JoinFirst(HardStop):
    """There is no valid membership."""


class FixStore(HardStop):
    """The journal cannot be used and must not be replaced (another device's, no permission)."""
