# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who may come in: Basic, NTLM (also inside SPNEGO) and CredSSP logins of one TCP connection."""

from __future__ import annotations

import base64
import binascii
import hmac
import os
import threading
import typing as t
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import spnego
from spnego.channel_bindings import GssChannelBindings
from spnego.exceptions import SpnegoError

from tests.lab.wire.api import Authentication

_PROTOCOLS: t.Final[Mapping[str, str]] = {"negotiate": "negotiate", "ntlm": "ntlm", "credssp": "credssp"}
_PLATFORM = spnego.NegotiateOptions.use_negotiate | spnego.NegotiateOptions.use_ntlm
# spnego reads the accounts from a file that an environment variable names, afresh in every step: the variable is ours
# only within a step, so that several servers, and clients that have one of their own, live in one process.
_USER_FILE_LOCK = threading.Lock()


class LoginError(Exception):
    """The login is refused; the text is for the lab's log, the client sees a bare 401."""


@dataclass(frozen=True)
class Continue:
    """The login needs another round trip. challenge: value for WWW-Authenticate."""

    challenge: str


@dataclass(frozen=True)
class Granted:
    """The login is complete. challenge: value for WWW-Authenticate of the answer, when the protocol has a last word."""

    challenge: str


@dataclass(frozen=True)
class Identity:
    """Who a request comes from. user: as spelled in the server's ``users``."""

    user: str
    authentication: Authentication


@dataclass(frozen=True)
class Accounts:
    """The accounts of the lab.

    users: account to password; an account is ``name``, ``DOMAIN\\name`` or ``name@domain``, compared without case.
    folder: where the file for NTLM is written.

    :raises ValueError: an account or password that the file for NTLM cannot hold.
    """

    users: Mapping[str, str]
    folder: Path

    def __post_init__(self) -> None:
        """Write the file that spnego's NTLM reads: ``DOMAIN:USER:PASSWORD`` a line."""
        lines = []
        for account, password in self.users.items():
            if ":" in account + password or not (account + password).isprintable():
                raise ValueError(f"account {account!r}: neither name nor password may hold ':' or a control character")
            domain, name = account.rpartition("\\")[::2]
            lines.append(f"{domain}:{name}:{password}\n")
        self._file.touch(mode=0o600)
        self._file.write_text("".join(lines), encoding="utf-8")

    @property
    def _file(self) -> Path:
        return self.folder / "ntlm-users"

    @contextmanager
    def in_force(self) -> Iterator[None]:
        """Make these the accounts of NTLM for a synchronous step."""
        with _USER_FILE_LOCK:
            before = os.environ.get("NTLM_USER_FILE")
            os.environ["NTLM_USER_FILE"] = str(self._file)
            try:
                yield
            finally:
                if before is None:
                    del os.environ["NTLM_USER_FILE"]
                else:
                    os.environ["NTLM_USER_FILE"] = before

    def spelled(self, account: str) -> str:
        """Return the account as ``users`` spells it.

        :raises LoginError: there is no such account.
        """
        for known in self.users:
            if known.lower() == account.lower():
                return known
        raise LoginError(f"there is no account {account!r}")

    def check_password(self, account: str, password: str) -> str:
        """Return the account as spelled in ``users``.

        :raises LoginError: the account does not exist or its password is another one.
        """
        known = self.spelled(account)
        if not hmac.compare_digest(self.users[known].encode(), password.encode()):
            raise LoginError(f"wrong password for {known!r}")
        return known


@dataclass
class Login:
    """The login of one TCP connection.

    tls: the connection is HTTPS. endpoint_hash: of the server's certificate, for channel binding.
    identity: set once the client has proved who it is; Basic proves it again with every request.
    """

    accounts: Accounts
    tls: bool
    endpoint_hash: bytes = b""
    identity: Identity | None = None
    _context: spnego.ContextProxy | None = field(default=None, init=False)
    _scheme: str = field(default="", init=False)

    @property
    def offers(self) -> tuple[str, ...]:
        """Values for WWW-Authenticate; Basic only over TLS, as WinRM has it unless AllowUnencrypted is set."""
        return ("Negotiate", "CredSSP", 'Basic realm="WSMAN"') if self.tls else ("Negotiate", "CredSSP")

    @property
    def sealer(self) -> spnego.ContextProxy | None:
        """The security context that seals messages, when the login made one."""
        return self._context if self.identity and self.identity.authentication != "basic" else None

    def step(self, authorization: str) -> Continue | Granted:
        """Process one Authorization header; sets ``identity`` when the login is complete.

        :returns: what to send with the next 401, or with the answer.
        :raises LoginError: refused; the connection has to start over.
        """
        scheme, value = authorization.partition(" ")[::2]
        try:
            token = base64.b64decode(value, validate=True)
        except binascii.Error as error:
            raise LoginError(f"the Authorization header is not base64: {error}") from error
        self.identity = None
        if scheme.lower() == "basic":
            self.identity = self._basic(token)
            return Granted("")
        if scheme.lower() not in _PROTOCOLS:
            raise LoginError(f"authentication {scheme!r} is not offered")
        return self._security_step(scheme, token)

    def _basic(self, token: bytes) -> Identity:
        if not self.tls:
            raise LoginError("Basic over HTTP is refused: AllowUnencrypted is false")
        account, password = token.decode("utf-8", "replace").partition(":")[::2]
        return Identity(self.accounts.check_password(account, password), "basic")

    def _security_step(self, scheme: str, token: bytes) -> Continue | Granted:
        try:
            with self.accounts.in_force():
                context = self._current_context(scheme)
                answer = context.step(token)
        except SpnegoError as error:
            self._context = None
            raise LoginError(str(error)) from error
        challenge = f"{scheme} {base64.b64encode(answer).decode()}" if answer else ""
        if not context.complete:
            return Continue(challenge)
        account = self.accounts.spelled(context.client_principal or "")
        self.identity = Identity(account, "credssp" if scheme.lower() == "credssp" else "ntlm")
        return Granted(challenge)

    def _current_context(self, scheme: str) -> spnego.ContextProxy:
        """Return the context of a login under way, or a new one when the last login was finished or of another kind."""
        if self._context is None or self._context.complete or self._scheme != scheme:
            self._scheme = scheme
            self._context = self._new_context(scheme)
        return self._context

    def _new_context(self, scheme: str) -> spnego.ContextProxy:
        bindings = None
        if self.endpoint_hash and scheme.lower() != "credssp":
            bindings = GssChannelBindings(application_data=b"tls-server-end-point:" + self.endpoint_hash)
        protocol = _PROTOCOLS[scheme.lower()]
        return spnego.server(protocol=protocol, service="http", channel_bindings=bindings, options=_PLATFORM)
