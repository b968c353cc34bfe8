"""Checks of what the device keeps, each line provoked; and that none of them leaves a trace."""

from __future__ import annotations

import shutil
import threading
from dataclasses import replace

import pytest

from agent import daemon
from agent.errors import HardStop
from agent.membership import Joined, save
from proof import joining
from proof.joining import Membership
from provisioning import checks_state as state
from provisioning.checks import FAIL, PASS, SKIPPED, WARN
from tests.agent_parts import captured
from tests.doctor_parts import Patient
from tests.sim_parts import GATEWAY, NETWORK, NOWHERE


@pytest.fixture
def patient(tmp_path):
    folder = tmp_path / "node"
    folder.mkdir(mode=0o700)
    one = Patient(folder)
    yield one
    one.buses.close()


@pytest.fixture
def journal(patient):
    """The journal of the patient, with one unsealed sample; open."""
    from agent.store import open_journal

    opened = open_journal(patient.settings.journal_path, patient.device, patient.clock.boot_id).journal
    opened.begin()
    opened.append(captured(patient.clock))
    opened.commit()
    yield opened
    opened.close()


def lines_of(patient, *names):
    found = patient.examine()
    return [found[name] for name in names]


def test_everything_here_passes_on_a_joined_device_that_never_ran(patient):
    names = ("configuration", "state folder", "agent", "key", "journal", "membership")
    assert [line.verdict for line in lines_of(patient, *names)] == [PASS] * 6
    assert "None yet" in patient.lines["journal"].found
    assert patient.lines["receipt"].verdict is SKIPPED
    assert "Class sim" in patient.lines["key"].found
    assert "mode 0400" in patient.lines["key"].found


def test_without_a_configuration_one_line_fails_and_the_rest_is_skipped(patient):
    patient.config.unlink()
    verdicts = patient.verdicts()
    assert [name for name, verdict in verdicts.items() if verdict == "fail"] == ["configuration"]
    assert "init --write-config" in patient.lines["configuration"].to_do
    assert set(verdicts.values()) <= {"fail", "skipped", "pass"}


@pytest.mark.parametrize(("text", "expected"), [("x", "not TOML"), ("key = 3\n", "is wrong")])
def test_a_wrong_configuration_is_named(patient, text, expected):
    patient.config.write_text(text)
    (line,) = lines_of(patient, "configuration")
    assert (line.verdict, expected in line.found) == (FAIL, True), line


def test_a_device_that_was_never_made_fails_once_and_the_rest_waits(patient):
    patient.configure(f'"{patient.folder}"', f'"{patient.folder}/state"')
    patient.configure(f"sim:{patient.folder}/", f"sim:{patient.folder}/state/")
    verdicts = patient.verdicts()
    assert (verdicts["state folder"], verdicts["key"]) == ("fail", "fail")
    assert "fieldproof-provision init" in patient.lines["state folder"].to_do
    for name in ("journal", "membership", "receipt", "broker name", "gateway"):
        assert verdicts[name] == "skipped", name
    assert verdicts["bme280-76"] == "pass", "instruments can be read before the device has a key"


def test_a_state_folder_others_may_look_into_is_a_warning_and_stops_nothing(patient):
    patient.folder.chmod(0o755)
    folder, key = lines_of(patient, "state folder", "key")
    assert (folder.verdict, key.verdict) == (WARN, PASS)
    assert folder.to_do == f"chmod 0700 {patient.folder}"


def test_a_state_folder_everybody_may_write_in_fails_and_lets_no_agent_start(patient):
    patient.folder.chmod(0o1777)
    (folder,) = lines_of(patient, "state folder")
    assert (folder.verdict, "everybody may write there" in folder.found) == (FAIL, True)
    with pytest.raises(HardStop, match=r"Everybody may write .*chmod 0700"), daemon.alone(patient.folder):
        pytest.fail("an agent would start here")


def test_a_state_folder_this_user_may_not_write_in_fails(patient, monkeypatch):
    monkeypatch.setattr("os.access", lambda *_, **__: False)
    folder, agent, journal = lines_of(patient, "state folder", "agent", "journal")
    assert (folder.verdict, agent.verdict, journal.verdict) == (FAIL, PASS, SKIPPED)
    assert "may not write there" in folder.found
    with daemon.alone(patient.folder):
        (agent,) = lines_of(patient, "agent")
    assert (agent.verdict, "only its owner may ask it" in agent.found) == (SKIPPED, True)


def test_a_state_folder_of_another_user_is_a_warning(patient, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 65534)
    finding = state.state_folder(patient.settings)
    assert (finding.verdict, finding.to_do.startswith("Run this as ")) == (WARN, True)


def test_a_lock_without_an_answer_is_an_agent_that_hangs_and_the_lock_is_not_touched(patient):
    with daemon.alone(patient.folder):
        (line,) = lines_of(patient, "agent")
        assert (line.verdict, line.found.startswith("Process ")) == (FAIL, True), line
        assert patient.lines["journal"].verdict is SKIPPED
    assert lines_of(patient, "agent")[0].verdict is PASS


def test_a_key_that_is_too_open_fails_and_what_needs_it_is_skipped(patient):
    (patient.folder / "device.key").chmod(0o644)
    key, membership = lines_of(patient, "key", "membership")
    assert (key.verdict, "chmod 0400" in key.to_do, membership.verdict) == (FAIL, True, SKIPPED)


def test_a_missing_key_and_a_damaged_one_fail(patient):
    path = patient.folder / "device.key"
    path.chmod(0o600)
    path.write_text("{}")
    assert "damaged" in lines_of(patient, "key")[0].found
    path.unlink()
    assert "There is no device key" in lines_of(patient, "key")[0].found
    assert patient.lines["key"].verdict is FAIL


def test_a_key_that_cannot_be_rotated_is_a_warning(patient):
    (patient.folder / "device.key.next").unlink()
    key, membership = lines_of(patient, "key", "membership")
    assert (key.verdict, membership.verdict) == (WARN, PASS)
    assert "cannot be rotated" in key.found


def test_no_membership_a_damaged_one_and_an_ended_one_fail(patient):
    path = patient.settings.membership_path
    path.write_text("{}")
    assert "damaged" in lines_of(patient, "membership")[0].found
    path.unlink()
    (line,) = lines_of(patient, "membership")
    assert (line.verdict, "joined no network" in line.found) == (FAIL, True)
    assert patient.lines["broker name"].verdict is SKIPPED
    _join_until(patient, patient.clock.wall().ns // 10**9)
    (line,) = lines_of(patient, "membership")
    assert (line.verdict, "expired" in line.found) == (FAIL, True)


def test_a_membership_that_ends_within_14_days_is_a_warning(patient):
    now_s = patient.clock.wall().ns // 10**9
    _join_until(patient, now_s + 13 * 86_400)
    assert lines_of(patient, "membership")[0].verdict is WARN
    _join_until(patient, now_s + 15 * 86_400)
    assert lines_of(patient, "membership")[0].verdict is PASS


def _join_until(patient, expires_s):
    given = Membership(patient.device, NETWORK, "test", (GATEWAY.public_key,), (), 1_700_000_000, expires_s)
    signed = joining.sign_membership(given, GATEWAY, 1_700_000_000)
    save(patient.settings.membership_path, Joined(NOWHERE, (GATEWAY.public_key,), signed, given))


def test_a_journal_is_read_without_a_file_beside_it(patient, journal):
    journal.close()
    before = patient.files()
    (line,) = lines_of(patient, "journal")
    assert (line.verdict, "sound, of this device; 0 proofs" in line.found) == (PASS, True)
    assert patient.files() == before


def test_a_journal_of_a_killed_agent_is_read_with_its_write_ahead_log_and_left_as_it_is(patient, journal):
    journal.begin()
    journal.execute("INSERT INTO proofs VALUES (1, 1, x'00', 1, 0, 0, NULL, x'00')")
    journal.commit()
    killed = patient.folder / "killed"
    killed.mkdir()
    for suffix in ("", "-wal"):
        shutil.copy(f"{journal.path}{suffix}", killed / f"journal.db{suffix}")
    journal.close()
    for suffix in ("", "-wal"):
        shutil.copy(killed / f"journal.db{suffix}", f"{journal.path}{suffix}")
    shutil.rmtree(killed)
    before = patient.files()
    (line,) = lines_of(patient, "journal")
    assert (line.verdict, "1 proofs, 1 unreceipted" in line.found) == (PASS, True), line
    assert patient.files() == before
    assert patient.lines["receipt"].verdict is WARN, "sealed, and nothing receipted"


def test_a_big_journal_of_a_killed_agent_is_not_copied(patient, journal, monkeypatch):
    monkeypatch.setattr(state, "MAX_COPY_BYTES", 100)
    assert lines_of(patient, "journal")[0].verdict is SKIPPED


def test_a_journal_that_takes_too_long_is_skipped_with_what_needs_it(patient, journal, monkeypatch):
    hung = threading.Event()
    monkeypatch.setattr(state, "is_sound", lambda *_: hung.wait())
    monkeypatch.setattr("provisioning.doctor.JOURNAL_S", 0.3)
    journal.close()
    names = ("journal", "receipt", "key")
    assert [line.verdict for line in lines_of(patient, *names)] == [SKIPPED, SKIPPED, PASS]
    assert "no answer within" in patient.lines["journal"].found
    hung.set()


def test_a_corrupt_journal_fails_and_stays_as_it_is(patient, journal):
    journal.close()
    data = bytearray(journal.path.read_bytes())
    data[4096:8192] = bytes(4096)
    journal.path.write_bytes(data)
    before = patient.files()
    (line,) = lines_of(patient, "journal")
    assert (line.verdict, "is damaged" in line.found) == (FAIL, True), line
    assert "keeps the damaged file" in line.to_do
    journal.path.write_bytes(b"no database at all" * 1000)
    assert lines_of(patient, "journal")[0].verdict is FAIL
    journal.path.write_bytes(data)
    assert patient.files() == before


def test_what_the_journal_of_a_running_agent_said_last_is_told_as_old(patient, monkeypatch):
    report = {
        "healthy": True,
        "last_receipted_reading_age_s": 5.0,
        "why": ["It did not answer within 8 s."],
        "journal": {"bytes": 2_500_000},
        "proofs": {"sealed": 7, "unreceipted": 2},
        "answered": True,
    }
    monkeypatch.setattr(state, "ask_status", lambda _: report)
    names = ("agent", "journal", "receipt")
    assert [line.verdict for line in lines_of(patient, *names)] == [PASS] * 3
    report["answered"] = False
    agent, found, receipt = lines_of(patient, *names)
    assert (agent.verdict, "It did not answer within 8 s." in agent.found) == (WARN, True)
    assert (found.verdict, "does not answer" in found.found, "7" in found.found) == (FAIL, True, False)
    assert receipt.verdict is SKIPPED


def test_a_journal_of_another_device_fails(patient, journal):
    journal.begin()
    journal.execute("UPDATE meta SET device = 'did:key:z6MkOther'")
    journal.commit()
    journal.close()
    (line,) = lines_of(patient, "journal")
    assert (line.verdict, "belongs to device did:key:z6MkOther" in line.found) == (FAIL, True), line


@pytest.mark.parametrize(("age_s", "verdict"), [(0, PASS), (3 * 3600 + 60, WARN), (-4 * 3600, WARN)])
def test_an_old_receipt_is_a_warning(patient, age_s, verdict):
    books = state.Books(3, 1, patient.clock.wall().ns // 10**9 - age_s)
    assert state.receipt(books, {}, patient.clock).verdict is verdict
    assert state.receipt(replace(books, receipted_s=None), {}, patient.clock).verdict is WARN
