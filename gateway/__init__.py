"""The network's side: verifies proofs, keeps the ledger, answers with signed receipts.

- `rules` and `enrolment` decide (pure); `ledger` remembers (SQLite); `service` turns a batch of messages
  into one transaction and the answers that may follow it; `link` carries bytes (MQTT); `listener` runs them.
- `folder` is a gateway on disk: key, settings, ledger. `cli` is the command, `broker` an optional one inside.
- Imports `proof` and nothing else of this project.
"""
