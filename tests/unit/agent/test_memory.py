"""Programs that open a key give nobody their memory."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from agent import cli as agent_cli
from agent import memory
from provisioning import cli as provisioning_cli

_LOOK = """
import ctypes, os, resource, signal
from agent import memory
dumpable = ctypes.CDLL(None).prctl
before = dumpable(3, 0, 0, 0, 0)
memory.close()
print(before, dumpable(3, 0, 0, 0, 0), *resource.getrlimit(resource.RLIMIT_CORE), flush=True)
os.kill(os.getpid(), signal.SIGSEGV)
"""


def test_a_closed_process_is_not_dumpable_and_leaves_no_core():
    process = subprocess.Popen([sys.executable, "-c", _LOOK], stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.read() == "1 0 0 0\n"
    process.stdout.close()
    _, status = os.waitpid(process.pid, 0)
    process.returncode = status
    assert os.WIFSIGNALED(status)
    assert not os.WCOREDUMP(status)


_HOLD = """
import ctypes, os
from agent import memory
os.setuid(65534)
ctypes.CDLL(None).prctl(4, 1, 0, 0, 0)  # as a program of that user begins
print(flush=True)
input()
memory.close()
print(flush=True)
input()
"""
# `environ` needs the right that reading memory needs; what Yama adds for attaching does not count here.
_ASK = "import os, sys; os.setuid(65534); open(f'/proc/{sys.argv[1]}/environ', 'rb').read()"


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_process_of_its_user_cannot_read_its_memory():
    words = [sys.executable, "-c", _HOLD]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        said = []
        for _ in range(2):
            process.stdout.readline()
            ask = [sys.executable, "-c", _ASK, str(process.pid)]
            said.append(subprocess.run(ask, capture_output=True, text=True).stderr)
            process.stdin.write("\n")
            process.stdin.flush()
    assert said[0] == ""
    assert "PermissionError" in said[1]


@pytest.mark.parametrize("cli", [agent_cli, provisioning_cli])
def test_the_command_lines_close_before_they_do_anything(cli, monkeypatch):
    steps = []
    monkeypatch.setattr(memory, "close", lambda: steps.append("close"))
    monkeypatch.setattr(cli, "app", lambda **_kwargs: steps.append("app"))
    cli.main()
    assert steps == ["close", "app"]


def test_the_daemon_closes_before_it_reads_its_settings():
    start = (
        "import runpy, sys; from agent import memory; memory.close = lambda: print('closed'); "
        "sys.argv = ['daemon', '99']; runpy.run_module('agent.daemon', run_name='__main__', alter_sys=True)"
    )
    ran = subprocess.run([sys.executable, "-c", start], capture_output=True, text=True)
    assert ran.stdout == "closed\n"
    assert "Bad file descriptor" in ran.stderr
