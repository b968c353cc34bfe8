"""What a TLS failure means to an operator, and the socket that does not lose one.

- With TLS 1.3 a broker refuses a client's certificate only after the handshake, when the first answer is
  read: the socket keeps that error, since paho drops it.
- No failure is answered by trying without TLS.
"""

from __future__ import annotations

import contextlib
import ssl
from typing import Any

_EXPIRED, _OTHER_HOST = (9, 10), (62, 64)  # X509_V_ERR_…
_NOT_TRUSTED = (
    "Set mqtt.ca_file to the authority that signed it, or ask its operator for a claim that holds it; if "
    "neither is missing, do not trust this broker"
)
_ALERTS = (
    ("CERTIFICATE_REQUIRED", "it demands a client certificate. Set mqtt.cert_file and mqtt.key_file"),
    (
        "HANDSHAKE_FAILURE",
        "it broke the TLS handshake off, perhaps for want of a client certificate. Set mqtt.cert_file",
    ),
    ("ALERT_UNKNOWN_CA", "it does not know the authority that signed mqtt.cert_file. Ask its operator"),
    ("ALERT_CERTIFICATE_EXPIRED", "it says that mqtt.cert_file has expired. Ask its operator for a new one"),
    ("ALERT_CERTIFICATE_REVOKED", "it says that mqtt.cert_file is revoked. Ask its operator"),
    ("CERTIFICATE", "it refuses the certificate in mqtt.cert_file. Ask its operator"),
)


def meaning(error: ssl.SSLError, table: str = "mqtt") -> str:
    """What went wrong and what to do, without the full stop. `table` is where the broker's settings stand."""
    if isinstance(error, ssl.SSLCertVerificationError):
        said = f"its certificate is not trusted: {error.verify_message.rstrip('.')}"
        if error.verify_code in _EXPIRED:
            return f"{said}. If this device's clock is right, the broker's operator must renew it"
        if error.verify_code in _OTHER_HOST:
            return f"{said}. Is the broker's address right, in {table}.broker_url or in the claim?"
        return f"{said}. {_NOT_TRUSTED.replace('mqtt.', f'{table}.')}"
    reason = str(getattr(error, "reason", None) or error)
    for part, what in _ALERTS:
        if "ALERT" in reason and part in reason:
            return what.replace("mqtt.", f"{table}.")
    return f"TLS failed: {reason}. Is this the TLS port?"


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
