"""What the daemon does not keep in memory, and that it is there all the same when somebody wants it."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

LOOK = """
import json, sys
from agent import lean
lean.prepare()
import agent.daemon
from decimal import Decimal
from drivers import bme280
from proof import cbor
encoded = cbor.encode([Decimal("0.5"), 1]).hex()
heavy = ["pydantic", "typer", "rich.console", "greenlet", "asyncio.base_events", "http.client"]
heavy += ["importlib.metadata", "importlib.resources", "zipfile", "tempfile", "shutil", "bz2", "lzma"]
heavy += ["typing_extensions", "uuid", "email.message", "fractions"]
print(json.dumps([name for name in heavy if getattr(sys.modules.get(name), "__spec__", None)]))
import asyncio, typing_extensions, urllib.request, uuid
async def five(): return 5
said = [asyncio.run(five()), urllib.request.Request("http://localhost").type, uuid.UUID(int=5).int]
import fractions
from email.mime.text import MIMEText
said += [encoded, typing_extensions.Doc("a word").documentation, str(fractions.Fraction(1, 3))]
print(json.dumps([*said, MIMEText("hello").get_payload()]))
"""


def test_the_daemon_loads_neither_checker_nor_command_line_and_what_is_put_off_still_works():
    done = subprocess.run([sys.executable, "-c", LOOK], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    loaded, used = map(json.loads, done.stdout.splitlines())
    assert loaded == []
    assert used == [5, "http", 5, "82c482200501", "a word", "1/3", "hello"]


ONE_DRIVER = """
import json, sys
from agent import lean
lean.prepare()
import agent.daemon
from drivers import catalogue
from drivers.i2c import SharedBus
catalogue.create(sys.argv[1], SharedBus(None, "a bus"), None, None)
roots = {name.partition(".")[0] for name in sys.modules}
rare = {"cryptography", "dlms_cosem", "dsmr_parser", "pynmeagps", "pyubx2", "pymodbus", "serial"}
print(json.dumps(sorted(roots & rare)))
"""


AFTERWARDS = """
from drivers import dsmr
dsmr.Contents()
from cryptography.hazmat.primitives.ciphers import Cipher
from dlms_cosem.connection import XDlmsApduFactory
from dlms_cosem.exceptions import DecryptionError
print(Cipher.__name__, XDlmsApduFactory.__name__, DecryptionError.__name__)
"""


def test_what_a_p1_meter_leaves_out_of_its_library_is_there_for_whoever_wants_it_later():
    done = subprocess.run([sys.executable, "-c", AFTERWARDS], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.stdout) == ("", "Cipher XDlmsApduFactory DecryptionError\n")


@pytest.mark.parametrize(
    ("driver", "libraries"),
    [
        ("bme280", []),
        ("gnss", ["pynmeagps", "pyubx2"]),
        ("sdm120", ["pymodbus"]),
        ("dsmr", ["dsmr_parser"]),
    ],
)
def test_a_library_that_only_some_drivers_need_is_loaded_where_one_of_them_is_configured(driver, libraries):
    done = subprocess.run(
        [sys.executable, "-c", ONE_DRIVER, driver], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == libraries


def test_home_assistant_and_metrics_are_not_loaded_where_they_are_not_on():
    look = (
        "import sys; from agent import lean; lean.prepare(); import agent.daemon; "
        "print([n for n in ('agent.home_assistant', 'agent.home_entities', 'agent.metrics', 'agent.page') "
        "if n in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", look], capture_output=True, text=True, timeout=60)
    assert (done.stderr, done.stdout) == ("", "[]\n")
