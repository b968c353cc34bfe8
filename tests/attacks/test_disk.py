"""Attacks on what lies on the disk: key, membership, journal; and on the agent's socket."""

from __future__ import annotations

import contextlib
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

import pytest

from agent import control
from agent.control import ControlServer
from agent.errors import FixStore
from agent.membership import FixMembership, Joined, load, save
from agent.settings import load as load_settings
from agent.store import open_journal
from proof import joining, sealing, wire
from proof.cose import object_hash
from proof.joining import Membership
from proof.keys import SeedSigner
from proof.reasons import Reason
from tests.integration.daemon_parts import node_of
from tests.integration.network_parts import RunningBoard
from tests.sim_parts import joined_config

THIEF = SeedSigner(b"t" * 32, "file")


def test_another_device_s_key_put_in_place_stops_the_agent_and_changes_nothing(tmp_path):
    homes = [tmp_path / name for name in ("one", "two")]
    for home in homes:
        home.mkdir()
    (config, device), (_, other) = map(joined_config, homes)
    open_journal(homes[0] / "journal.db", device, bytes(16)).journal.close()
    for name in ("device.key", "device.key.next"):
        shutil.copy2(homes[1] / name, homes[0] / name)
    kept = {path.name: path.read_bytes() for path in homes[0].iterdir()}
    with pytest.raises(FixMembership, match=rf"not good for this device \({other}\)"):
        node_of(load_settings(config))
    shutil.copy2(homes[1] / "membership.json", homes[0])  # and he brings its membership too
    with pytest.raises(FixStore, match=f"belongs to device {device}, the key is that of {other}"):
        node_of(load_settings(config))
    assert (homes[0] / "journal.db").read_bytes() == kept["journal.db"]


def test_a_membership_put_in_place_is_refused_where_others_could_have_done_it(tmp_path):
    config, device = joined_config(tmp_path)
    settings = load_settings(config)
    honest = load(settings.membership_path, device, 0)
    forged = replace(honest.membership, gateway_keys=(THIEF.public_key,))
    # Signed by nobody the claim named: refused whoever wrote it.
    save(
        settings.membership_path, replace(honest, membership_bytes=joining.sign_membership(forged, THIEF, 0))
    )
    with pytest.raises(FixMembership, match="bad_key"):
        node_of(settings)
    # With his own key in the place of the claim's it would be good: so nobody else may write there.
    save(settings.membership_path, his_own(forged, honest))
    settings.membership_path.chmod(0o666)
    with pytest.raises(FixMembership, match="Others may write the membership"):
        node_of(settings)


def his_own(forged: Membership, honest: Joined) -> Joined:
    return replace(
        honest,
        gateway_keys=(THIEF.public_key,),
        membership=forged,
        membership_bytes=joining.sign_membership(forged, THIEF, 0),
    )


def offline_proofs(board: RunningBoard, until) -> None:
    """Some proofs that no gateway has yet."""
    board.start()
    until(lambda: board.report()["proofs"]["unreceipted"] >= 3, 30, "proofs without a receipt")
    board.stop()


def last_proof(board: RunningBoard) -> tuple[int, bytes]:
    with contextlib.closing(sqlite3.connect(board.settings.journal_path)) as db:
        seq, data = db.execute("SELECT seq, data FROM proofs ORDER BY seq DESC LIMIT 1").fetchone()
    return int(seq), wire.inflate(data)


def put(board: RunningBoard, seq: int, **columns: bytes) -> None:
    with contextlib.closing(sqlite3.connect(board.settings.journal_path)) as db, db:
        for name, value in columns.items():
            db.execute(f"UPDATE proofs SET {name} = ? WHERE seq = ?", (value, seq))


@pytest.mark.mosquitto
def test_a_journal_whose_proofs_were_edited_is_set_aside_and_its_owner_told(gateway, owner, mosquitto, until):
    network, honest = gateway(), owner()
    assert honest.join(network.claim()).exit_code == 0
    mosquitto.stop()
    offline_proofs(honest.board, until)
    seq, data = last_proof(honest.board)
    put(honest.board, seq, data=data[:-1] + bytes([data[-1] ^ 1]))
    mosquitto.start()
    honest.board.start()
    until(lambda: any("is kept as" in news for news in honest.board.report()["news"]), 30, "the news")
    honest.board.receipted(1)
    (line,) = network.lines()
    assert [log.reason for log in line.logs] in ([], ["store corrupt"])
    assert list(honest.board.folder.glob("journal.db.corrupt-1"))


@pytest.mark.mosquitto
def test_readings_edited_in_a_sealed_proof_are_worth_nothing_at_the_gateway(gateway, owner, mosquitto, until):
    """Whoever may write the journal can make its hash fit too; the signature he cannot."""
    network, honest = gateway(), owner()
    assert honest.join(network.claim()).exit_code == 0
    mosquitto.stop()
    offline_proofs(honest.board, until)
    seq, data = last_proof(honest.board)
    proof = sealing.parse(data)
    edited = data.replace(proof.signed.signature, THIEF.sign(data))
    put(honest.board, seq, data=edited, hash=object_hash(edited))
    mosquitto.start()
    honest.board.start()
    until(lambda: network.refused(Reason.BAD_SIGNATURE), 30, "the refusal")
    assert edited not in network.accepted(honest.id)
    (line,) = network.lines()
    assert line.head_seq < seq
    assert honest.board.report()["proofs"]["unreceipted"] > 0, "its status shows what was not taken"
    until(lambda: "proof_refused" in codes(honest.board), 30, "the condition")
    said = f"The gateway refuses proof {seq}, and waits with what follows. {Reason.BAD_SIGNATURE.sentence}"
    assert any(why.startswith(said) for why in honest.board.report()["why"])
    explained = control.ask_explain(honest.board.settings.control_socket, seq)
    assert (explained["state"], [v["code"] for v in explained["verdicts"]]) == ("refused", ["bad_signature"])
    assert explained["verdicts"][0]["remedy"] == Reason.BAD_SIGNATURE.remedy


def codes(board: RunningBoard) -> set[str]:
    return {condition["code"] for condition in board.report()["conditions"]}


def test_another_user_gets_nothing_from_the_agent_s_socket_nor_its_key():
    if os.geteuid() != 0:
        pytest.skip("only root can ask as somebody else")
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)  # so that the socket's own mode is what is asked
    asks = (
        "import socket,sys\ns = socket.socket(socket.AF_UNIX)\ntry: s.connect(sys.argv[1])\n"
        "except PermissionError: print('refused')\n"
        "try: open(sys.argv[2])\nexcept PermissionError: print('refused')\n"
    )
    (folder / "device.key").write_bytes(b"{}")
    (folder / "device.key").chmod(0o400)
    server = ControlServer(
        folder / "control.sock",
        lambda: {"healthy": True},
        lambda _since, _until: iter(()),
        lambda: None,
        lambda: pytest.fail("somebody else changed the key"),
    )
    try:
        python = shutil.which("python3", path="/usr/bin:/bin") or sys.executable
        words = [python, "-I", "-c", asks, str(folder / "control.sock"), str(folder / "device.key")]
        said = subprocess.run(words, user=65534, group=65534, extra_groups=[], capture_output=True, text=True)
        assert said.stdout.split() == ["refused", "refused"], said.stderr
    finally:
        server.close()
        shutil.rmtree(folder)
