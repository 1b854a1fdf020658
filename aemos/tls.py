"""TLS for every door: what the server shows, what it asks of clients, and reading both again."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

import attrs
from cryptography import x509
from cryptography.x509.oid import NameOID
from OpenSSL import SSL
from OpenSSL.crypto import X509StoreFlags
from twisted.internet.interfaces import IOpenSSLServerConnectionCreator
from twisted.protocols.tls import TLSMemoryBIOProtocol
from zope.interface import implementer

from aemos.errors import StartError

T = TypeVar("T")

# TLS 1.2: forward secrecy and authenticated encryption only. TLS 1.3 has nothing else anyway.
_CIPHERS = b"ECDHE+AESGCM:ECDHE+CHACHA20"


@attrs.frozen
class TlsFiles:
    """Paths of PEM files: `cert` with its chain behind it, `key`; "" = there is none.

    With `ca` clients may show a certificate of it, or must if it is `required`; those that `crl`
    lists are refused.
    """

    cert: str
    key: str
    ca: str = ""
    crl: str = ""
    required: bool = False


@implementer(IOpenSSLServerConnectionCreator)
class TlsContext:
    """Makes the server's side of TLS connections from files that may be read again at any time."""

    def __init__(self, files: TlsFiles) -> None:
        """@raise StartError: a file cannot be used; the text names it."""
        self.load(files)

    def load(self, files: TlsFiles) -> None:
        """Read the files again, for the connections to come; those that are open stay as they are.

        @raise StartError: a file cannot be used. Then what was read before stays in force.
        """
        context, revoked = _context(files), _revoked(files)
        self._context, self._revoked = context, revoked

    def revokes(self, certificate: x509.Certificate) -> bool:
        """@return: whether a certificate is on the lists that were read last."""
        return (certificate.issuer.public_bytes(), certificate.serial_number) in self._revoked

    def serverConnectionForTLS(self, protocol: TLSMemoryBIOProtocol) -> SSL.Connection:
        """Part of `IOpenSSLServerConnectionCreator`."""
        return SSL.Connection(self._context, None)


def certificate_of(transport: object) -> x509.Certificate | None:
    """@return: what the peer has shown and proved, if anything. To be asked after the handshake."""
    handle = getattr(transport, "getHandle", lambda: None)()
    if not isinstance(handle, SSL.Connection):
        return None
    return handle.get_peer_certificate(as_cryptography=True)


def common_name(certificate: x509.Certificate | None) -> str:
    """@return: the one name in a certificate; "" without one."""
    if certificate is None:
        return ""
    names = certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)
    return str(names[0].value) if len(names) == 1 else ""


def _context(files: TlsFiles) -> SSL.Context:
    context = SSL.Context(SSL.TLS_SERVER_METHOD)
    context.set_min_proto_version(SSL.TLS1_2_VERSION)
    context.set_cipher_list(_CIPHERS)
    context.set_options(
        SSL.OP_NO_COMPRESSION | SSL.OP_NO_RENEGOTIATION | SSL.OP_CIPHER_SERVER_PREFERENCE
    )
    # Idle connections hold no buffers.
    context.set_mode(SSL.MODE_RELEASE_BUFFERS)
    _use(files.cert, context.use_certificate_chain_file)
    _use(files.key, context.use_privatekey_file)
    try:
        context.check_privatekey()
    except SSL.Error as error:
        raise StartError(f"{files.key} is not the key of {files.cert}") from error
    if files.ca:
        _ask_for_certificates(context, files)
    return context


def _ask_for_certificates(context: SSL.Context, files: TlsFiles) -> None:
    _use(files.ca, lambda path: context.load_verify_locations(path.encode()))
    for authority in _use(files.ca, _certificates):
        context.add_client_ca(authority)
    # A resumed session would not be looked at again: whoever is revoked must not have one.
    context.set_session_cache_mode(SSL.SESS_CACHE_OFF)
    context.set_options(SSL.OP_NO_TICKET)
    must = SSL.VERIFY_FAIL_IF_NO_PEER_CERT if files.required else 0
    context.set_verify(SSL.VERIFY_PEER | must)
    if files.crl:
        store = context.get_cert_store()
        assert store is not None  # noqa: S101 - only for the type checker
        for crl in _use(files.crl, _revocations):
            store.add_crl(crl)
        store.set_flags(X509StoreFlags.CRL_CHECK)


def _certificates(path: str) -> list[x509.Certificate]:
    with open(path, "rb") as file:
        return x509.load_pem_x509_certificates(file.read())


def _revocations(path: str) -> list[x509.CertificateRevocationList]:
    """@return: the lists in a file, one PEM block each."""
    end = b"-----END X509 CRL-----"
    with open(path, "rb") as file:
        blocks = file.read().split(end)[:-1]
    if not blocks:
        raise ValueError("no revocation list in it")
    return [x509.load_pem_x509_crl(block.lstrip() + end + b"\n") for block in blocks]


def _revoked(files: TlsFiles) -> frozenset[tuple[bytes, int]]:
    """@return: issuer and serial number of each certificate on the lists."""
    if not (files.ca and files.crl):
        return frozenset()
    lists = _use(files.crl, _revocations)
    return frozenset(
        (crl.issuer.public_bytes(), entry.serial_number) for crl in lists for entry in crl
    )


def _use(path: str, read: Callable[[str], T]) -> T:
    try:
        return read(path)
    except SSL.Error as error:
        raise StartError(f"{path} cannot be used for TLS: {_reason(path, error)}") from error
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise StartError(f"{path} cannot be used for TLS: {reason}") from error


def _reason(path: str, error: SSL.Error) -> str:
    """OpenSSL gives a list of (library, function, reason); a missing file is among them."""
    try:
        open(path, "rb").close()
    except OSError as missing:
        return missing.strerror or "it cannot be read"
    reasons = [entry[-1] for entry in error.args[0]] if error.args else []
    return ", ".join(filter(None, reasons)) or "it is not what it should be"
