# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""One TCP connection: HTTP, login, sealing, and the interceptor's word at every point."""

from __future__ import annotations

import asyncio
import socket
import struct
import typing as t
from collections.abc import Coroutine, Mapping
from dataclasses import dataclass, field

from tests.lab.wire import wsman
from tests.lab.wire.api import Action, Drop, Fault, Interceptor, NotWindows, QuotaReached, Refuse, WireSettings
from tests.lab.wire.auth import Accounts, Continue, Identity, Login, LoginError
from tests.lab.wire.certificates import HostIdentity
from tests.lab.wire.execution import Failure
from tests.lab.wire.http import BadRequestError, HttpRequest, HttpResponse, read_request
from tests.lab.wire.sealing import SealError, is_sealed, seal, unseal
from tests.lab.wire.service import HostService

_SOAP_TYPE: t.Final = "application/soap+xml;charset=UTF-8"
_RESET: t.Final = struct.pack("ii", 1, 0)  # SO_LINGER on, 0 seconds: close() sends RST instead of FIN


class DroppedError(Exception):
    """The interceptor wants this connection reset."""


@dataclass
class Connection:
    """A client's connection to one host. tls: the host's certificate, None for HTTP."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    service: HostService
    accounts: Accounts
    settings: WireSettings
    interceptor: Interceptor
    tls: HostIdentity | None
    failures: list[Failure]
    _login: Login = field(init=False)
    _following: asyncio.Task[HttpRequest | None] | None = field(default=None, init=False)
    _impostor: NotWindows | None = field(default=None, init=False)

    def __post_init__(self) -> None:
        """A connection starts with nobody logged in."""
        endpoint_hash = self.tls.endpoint_hash if self.tls else b""
        self._login = Login(self.accounts, tls=self.tls is not None, endpoint_hash=endpoint_hash)

    async def run(self) -> None:
        """Serve the connection until one side ends it."""
        self.service.counters.connections += 1
        self.service.counters.connections_open += 1
        try:
            await self._greet()
            await self._serve()
        except DroppedError:
            self._reset()
        except BadRequestError as error:
            await self._write(HttpResponse(error.status))
        except (OSError, asyncio.IncompleteReadError):
            return  # the client has gone; its shells stay, as on Windows
        except asyncio.CancelledError:
            self.writer.transport.abort()
            raise
        except Exception as error:  # noqa: BLE001 - a mistake of the lab itself; the client sees a broken connection
            self.failures.append(Failure(self.service.host, "connection", error))
        finally:
            self.service.counters.connections_open -= 1
            self.writer.close()

    async def _greet(self) -> None:
        action = await self._ask("connect", {})
        if isinstance(action, NotWindows):
            self._impostor = action
            if action.banner:
                self.writer.write(action.banner)
                await self.writer.drain()
                raise ConnectionError("said its banner")
        if self.tls is not None:
            await self.writer.start_tls(self.tls.context)

    async def _serve(self) -> None:
        """Answer request after request; the next one is read ahead, because that is how a lost client is noticed."""
        request = await self._read()
        while request is not None:
            self._following = asyncio.create_task(self._read())
            try:
                await self._write(await self._respond(request))
                request = await self._following
            finally:
                _discard(self._following)

    async def _read(self) -> HttpRequest | None:
        return await read_request(self.reader, body_limit=self.settings.envelope_bytes)

    async def _write(self, response: HttpResponse) -> None:
        data = response.encode()
        self.service.counters.bytes_out += len(data)
        self.writer.write(data)
        await self.writer.drain()

    async def _respond(self, request: HttpRequest) -> HttpResponse:
        counters = self.service.counters
        counters.requests += 1
        counters.bytes_in += request.size
        if self._impostor is not None:
            return HttpResponse(self._impostor.status, self._impostor.body, content_type="text/html")
        if request.method != "POST" or request.path.partition("?")[0].rstrip("/").lower() != "/wsman":
            return HttpResponse(405 if request.method != "POST" else 404)
        challenge = ""
        if "authorization" in request.headers:
            try:
                challenge = await self._log_in(request.headers["authorization"])
            except LoginError:
                counters.refused_logins += 1
                self._login.identity = None
        if self._login.identity is None:
            offers = (challenge,) if challenge else self._login.offers
            return HttpResponse(401, headers=[("WWW-Authenticate", offer) for offer in offers])
        response = await self._operate(request, self._login.identity)
        if not challenge:
            return response
        return HttpResponse(
            response.status, response.body, [("WWW-Authenticate", challenge)], content_type=response.content_type
        )

    async def _log_in(self, authorization: str) -> str:
        """Take one step of a login and return the challenge that goes with it.

        :raises LoginError: refused, by the accounts or by the interceptor.
        """
        known = self._login.identity
        step = self._login.step(authorization)
        identity = self._login.identity
        if isinstance(step, Continue) or identity is None or identity == known:
            return step.challenge
        detail = {"user": identity.user, "authentication": identity.authentication}
        if isinstance(await self._ask("authenticate", detail), Refuse):
            raise LoginError(f"the interceptor refuses {identity.user!r}")
        self.service.counters.logins += 1
        return step.challenge

    async def _operate(self, request: HttpRequest, identity: Identity) -> HttpResponse:
        if not request.body:
            return HttpResponse(200)
        if not is_sealed(request.headers.get("content-type", "")):
            # AllowUnencrypted is false: Windows answers plain SOAP over HTTP with an empty 500.
            return self._plain(*await self._perform(request.body, identity)) if self.tls else HttpResponse(500)
        sealer = self._login.sealer
        if sealer is None:
            return HttpResponse(400)
        try:
            envelope = unseal(request.body, sealer)
        except SealError:
            # pywinrm replays what it sealed for a connection that broke; Ansible expects 400 for it.
            return HttpResponse(400)
        status, answer = await self._perform(envelope, identity)
        content_type, body = seal(answer, sealer, credssp=identity.authentication == "credssp")
        return HttpResponse(status, body, content_type=content_type)

    def _plain(self, status: int, answer: bytes) -> HttpResponse:
        return HttpResponse(status, answer, content_type=_SOAP_TYPE)

    async def _perform(self, envelope: bytes, identity: Identity) -> tuple[int, bytes]:
        """Do what an envelope asks for, with the interceptor before and after; return HTTP status and envelope."""
        message_id = ""
        try:
            message = wsman.parse(envelope)
            message_id = message.message_id
            if not message.operation:
                raise wsman.FaultError(wsman.not_served(message.action))
            return 200, wsman.answer(message, await self._gated(message, identity))
        except wsman.FaultError as error:
            fault = error.fault
        except (DroppedError, OSError):
            raise
        except Exception as error:  # noqa: BLE001 - any mistake of the lab becomes an answer, and is kept
            self.failures.append(Failure(self.service.host, message_id, error))
            fault = wsman.internal_error(f"lab: {type(error).__name__}: {error}")
        self.service.counters.faults += 1
        return 500, wsman.fault_answer(message_id, fault)

    async def _gated(self, message: wsman.Message, identity: Identity) -> str:
        detail = self.service.describe(message, identity)
        await self._ask(f"{message.operation}.before", detail)
        work = self.service.perform(message, identity)
        body = await (self._while_connected(work) if message.operation == "receive" else work)
        await self._ask(f"{message.operation}.after", detail | self.service.describe(message, identity))
        return body

    async def _while_connected(self, work: Coroutine[object, object, str]) -> str:
        """Wait for output, but give up when the client goes: what it has not received stays for its next connection.

        :raises ConnectionError: the client has gone.
        """
        task = asyncio.create_task(work)
        try:
            await asyncio.wait({task, *filter(None, [self._following])}, return_when=asyncio.FIRST_COMPLETED)
            if not task.done() and _gone(self._following):
                raise ConnectionError("the client went away while it waited")
            return await task
        finally:
            _discard(task)

    async def _ask(self, point: str, detail: Mapping[str, str]) -> Action:
        """Ask the interceptor, and carry out what can be carried out here.

        :raises DroppedError, wsman.FaultError: the interceptor wants that.
        """
        host, peer = self.service.host, "{}:{}".format(*self.writer.get_extra_info("peername")[:2])
        scheme = "https" if self.tls else "http"
        action = await self.interceptor.at(point, host, {"scheme": scheme, "peer": peer, **detail})
        match action:
            case Drop():
                raise DroppedError
            case QuotaReached(of="shells"):
                raise wsman.FaultError(wsman.too_many_shells(self.settings.shells_per_user))
            case QuotaReached():
                raise wsman.FaultError(wsman.too_many_operations(self.settings.processes_per_shell))
            case Fault():
                raise wsman.FaultError(action)
        return action

    def _reset(self) -> None:
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
        self.writer.transport.abort()


def _gone(following: asyncio.Task[HttpRequest | None] | None) -> bool:
    """Tell whether the read ahead has found the end of the connection instead of another request."""
    return following is not None and following.done() and (following.exception() is not None or not following.result())


def _discard(task: asyncio.Task[t.Any]) -> None:
    """End a task nobody waits for any more; asyncio would report an exception that was never looked at."""
    if not task.cancel() and not task.cancelled():
        task.exception()
