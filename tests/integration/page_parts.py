"""The agent's page, asked as a browser asks."""

from __future__ import annotations

import http.client
import json
from typing import Any


class Site:
    def __init__(self, served: Any) -> None:
        self.served = served

    @property
    def port(self) -> int:
        return int(self.served.settings.page.listen.rpartition(":")[2])

    def ask(self, path: str, method: str = "GET", **headers: str) -> http.client.HTTPResponse:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        connection.request(method, path, headers=headers)
        reply = connection.getresponse()
        reply.body = reply.read()  # type: ignore[attr-defined]
        connection.close()
        return reply

    def json(self, path: str) -> Any:
        reply = self.ask(path)
        assert reply.status == 200, reply.body  # type: ignore[attr-defined]
        return json.loads(reply.body)  # type: ignore[attr-defined]

    def is_up(self) -> bool:
        try:
            return self.ask("/").status == 200
        except OSError:
            return False
