"""Certificates for tests: an authority, an intermediate one, and what they sign."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from ipaddress import ip_address
from pathlib import Path

import attrs
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

_DAY = datetime.timedelta(days=1)


@attrs.frozen
class Pair:
    """A certificate and its key, in memory and as PEM files; `cert` holds the chain too."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey
    cert_path: str
    key_path: str


class Authority:
    """Signs certificates and writes them below a folder."""

    def __init__(self, folder: Path, name: str = "root", above: Authority | None = None) -> None:
        self._folder, self._above = folder, above
        self.pair = self._sign(name, above or self, authority=True)
        self.path = self.pair.cert_path

    def issue(self, name: str) -> Pair:
        """@return: a certificate for a server on 127.0.0.1, or for a client called `name`."""
        return self._sign(name, self, authority=False)

    def revoke(self, *pairs: Pair) -> str:
        """@return: the path of a list that revokes these."""
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateRevocationListBuilder()
            .issuer_name(self.pair.certificate.subject)
            .last_update(now - _DAY)
            .next_update(now + _DAY)
        )
        for pair in pairs:
            revoked = x509.RevokedCertificateBuilder()
            revoked = revoked.serial_number(pair.certificate.serial_number).revocation_date(now)
            builder = builder.add_revoked_certificate(revoked.build())
        crl = builder.sign(self.pair.key, hashes.SHA256())
        path = self._folder / "revoked.pem"
        path.write_bytes(crl.public_bytes(serialization.Encoding.PEM))
        return str(path)

    @property
    def chain(self) -> Sequence[x509.Certificate]:
        """What a server shows behind a certificate that this authority signed."""
        return [self.pair.certificate, *self._above.chain] if self._above else []

    def _sign(self, name: str, issuer: Authority, *, authority: bool) -> Pair:
        key = ec.generate_private_key(ec.SECP256R1())
        subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
        # The first authority signs itself.
        itself = authority and issuer is self
        now = datetime.datetime.now(datetime.UTC)
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(subject if itself else issuer.pair.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - _DAY)
            .not_valid_after(now + _DAY)
            .add_extension(x509.BasicConstraints(ca=authority, path_length=None), critical=True)
        )
        if not authority:
            names = [x509.DNSName("localhost"), x509.IPAddress(ip_address("127.0.0.1"))]
            builder = builder.add_extension(x509.SubjectAlternativeName(names), critical=False)
        certificate = builder.sign(key if itself else issuer.pair.key, hashes.SHA256())
        return self._write(name, certificate, key, [] if authority else self.chain)

    def _write(
        self,
        name: str,
        certificate: x509.Certificate,
        key: ec.EllipticCurvePrivateKey,
        chain: Sequence[x509.Certificate],
    ) -> Pair:
        pem = serialization.Encoding.PEM
        cert_path, key_path = self._folder / f"{name}.pem", self._folder / f"{name}.key"
        cert_path.write_bytes(b"".join(c.public_bytes(pem) for c in [certificate, *chain]))
        key_path.write_bytes(
            key.private_bytes(pem, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        )
        return Pair(certificate, key, str(cert_path), str(key_path))
