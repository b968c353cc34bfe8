"""The codes of the diary, each in plain words; those of a gateway's verdict are §10's and have theirs."""

from __future__ import annotations

from proof.reasons import Reason

SENTENCES = {
    "started": "The agent started.",
    "rebooted": "The machine was restarted, and the agent with it.",
    "restarted": "The agent had died and was started again.",
    "power_cut": "The machine had lost power, or hung, and started again.",
    "stopped": "The agent was stopped.",
    "offline": "The broker could not be reached.",
    "broker_refuses": "The broker did not let this device in, or did not take its proofs.",
    "no_gateway": "No gateway answered at the broker.",
    "not_receipted": "The gateway was there and receipted nothing.",
    "not_publishing": "Nothing could be published.",
    "refused": "The network took no proofs of this device.",
    "proof_refused": "The gateway refused a proof, and what follows it waited.",
    "superseded": "Another board with this device's key had taken over: this one published nothing.",
    "clock_unsure": "The clock had no source: times of that span are less sure.",
    "clock_behind": "The clock stood behind readings that were receipted before.",
    "clock_stepped": "The clock was set.",
    "instrument_gone": "An instrument was gone.",
    "instrument_stopped": "An instrument was given up: it needs a person.",
    "instrument_hangs": "A read of an instrument did not come back.",
    "disk_failing": "The journal could not be written.",
    "not_sealing": "No proof could be sealed.",
    "disk_nearly_full": "The journal's disk was nearly full.",
    "journal_nearly_full": "The journal was nearly full of proofs without a receipt.",
    "evicted": "The journal was full: proofs without a receipt were given up, and that is said, signed.",
    "quarantined": "The journal was damaged and is kept aside; a new one took over what could be read.",
    "new_log": "A new log was opened.",
    "resumed": "The owner said that this board is the one; it took over.",
    "key_changed": "The device's key was changed.",
    "key_settled": "The network has the device's new key; the old one is gone from here.",
}


def sentence_of(code: str) -> str:
    """Also of a code that a newer version wrote, or a newer gateway said."""
    known = Reason.__members__.get(code.upper())
    return SENTENCES.get(code) or (known.sentence if known else f"{code}.")
