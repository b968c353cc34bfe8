"""For a stranger: judges an evidence bundle offline, tells what it shows, and unpacks its readings.

- Knows `proof` and nothing else: no gateway's folder, no agent, no network, no clock.
- `command` is the whole of it; `fieldproof-verify` and `fieldproof-gateway verify` are its two doors.
- Only readings of a bundle that was found good are unpacked, and only while its proofs are still the same.
- `words` is for people, `shape` for programs; both say what the finding says, in the same order.
"""
