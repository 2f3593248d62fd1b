# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's certificate authority: one per server, a certificate per loopback address, made when first needed."""

from __future__ import annotations

import datetime
import ipaddress
import ssl
from dataclasses import dataclass, field
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_LIFETIME = datetime.timedelta(days=30)


@dataclass(frozen=True)
class HostIdentity:
    """TLS identity of one address. endpoint_hash: SHA-256 of the certificate, for channel binding (RFC 5929, 4.1)."""

    context: ssl.SSLContext
    endpoint_hash: bytes


@dataclass
class CertificateAuthority:
    """Issues certificates that carry a loopback address as subject alternative name.

    folder: where keys and certificates are written, because ssl reads them from files only; the caller removes it.

    All hosts of one authority share one key: hundreds of hosts cost one key generation, and nothing here is a secret.
    """

    folder: Path
    _key: ec.EllipticCurvePrivateKey = field(
        default_factory=lambda: ec.generate_private_key(ec.SECP256R1()), init=False
    )
    _root: x509.Certificate = field(init=False)
    _identities: dict[str, HostIdentity] = field(default_factory=dict, init=False)

    def __post_init__(self) -> None:
        """Make the authority's own certificate."""
        self._key = ec.generate_private_key(ec.SECP256R1())
        name = _common_name("Lab authority, worthless elsewhere")
        usage = x509.KeyUsage(
            digital_signature=True, key_cert_sign=True, crl_sign=True, content_commitment=False, key_encipherment=False,
            data_encipherment=False, key_agreement=False, encipher_only=False, decipher_only=False,
        )  # fmt: skip
        builder = self._builder(subject=name, issuer=name)
        builder = builder.add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        builder = builder.add_extension(usage, critical=True)
        self._root = builder.sign(self._key, hashes.SHA256())
        self.ca_file.write_bytes(self._root.public_bytes(serialization.Encoding.PEM))

    @property
    def ca_file(self) -> Path:
        """The authority's certificate as a PEM file, for ``ca_trust_path`` and the like."""
        return self.folder / "ca.pem"

    def identity(self, address: str) -> HostIdentity:
        """Return the TLS identity of a loopback address, made on first use."""
        if address not in self._identities:
            self._identities[address] = self._issue(address)
        return self._identities[address]

    def _builder(self, *, subject: x509.Name, issuer: x509.Name) -> x509.CertificateBuilder:
        now = datetime.datetime.now(datetime.timezone.utc)
        public = self._key.public_key()
        builder = x509.CertificateBuilder().issuer_name(issuer).subject_name(subject).public_key(public)
        builder = builder.serial_number(x509.random_serial_number())
        builder = builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + _LIFETIME)
        builder = builder.add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
        authority = x509.AuthorityKeyIdentifier.from_issuer_public_key(public)
        return builder.add_extension(authority, critical=False)

    def _issue(self, address: str) -> HostIdentity:
        builder = self._builder(subject=_common_name(address), issuer=self._root.subject)
        builder = builder.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        names = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))])
        certificate = builder.add_extension(names, critical=False).sign(self._key, hashes.SHA256())
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self._write_pem(address, certificate))
        return HostIdentity(context=context, endpoint_hash=certificate.fingerprint(hashes.SHA256()))

    def _write_pem(self, address: str, certificate: x509.Certificate) -> Path:
        key = self._key.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        path = self.folder / f"{address}.pem"
        path.write_bytes(key + certificate.public_bytes(serialization.Encoding.PEM))
        return path


def _common_name(text: str) -> x509.Name:
    return x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, text)])
