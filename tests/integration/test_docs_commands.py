"""Every command in the docs is run, or stands below with its reason. How a page says so stands at the top of
tests/docs_commands.py."""

from __future__ import annotations

import contextlib

import pytest

from tests import docs_commands
from tests.conftest import hold_port
from tests.docs_commands import PORTS, ROOT

# Pages that a test of their own follows: more than one machine, or a person at a terminal.
FOLLOWED_BY = {"docs/operating-a-gateway.md": "tests/integration/test_operating_a_gateway.py"}
# (page, how the block begins): why it is not run here; the tests that do.
ELSEWHERE = {
    ("README.md", "make demo"): ("`make test` is this suite", "tests/integration/test_demo.py"),
    ("README.md", "sudo apt install make"): (
        "root, systemd, sensors",
        "tests/integration/test_install.py tests/integration/test_setup.py tests/integration/test_doctor.py",
    ),
    ("README.md", "sudo fieldproof-provision init"): (
        "root, systemd, sensors",
        "tests/integration/test_join.py tests/unit/provisioning/test_become.py",
    ),
    ("systemd/README.md", "sudo make install"): ("root", "tests/integration/test_install.py"),
    ("systemd/README.md", "make deb"): ("root, apt", "tests/integration/test_deb.py"),
    ("docs/quick-start.md", "git clone"): (
        "the network; what it installs is what this suite runs",
        "tests/integration/test_install.py",
    ),
    ("docs/setup.md", "sudo apt install git"): ("root, apt, sensors", "tests/integration/test_install.py"),
    ("docs/setup.md", "sudo fieldproof-provision setup"): (
        "root, sensors",
        "tests/integration/test_setup.py",
    ),
    ("docs/setup.md", "fieldproof-provision setup --yes"): (
        "a claim of your network, sensors",
        "tests/integration/test_setup.py tests/unit/provisioning/test_setup.py",
    ),
    ("docs/setup.md", "$ fieldproof-provision setup"): (
        "captured from a terminal by its test, and compared",
        "tests/integration/test_setup.py",
    ),
    ("docs/verify-elsewhere/README.md", "cd docs/verify-elsewhere"): (
        "npm, the network",
        "tests/interop/test_verify_elsewhere.py",
    ),
    ("docs/moving-and-restoring.md", "fieldproof-provision backup"): (
        "asks for a passphrase at a terminal",
        "tests/unit/provisioning/test_moving.py",
    ),
    ("docs/moving-and-restoring.md", "fieldproof-provision restore"): (
        "asks for a passphrase at a terminal",
        "tests/unit/provisioning/test_moving.py",
    ),
    ("docs/monitoring.md", "sudo install -m 0640"): (
        "root",
        "tests/integration/test_home_assistant.py",
    ),
    ("docs/monitoring.md", "mosquitto_sub"): (
        "needs the package mosquitto-clients and a broker at home",
        "tests/integration/test_home_assistant.py",
    ),
    ("docs/monitoring.md", "journalctl -f"): (
        "systemd's journal",
        "tests/unit/agent/test_logs_and_notify.py tests/unit/agent/test_repeats.py",
    ),
    ("docs/operating-a-gateway.md", "sudo apt-get install"): (
        "root, apt, the network",
        "tests/integration/test_install.py",
    ),
    ("docs/adding-a-driver.md", ".venv/bin/python -m pytest -q -rP"): (
        "part of this suite",
        "tests/unit/drivers/test_co2_serial.py",
    ),
    ("docs/adding-a-driver.md", ".venv/bin/fieldproof-agent discover"): (
        "needs the part",
        "tests/unit/agent/test_discover.py tests/unit/agent/test_cli.py",
    ),
    ("docs/adding-a-driver.md", ".venv/bin/python -m pytest -q tests"): (
        "part of this suite",
        "tests/unit/drivers/test_guide.py tests/fuzz/test_decoders.py",
    ),
    ("docs/adding-a-driver.md", "make check"): (
        "what is run before every commit, and this suite",
        "tests/unit/drivers/test_guide.py",
    ),
}
ALL = {page: list(docs_commands.blocks(page, (ROOT / page).read_text())) for page in docs_commands.pages()}
RUN = [
    page
    for page, found in ALL.items()
    if page not in FOLLOWED_BY
    and any(block.language == "sh" and "elsewhere" not in block.words for block in found)
]


@pytest.mark.parametrize("page", ALL)
def test_a_block_that_nobody_runs_is_said_where_and_why(page):
    assert docs_commands.misfits(ALL[page]) == []
    elsewhere = [b for b in ALL[page] if b.language == "console" or "elsewhere" in b.words]
    listed = [begins for listed_page, begins in ELSEWHERE if listed_page == page]
    unknown = [b.place for b in elsewhere if not b.first.startswith(tuple(listed))]
    assert unknown == [], "let the block be run, or give ELSEWHERE the reason and the test"
    stale = [begins for begins in listed if sum(b.first.startswith(begins) for b in elsewhere) != 1]
    assert stale == [], "ELSEWHERE names a block that is not `elsewhere` on the page"


def test_what_stands_elsewhere_is_tested_there():
    named = " ".join(tests for _, tests in ELSEWHERE.values()).split() + list(FOLLOWED_BY.values())
    assert [name for name in named if "\ndef test_" not in (ROOT / name).read_text()] == []
    for page, test in FOLLOWED_BY.items():
        assert page.rpartition("/")[2] in (ROOT / test).read_text()


@pytest.mark.timeout(180)  # a dozen programs one after the other, on a machine that others may load
@pytest.mark.parametrize("page", RUN)
def test_who_follows_the_page_gets_what_it_shows(page, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    with contextlib.ExitStack() as held:
        ports = {port: held.enter_context(hold_port()).getsockname()[1] for port in PORTS}
        docs_commands.follow(page, (ROOT / page).read_text(), home, ports, deadline_s=150)
