"""Parts for tests of `doctor`: a joined device on simulated buses, certificates, a broker's rules."""

from __future__ import annotations

import datetime
import ipaddress
import os
import stat
import subprocess
from dataclasses import replace
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from agent.clock import Clock
from agent.keystore import Board
from agent.settings import load
from hardware_sim.buses import SimulatedBuses
from hardware_sim.worlds import ClimateWorld
from provisioning.checks import Line
from provisioning.checks_machine import Machine
from provisioning.doctor import Case, examine
from tests.agent_parts import FakeClock
from tests.sim_parts import joined_config

_PEM = serialization.Encoding.PEM
_SYSTEMCTL = """\
#!/bin/sh
cat <<END
{said}
END
"""


class Patient:
    """A member whose chips are simulated; `lines` of the newest examination by name."""

    def __init__(self, folder: Path, clock: Clock | None = None) -> None:
        self.folder = folder
        self.config, self.device = joined_config(folder)
        self.settings = load(self.config)
        self.clock = clock or FakeClock()
        (folder / "dev").mkdir()
        (folder / "dev/i2c-1").symlink_to("/dev/null")  # a character device that everybody may open
        self.machine = Machine(dev=folder / "dev", one_wire=folder / "w1", systemd=folder / "no-systemd")
        self.buses: Any = SimulatedBuses(self.settings.instrument, ClimateWorld(seed=1), self.clock)
        self.lines: dict[str, Line] = {}
        self.process: subprocess.Popen[bytes] | None = None

    def configure(self, old: str, new: str) -> None:
        text = self.config.read_text()
        assert old in text
        self.config.write_text(text.replace(old, new))
        self.settings = load(self.config)

    def use_broker(self, url: str, more: str = "") -> None:
        self.configure("[mqtt]\n", f'[mqtt]\nbroker_url = "{url}"\n{more}')

    def use_disk(self, kind: str = "ext4", device: str = "/dev/sda1") -> None:
        """Its folder lies on such a file system, whatever holds the files of this run."""
        number, mounts = self.folder.stat().st_dev, self.folder / "mounts"
        line = f"22 1 {os.major(number)}:{os.minor(number)} / / rw shared:1 - {kind} {device} rw\n"
        mounts.write_text("1 1 0:99 / /x rw - ext4 /dev/sdz rw\n" + line)
        self.machine = replace(self.machine, mounts=mounts)

    def use_systemd(self, **said: str) -> None:
        """A systemctl that says this of the unit."""
        program = self.folder / "systemctl"
        program.write_text(_SYSTEMCTL.format(said="\n".join(f"{key}={value}" for key, value in said.items())))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        self.machine = replace(self.machine, systemd=self.folder, systemctl=str(program))

    def case(self) -> Case:
        return Case(self.config, Board(), self.clock, self.buses, self.machine)

    def examine(self) -> dict[str, Line]:
        lines = examine(self.case())
        self.lines = {line.name: line for line in lines}
        assert len(self.lines) == len(lines), "two lines of one name"
        return self.lines

    def verdicts(self) -> dict[str, str]:
        return {name: str(line.verdict) for name, line in self.examine().items()}

    def files(self) -> dict[str, bytes]:
        found = sorted(self.folder.rglob("*"))
        return {str(path): path.read_bytes() if path.is_file() else b"" for path in found}


class Authority:
    """A certificate authority, and a broker's certificate from it: PEM files in `folder`."""

    def __init__(self, folder: Path, name: str = "test authority", days: float = 365.0) -> None:
        folder.mkdir(exist_ok=True)
        self.ca_file, self.cert_file, self.key_file = (
            folder / f"{part}.pem" for part in ("ca", "cert", "key")
        )
        now, day = datetime.datetime.now(datetime.UTC), datetime.timedelta(days=1)
        ca_key, key = (ec.generate_private_key(ec.SECP256R1()) for _ in range(2))
        ca_name, common = (
            x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)]) for text in (name, "broker")
        )
        identifier = x509.SubjectKeyIdentifier.from_public_key(ca_key.public_key())
        ca = (
            x509.CertificateBuilder(ca_name, ca_name, ca_key.public_key(), x509.random_serial_number())
            .not_valid_before(now - 1000 * day)
            .not_valid_after(now + 1000 * day)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(identifier, critical=False)
            .sign(ca_key, hashes.SHA256())
        )
        address = x509.IPAddress(ipaddress.ip_address("127.0.0.1"))
        certificate = (
            x509.CertificateBuilder(ca_name, common, key.public_key(), x509.random_serial_number())
            .not_valid_before(now - 500 * day)
            .not_valid_after(now + days * day)
            .add_extension(x509.SubjectAlternativeName([address]), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(identifier), critical=False
            )
            .sign(ca_key, hashes.SHA256())
        )
        self.ca_file.write_bytes(ca.public_bytes(_PEM))
        self.cert_file.write_bytes(certificate.public_bytes(_PEM))
        private = serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        self.key_file.write_bytes(key.private_bytes(_PEM, *private))

    def listener(self) -> str:
        """Lines for a listener of mosquitto's configuration."""
        return f"cafile {self.ca_file}\ncertfile {self.cert_file}\nkeyfile {self.key_file}\n"


def configure_broker(mosquitto: Any, more: str) -> None:
    """Start the broker again with `more` lines in its configuration."""
    config = Path(mosquitto.log).parent / "mosquitto.conf"
    config.write_text(config.read_text() + more)
    mosquitto.restart()
