"""Certificates made on the spot, and a Mosquitto set up as `fieldproof-gateway broker-config` says."""

from __future__ import annotations

import datetime
import getpass
import ipaddress
import subprocess
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway import access
from gateway.access import Identity
from tests.conftest import Mosquitto

MOSQUITTO_PASSWD = "mosquitto_passwd"
_PEM, _DAY = serialization.Encoding.PEM, datetime.timedelta(days=1)


class Authority:
    """A certificate authority; `file` is its certificate. It signs what Python 3.13's strict checks take."""

    def __init__(self, folder: Path, name: str = "test authority") -> None:
        self._folder = folder
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        builder = _builder(self._name, self._name, self._key.public_key(), expired=False)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        self._certificate = builder.add_extension(_usage(ca=True), critical=True).sign(
            self._key, hashes.SHA256()
        )
        self.file = folder / f"{name.replace(' ', '-')}.pem"
        self.file.write_bytes(self._certificate.public_bytes(_PEM))

    @property
    def der(self) -> bytes:
        return self._certificate.public_bytes(serialization.Encoding.DER)

    def issue(self, common_name: str, *hosts: str, expired: bool = False) -> Path:
        """A certificate with its key in one file, for servers (`hosts`) or a client."""
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
        builder = _builder(name, self._name, key.public_key(), expired)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        builder = builder.add_extension(_usage(ca=False), critical=True)
        signer = self._certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = builder.add_extension(
            x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(signer), critical=False
        )
        purpose = ExtendedKeyUsageOID.SERVER_AUTH if hosts else ExtendedKeyUsageOID.CLIENT_AUTH
        builder = builder.add_extension(x509.ExtendedKeyUsage([purpose]), critical=False)
        if hosts:
            builder = builder.add_extension(
                x509.SubjectAlternativeName([_host(one) for one in hosts]), critical=False
            )
        file = (
            self._folder
            / f"{common_name}{'-expired' * expired}-{key.private_numbers().private_value % 9973}.pem"
        )
        file.write_bytes(
            builder.sign(self._key, hashes.SHA256()).public_bytes(_PEM)
            + key.private_bytes(_PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return file


class SecureMosquitto(Mosquitto):
    """TLS on 127.0.0.1:`port`, with configuration and ACL of the gateway's own commands."""

    def __init__(
        self,
        folder: Path,
        authority: Authority,
        network: str,
        identity: Identity,
        certificate: Path | None = None,
    ) -> None:
        super().__init__(folder)
        self.url = f"mqtts://127.0.0.1:{self.port}"
        pair = (certificate or authority.issue("broker", "127.0.0.1")).read_bytes()
        for name, data in (
            *(("broker.pem", pair), ("broker.key", pair), ("ca.pem", authority.file.read_bytes())),
            ("acl", access.acl(network, identity, access.GATEWAY_USER).encode()),
            ("passwords", b""),
        ):
            (folder / name).write_bytes(data)
        self._passwords = folder / "passwords"
        config = access.broker_config(network, identity, self.port, str(folder))
        config += f"user {getpass.getuser()}\nlog_dest file {self.log}\nlog_type all\n"
        (folder / "mosquitto.conf").write_text(config)

    def add_password(self, user: str, password: str) -> None:
        """Before it starts."""
        subprocess.run([MOSQUITTO_PASSWD, "-b", self._passwords, user, password], check=True, timeout=20)


def _builder(
    subject: x509.Name, issuer: x509.Name, key: ec.EllipticCurvePublicKey, expired: bool
) -> x509.CertificateBuilder:
    end = datetime.datetime.now(datetime.UTC) + (-_DAY if expired else _DAY)
    builder = x509.CertificateBuilder(issuer, subject, key, x509.random_serial_number())
    builder = builder.not_valid_before(end - 3 * _DAY).not_valid_after(end)
    return builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(key), critical=False)


def _usage(ca: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not ca, key_cert_sign=ca, crl_sign=ca, content_commitment=False,
        key_encipherment=False, data_encipherment=False, key_agreement=False, encipher_only=False,
        decipher_only=False,
    )  # fmt: skip


def _host(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
