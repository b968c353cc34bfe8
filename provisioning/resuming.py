"""The owner's word that a superseded board is the one (§5.3, decision 0008).

- A running agent is told through its control socket; a journal of none is opened under the same lock.
- Repeated, it changes nothing more. Readings without a receipt are sealed again by the agent.
"""

from __future__ import annotations

from contextlib import closing

from agent import control, succession
from agent.clock import SystemClock
from agent.daemon import AgentRuns, alone
from agent.errors import FixStore, TryAgain
from agent.keystore import Board, open_key
from agent.settings import Settings
from agent.store import open_journal

RESUMED = "This board takes over: it opens a new log that names the newest head the gateway holds."
NOTHING = "This board was not superseded: nothing was changed."


def resume(settings: Settings, board: Board) -> tuple[str, bool]:
    """(device id, whether it was superseded and takes over now); raises `AgentError`."""
    device = open_key(settings.key, board).device
    if not settings.journal_path.exists():
        raise FixStore(f"There is no journal at {settings.journal_path}: nothing was ever sampled here.")
    try:
        return device, control.ask_resume(settings.control_socket)
    except TryAgain as unheard:
        try:
            with alone(settings.state_dir):
                return device, _in_the_journal(settings, device)
        except AgentRuns:
            raise unheard from None


def _in_the_journal(settings: Settings, device: str) -> bool:
    opened = open_journal(settings.journal_path, device, SystemClock().boot_id)
    with closing(opened.journal) as journal:
        journal.begin()
        left = succession.resume(journal)
        journal.commit()
    return left is not None
