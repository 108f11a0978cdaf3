"""A certificate authority of a test's own, and certificates by it: TLS for real, on loopback."""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime, timedelta
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

LOOPBACK = ipaddress.ip_address("127.0.0.1")


class Authority:
    """`certificate` is what others trust; `issue` writes the files of a Secret of type tls."""

    def __init__(self, folder: Path) -> None:
        self._key = ec.generate_private_key(ec.SECP256R1())
        self._name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Lanzhou cluster")])
        constraints = x509.BasicConstraints(ca=True, path_length=0)
        built = self._builder(self._name, self._key.public_key()).add_extension(constraints, True)
        self.certificate = folder / "ca.crt"
        self.certificate.write_bytes(_pem(built.sign(self._key, hashes.SHA256())))

    def issue(self, folder: Path, *names: str) -> Path:
        """A certificate for these DNS names (and 127.0.0.1), for both ends of a connection."""
        key = ec.generate_private_key(ec.SECP256R1())
        common = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, names[0])])
        alternatives = [*(x509.DNSName(name) for name in names), x509.IPAddress(LOOPBACK)]
        built = self._builder(common, key.public_key()).add_extension(
            x509.SubjectAlternativeName(alternatives), False
        )
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tls.crt").write_bytes(_pem(built.sign(self._key, hashes.SHA256())))
        (folder / "tls.key").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM,
                serialization.PrivateFormat.PKCS8,
                serialization.NoEncryption(),
            )
        )
        return folder

    def _builder(
        self, subject: x509.Name, public: ec.EllipticCurvePublicKey
    ) -> x509.CertificateBuilder:
        now = datetime.now(UTC)
        return (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(self._name)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - timedelta(hours=1))
            .not_valid_after(now + timedelta(hours=24))
        )


def _pem(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)
