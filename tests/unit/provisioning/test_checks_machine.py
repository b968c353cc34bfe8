"""Checks of the machine, each line provoked."""

from __future__ import annotations

import os
from dataclasses import replace
from types import SimpleNamespace

import pytest

from agent.settings import JournalSettings
from provisioning import checks_machine as machine
from provisioning.checks import FAIL, PASS, SKIPPED, WARN
from tests.doctor_parts import Patient

LOADED = {
    "LoadState": "loaded",
    "ActiveState": "active",
    "UnitFileState": "enabled",
    "SupplementaryGroups": "i2c",
}


@pytest.fixture
def patient(tmp_path):
    one = Patient(tmp_path)
    yield one
    one.buses.close()


@pytest.mark.parametrize(
    ("said", "verdict", "expected"),
    [
        ({}, PASS, "active, enabled"),
        ({"UnitFileState": "disabled"}, WARN, "not started at boot"),
        ({"ActiveState": "inactive"}, WARN, "inactive"),
        ({"ActiveState": "failed", "Result": "exit-code"}, FAIL, "failed, enabled (exit-code)"),
        ({"LoadState": "not-found", "ActiveState": "inactive"}, WARN, "not-found"),
    ],
)
def test_the_service_is_what_systemd_says(patient, said, verdict, expected):
    patient.use_systemd(**{**LOADED, **said})
    finding = machine.service(patient.machine)
    assert (finding.verdict, expected in finding.found) == (verdict, True), finding
    assert verdict is PASS or finding.to_do


def test_without_systemd_the_service_is_skipped(patient):
    assert machine.service(patient.machine).verdict is SKIPPED


def test_a_systemctl_that_fails_is_a_warning(patient):
    patient.use_systemd(**LOADED)
    (patient.folder / "systemctl").write_text("#!/bin/sh\necho broken >&2\nexit 1\n")
    finding = machine.service(patient.machine)
    assert (finding.verdict, "broken" in finding.found) == (WARN, True)


def test_a_service_without_the_group_of_a_bus_is_a_warning(patient):
    assert machine.user(patient.settings, LOADED).verdict is PASS
    finding = machine.user(patient.settings, {**LOADED, "SupplementaryGroups": "dialout", "User": "someone"})
    assert (finding.verdict, "runs as someone" in finding.found, "lacks i2c" in finding.found) == (
        WARN,
        True,
        True,
    )


def test_a_user_outside_the_group_of_a_bus_is_a_warning_unless_it_is_root(patient, monkeypatch):
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    monkeypatch.setattr(os, "getgroups", list)
    finding = machine.user(patient.settings, None)
    assert (finding.verdict, finding.to_do.startswith("sudo usermod -aG i2c ")) == (WARN, True)
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert machine.user(patient.settings, None).verdict is PASS


def test_the_clock_passes_with_a_source_and_says_its_error_and_the_time_since_boot(patient):
    patient.clock.advance(3 * 3600)
    finding = machine.clock(patient.clock, None)
    assert finding.verdict is PASS
    assert "NTP, at most 0.001 s wrong; up for 3 h" in finding.found


def test_a_clock_without_a_source_or_before_2026_is_a_warning(patient):
    patient.clock.lose_sync()
    assert machine.clock(patient.clock, None).verdict is WARN
    patient.clock.source = 1
    patient.clock.set_wall(1_700_000_000)
    finding = machine.clock(patient.clock, None)
    assert (finding.verdict, "2023" in finding.found) == (WARN, True)


def test_a_running_agent_may_have_a_better_clock(patient):
    patient.clock.lose_sync()
    report = {"clock": {"source": 2, "maxerror_s": 0.5}}
    finding = machine.clock(patient.clock, report)
    assert (finding.verdict, "GNSS, at most 0.500 s" in finding.found) == (PASS, True)


@pytest.mark.parametrize(
    ("bounds", "verdict", "expected"),
    [
        (JournalSettings(1_000_000, 0), PASS, "free on"),
        (JournalSettings(10**15, 0), WARN, "it cannot grow that far"),
        (JournalSettings(1_000_000, 10**15), FAIL, "the oldest proofs are being given up"),
    ],
)
def test_the_disk_has_room_for_the_journal_and_its_floor(patient, bounds, verdict, expected):
    patient.use_disk()
    finding = machine.disk(replace(patient.settings, journal=bounds), patient.machine)
    assert (finding.verdict, expected in finding.found) == (verdict, True), finding


def mounted_on(patient, kind: str, device: str) -> None:
    patient.use_disk(kind, device)
    (patient.folder / "cmdline").write_text("root=/dev/mmcblk0p2 fsck.repair=yes rootwait\n")
    patient.machine = replace(patient.machine, command_line=patient.folder / "cmdline")
    patient.settings = replace(patient.settings, journal=JournalSettings(1_000_000, 0))


@pytest.mark.parametrize(
    ("kind", "device", "verdict"), [("ext4", "/dev/mmcblk0p2", PASS), ("tmpfs", "tmpfs", WARN)]
)
def test_a_card_and_a_file_system_in_memory_are_named(patient, kind, device, verdict):
    mounted_on(patient, kind, device)
    finding = machine.disk(patient.settings, patient.machine)
    assert (finding.verdict, kind in finding.found) == (verdict, True)
    assert ("on an SD card" in finding.found) == (kind == "ext4")


@pytest.mark.parametrize("line", ["root=/dev/mmcblk0p2 rootwait", "fsck.repair=no", None])
def test_a_card_that_nobody_repairs_at_its_start_is_a_warning(patient, line):
    mounted_on(patient, "ext4", "/dev/mmcblk0p2")
    command_line = patient.machine.command_line
    command_line.unlink() if line is None else command_line.write_text(line)
    finding = machine.disk(patient.settings, patient.machine)
    assert (finding.verdict, "fsck.repair=yes" in finding.to_do) == (WARN, True)
    mounted_on(patient, "ext4", "/dev/nvme0n1p2")
    command_line.write_text("quiet")
    assert machine.disk(patient.settings, patient.machine).verdict == PASS


def test_a_read_only_file_system_fails(patient, monkeypatch):
    real = os.statvfs(patient.folder)
    flags = {name: getattr(real, name) for name in dir(real) if name.startswith("f_")}
    mounted = SimpleNamespace(**{**flags, "f_flag": real.f_flag | os.ST_RDONLY})
    monkeypatch.setattr(os, "statvfs", lambda _: mounted)
    finding = machine.disk(patient.settings, patient.machine)
    assert (finding.verdict, "read-only" in finding.found) == (FAIL, True)


def test_a_bus_that_is_there_and_open_passes(patient):
    finding = machine.bus("i2c:1", patient.machine)
    assert (finding.verdict, "mode 0666" in finding.found) == (PASS, True)


@pytest.mark.parametrize(
    ("bus", "expected"),
    [
        ("i2c:7", "raspi-config nonint do_i2c"),
        ("serial:/dev/serial/by-id/nothing", "by-id"),
        ("w1:", "do_onewire"),
    ],
)
def test_a_bus_that_is_not_there_fails_and_says_how_to_get_it(patient, bus, expected):
    finding = machine.bus(bus, patient.machine)
    assert (finding.verdict, expected in finding.to_do) == (FAIL, True), finding


def test_a_simulated_device_needs_no_bus(patient):
    finding = machine.bus("i2c:7", patient.machine, simulated=True)
    assert (finding.verdict, "sim: key" in finding.found) == (SKIPPED, True)


def test_one_wire_is_a_folder(patient):
    patient.machine.one_wire.mkdir()
    assert machine.bus("w1:", patient.machine).verdict is PASS


def test_what_is_no_device_is_no_bus(patient):
    (patient.folder / "dev/i2c-2").write_text("")
    assert "no device of that kind" in machine.bus("i2c:2", patient.machine).found


def test_a_bus_that_is_closed_to_this_user_fails_and_names_the_group(patient, monkeypatch):
    real = os.access
    monkeypatch.setattr(os, "access", lambda path, mode, **how: real(path, mode) and not mode & os.W_OK)
    finding = machine.bus("i2c:1", patient.machine)
    assert (finding.verdict, finding.to_do.startswith("sudo usermod -aG i2c ")) == (FAIL, True)


def test_a_serial_name_that_changes_is_a_warning(patient):
    (patient.folder / "ttyUSB0").symlink_to("/dev/null")
    assert machine.bus(f"serial:{patient.folder}/ttyUSB0", patient.machine).verdict is WARN
    (patient.folder / "usb-FTDI").symlink_to("/dev/null")
    assert machine.bus(f"serial:{patient.folder}/usb-FTDI", patient.machine).verdict is PASS
