"""The gateway's side of TLS: its context, and what a failure means to an operator.

- TLS 1.2 or newer, host name checked, against `ca_file` or else the system's authorities; the gateway's own
  certificate where `cert_file` names one. Never without TLS because TLS failed.
- With TLS 1.3 a broker refuses a client's certificate only after the handshake, when the first answer is
  read: the socket keeps that error, since paho drops it.
"""

from __future__ import annotations

import contextlib
import ssl
from pathlib import Path
from typing import Any

from gateway.errors import FixInput
from gateway.folder import Settings

_EXPIRED, _OTHER_HOST = (9, 10), (62, 64)  # X509_V_ERR_…
_ALERTS = (
    ("CERTIFICATE_REQUIRED", "it demands a client certificate: set cert_file and key_file"),
    ("HANDSHAKE_FAILURE", "it broke the handshake off, perhaps for want of a client certificate (cert_file)"),
    ("ALERT_UNKNOWN_CA", "it does not know the authority that signed cert_file"),
    ("ALERT_CERTIFICATE_EXPIRED", "it says that cert_file has expired"),
    ("ALERT_CERTIFICATE_REVOKED", "it says that cert_file is revoked"),
    ("CERTIFICATE", "it refuses the certificate in cert_file"),
)


def context(settings: Settings) -> ssl.SSLContext | None:
    """None without TLS; raises `FixInput` for unusable files."""
    if not settings.endpoint()[2]:
        return None
    try:
        made = ssl.create_default_context(cafile=settings.ca_file or None)
    except (OSError, ssl.SSLError) as error:
        raise _unusable("ca_file", settings.ca_file, error) from None
    made.minimum_version = ssl.TLSVersion.TLSv1_2
    made.sslsocket_class = TlsSocket
    if settings.cert_file:
        try:
            # An encrypted key must not ask for its password on a daemon's terminal.
            made.load_cert_chain(settings.cert_file, settings.key_file or None, password=lambda: b"")
        except (OSError, ssl.SSLError) as error:
            raise _unusable("cert_file or key_file", settings.cert_file, error) from None
    return made


def authority(settings: Settings) -> bytes:
    """The certificates of `ca_file` in DER, one after the other; empty where the system's are meant."""
    if not settings.ca_file:
        return b""
    begin, end = "-----BEGIN CERTIFICATE-----", "-----END CERTIFICATE-----"
    try:
        blocks = Path(settings.ca_file).read_text().split(begin)[1:]
        return b"".join(ssl.PEM_cert_to_DER_cert(begin + block.split(end)[0] + end) for block in blocks)
    except (OSError, ValueError) as error:
        raise _unusable("ca_file", settings.ca_file, error) from None


def why(error: OSError) -> str:
    """What went wrong, and what to do, without the full stop."""
    match error:
        case ssl.SSLCertVerificationError():
            message = error.verify_message.rstrip(".")
            if error.verify_code in _EXPIRED:
                remedy = "Renew the broker's certificate, unless this machine's clock is wrong"
            elif error.verify_code in _OTHER_HOST:
                remedy = "Is broker the name that stands in the certificate"
            else:
                remedy = "Is ca_file the authority that signed it"
            return f"the broker's certificate is not trusted: {message}. {remedy}?".replace("wrong?", "wrong")
        case ssl.SSLError():
            reason = str(getattr(error, "reason", None) or error)
            known = [meaning for part, meaning in _ALERTS if "ALERT" in reason and part in reason]
            return known[0] if known else f"TLS failed ({reason}): is this the broker's TLS port?"
        case ConnectionResetError():
            return "the broker hung up: is this its TLS port?"
    return str(error) or type(error).__name__


class TlsSocket(ssl.SSLSocket):
    """`failure` is why the peer ended it, where TLS said so."""

    failure: ssl.SSLError | None = None

    def do_handshake(self, *args: Any, **kwargs: Any) -> None:
        try:
            super().do_handshake(*args, **kwargs)
        except BaseException:  # paho drops the socket without closing it; whatever it is is raised again
            self.close()
            raise

    def recv(self, *args: Any, **kwargs: Any) -> bytes:
        try:
            return super().recv(*args, **kwargs)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except ssl.SSLError as error:
            self.failure = error
            raise

    def send(self, *args: Any, **kwargs: Any) -> int:
        try:
            return super().send(*args, **kwargs)
        except (ssl.SSLWantReadError, ssl.SSLWantWriteError):
            raise
        except OSError:
            with contextlib.suppress(OSError):  # what the broker said before it hung up
                self.recv(1)
            raise


def _unusable(name: str, path: str, error: Exception) -> FixInput:
    said = getattr(error, "strerror", None) or getattr(error, "reason", None) or error
    return FixInput(f"{name}: {path} cannot be used: {said}. Correct the file or the setting.")
