"""A page without an agent: what it says is written here, and may be as hostile as can be."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from agent.page import WORDS, WWW
from web import app, response, server
from web.response import Answer

NOW_S = 1_790_000_000 // 300 * 300
EVIL = "<script>window.hacked=1</script><img src=x onerror='window.hacked=1'>\"'&{{7*7}}\u202e"


def status(text: str = "roof", tone: str = "warning") -> dict[str, Any]:
    """With `text` wherever somebody else's words may stand."""
    return {
        "device": "did:key:z6MkfBBb8WCD3E8Wn9iHSxe1erQCBa2cFnNbKyqBJYxnP1mZ",
        "network": text,
        "kind": "test",
        "key_class": "sim",
        "healthy": False,
        "answered": True,
        "answered_at_s": NOW_S,
        "state": "instrument_gone",
        "conditions": [
            {"code": "instrument_gone", "sentence": text, "remedy": text, "severity": tone},
            {"code": "clock_unsure", "sentence": text, "remedy": "", "severity": "warning"},
        ],
        "last_receipted_reading_age_s": 42.0,
        "readings": {"captured": 9, "unsealed": 4, "not_on_disk": 0, "unreceipted": 20},
        "proofs": {"sealed": 3, "unreceipted": 2, "in_flight": 0, "receipted_seq": 1, "receipted_at_s": None},
        "link": {"connected": False, "protocol": "", "problem": text},
        "clock": {"source": 0, "maxerror_s": 16.0},
        "journal": {
            "bytes": 123_456_789,
            "max_bytes": 512_000_000,
            "loss_window_s": 60.0,
            "free_bytes": 9**10,
        },
        "instruments": [
            {
                "name": text,
                "model": text,
                "serial": text,
                "samples": 3,
                "missed": 2,
                "problem": text,
                "latest": {},
                "ended": False,
            }
        ],
        "recovery": {"reconnected": 1, "reopened": 2, "restarted": 3, "rebooted": 4, "power_cuts": 5},
        "news": [text],
        "version": text,
        "now_s": NOW_S,
        "history": "filled",
        "words": {**WORDS, "keys": {"sim": text}},
        "newest": {
            text: {"at_s": NOW_S - 60, "flags": 2, "values": [[text, text, 21.5, 1], ["co2", "ppm", 9, 0]]}
        },
        "calibrations": {text: [[text, NOW_S - 5], [text, None]]},
    }


def history(text: str = "roof") -> list[dict[str, Any]]:
    """Two days with a gap of three hours and one flagged bucket."""
    times = [NOW_S - 300 * n for n in range(576, 0, -1)]
    means: list[float | None] = [20 + n % 50 / 10 for n in range(576)]
    means[200:236] = [None] * 36
    del times[201:236], means[201:236]
    series = {
        "quantity": text,
        "unit": text,
        "t": times,
        "mean": means,
        "min": [None if m is None else round(m - 0.5, 1) for m in means],
        "max": [None if m is None else round(m + 0.5, 1) for m in means],
        "flags": [None if m is None else 2 * (n == 400) for n, m in enumerate(means)],
        "count": [None if m is None else 5 for m in means],
    }
    return [{"instrument": text, "interval_s": 60.0, "now_s": NOW_S, "width_s": 300, "series": [series]}]


def proofs() -> list[dict[str, Any]]:
    done = {"first_s": NOW_S - 900, "last_s": NOW_S - 600, "readings": 10, "sealed_s": NOW_S - 599}
    return [
        {"seq": 3, **done, "sent_s": None, "receipted_s": None},
        {"seq": 2, **done, "sent_s": NOW_S - 590, "receipted_s": None},
        {"seq": 1, **done, "sent_s": NOW_S - 590, "receipted_s": NOW_S - 589},
    ]


def log(text: str = "roof") -> list[dict[str, Any]]:
    lasting = {"at_s": NOW_S - 9000, "until_s": None, "clock_sure": False, "count": 3}
    return [{**lasting, "code": "offline", "sentence": text, "detail": text}]


@contextmanager
def page(text: str = "roof", tone: str = "warning", **more: Any) -> Iterator[server.Server]:
    """`more` is what the status says otherwise."""
    said = {
        "/api/status": {**status(text, tone), **more},
        "/api/history": history(text),
        "/api/proofs": proofs(),
        "/api/log": log(text),
    }
    handlers: dict[str, app.Handler] = {
        path: lambda _, value=value: Answer(json.dumps(value).encode(), "application/json")  # type: ignore[misc]
        for path, value in said.items()
    }
    files = response.files(WWW, "/") | response.files(response.STATIC, "/static/")
    running = server.serve(app.make(handlers, files, home_only=True), "127.0.0.1:0")
    try:
        yield running
    finally:
        running.close()
