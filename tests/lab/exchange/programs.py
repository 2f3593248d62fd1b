# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Store, Dsamain, Msexcimc and the MTA: what runs inside the simulated services."""

from __future__ import annotations

import ssl
import typing as t
from collections.abc import Callable

from ..doors import Door, Doors, Manner, Service
from ..machines.errors import WindowsFailure
from ..machines.files import split
from ..machines.machine import Machine
from ..proxy import ADDRESS_NOT_AVAILABLE, GRANTED, Claim, Proxy
from .conversations import SPEAKERS
from .products import Installation, Protocol
from .wspcfg import Settings, read_section

LOCAL_PROXY_SERVICE: t.Final = "wspsrv"
FILE_NAME: t.Final = "Wspcfg.ini"


class _NoCertificate:
    """A TLS port without a certificate: it accepts, and dies when the client says hello (event 13002, Q251097)."""

    def __init__(self, log: Callable[[], None]) -> None:
        self.closed = False
        self._log = log

    def greeting(self) -> bytes:
        return b""

    def feed(self, _data: bytes) -> bytes:
        self.closed = True
        self._log()
        return b""


class LanPort:
    """A port on the machine itself, as the inside view sees it."""

    def __init__(self, service: Service, door: Door | None) -> None:
        self.service = service
        self.door = door

    async def converse(self, sent: bytes | None) -> bytes:
        if self.service.tls is not None:
            return b""
        conversation = self.service.converse()
        if self.service.manner.line is not None:
            return self.service.manner.line.encode("latin-1") + b"\r\n"
        return conversation.greeting() + (conversation.feed(sent) if sent else b"")


class ExchangeProgram:
    """One Exchange process.

    It reads the Wspcfg.ini beside its executable when its process starts, listens on the machine itself, and asks the
    proxy for the ports that its section names. Editing the file changes nothing until the next start.

    Attributes:
        settings: What is in force now, None when nothing is.
        manners: How each of its listeners treats clients, by protocol.
        failing: Listeners that fail to bind on the proxy, with how many times more (Q237544).
    """

    def __init__(
        self,
        machine: Machine,
        installation: Installation,
        section: str,
        service_name: str,
        *,
        proxy: Proxy | None,
        doors: Doors,
        lan_address: str | None,
        certificate: Callable[[str], ssl.SSLContext] | None,
    ) -> None:
        self.machine = machine
        self.installation = installation
        self.section = section
        self.service_name = service_name
        self.proxy = proxy
        self.settings: Settings | None = None
        self.failing: dict[str, int] = {}
        self.manners: dict[str, Manner] = {
            protocol.name: Manner() for protocol, _port in installation.listeners(section)
        }
        self._doors = doors
        self._lan_address = lan_address
        self._certificate = certificate
        self._ports: list[int] = []

    @property
    def owner(self) -> str:
        return f"{self.machine.name}:{self.service_name}"

    def begin(self) -> None:
        self.settings = self._read()

    def ready(self) -> bool:
        for protocol, port in self.installation.listeners(self.section):
            service = self._service(protocol)
            self._listen(port, service)
            code = self._bind(protocol, port, service)
            if code != GRANTED:
                self._report(protocol, code)
                if self.section == "MSEXCIMC":  # the only one that refuses to start (Q222553)
                    self._close_lan()
                    return False
        return True

    def end(self, *, graceful: bool) -> None:
        self._close_lan()
        self.settings = None
        if self.proxy is not None:
            self.proxy.let_go(self.owner, graceful=graceful)

    def _read(self) -> Settings | None:
        service = self.machine.services.open(self.service_name)
        directory = split(self.machine.expand(service.image or ""))[0]
        try:
            data = self.machine.files.read(f"{directory}\\{FILE_NAME}")
        except WindowsFailure:
            return None
        return read_section(data, self.section)

    def _service(self, protocol: Protocol) -> Service:
        manner = self.manners[protocol.name]
        if not protocol.tls:
            return Service(lambda: SPEAKERS[protocol.speaks](self.installation), None, manner)
        if not self.installation.certificate or self._certificate is None:
            return Service(lambda: _NoCertificate(lambda: self._no_certificate(protocol)), None, manner)
        context = self._certificate(self._tls_address())
        return Service(lambda: SPEAKERS[protocol.speaks](self.installation), context, manner)

    def _tls_address(self) -> str:
        return self.proxy.addresses[0] if self.proxy is not None else self._lan_address or "127.0.0.1"

    def _listen(self, port: int, service: Service) -> None:
        door = self._doors.open(self._lan_address, port, service) if self._lan_address else None
        self.machine.ports[port] = LanPort(service, door)
        self._ports.append(port)

    def _bind(self, protocol: Protocol, port: int, service: Service) -> int:
        if self.proxy is None:
            return GRANTED
        if self.failing.get(protocol.name):
            self.failing[protocol.name] -= 1
            return ADDRESS_NOT_AVAILABLE
        if self._proxy_is_here():
            return self._bind_here(protocol, port, service)
        settings = self.settings
        if settings is None or settings.disable or port not in settings.ports:
            return GRANTED
        claim = Claim(
            self.owner, port, settings.bind.get(port), protocol.tls, service, settings.persistent, settings.kill_old
        )
        return self.proxy.ask(claim)

    def _bind_here(self, protocol: Protocol, port: int, service: Service) -> int:
        """On the proxy itself the process binds every address without any client or file (Q178532)."""
        proxy = t.cast(Proxy, self.proxy)
        codes = [
            proxy.ask(Claim(self.owner, port, address, protocol.tls, service, True, True))
            for address in proxy.addresses
        ]
        return max(codes)

    def _proxy_is_here(self) -> bool:
        service = self.machine.services.find(LOCAL_PROXY_SERVICE)
        return service is not None and service.state == "running"

    def _report(self, protocol: Protocol, code: int) -> None:
        source, event_id = protocol.event
        self.machine.log(source, event_id, "error", f"{protocol.name}: WinSock error {code} (0x{code:x}).")
        if self.section == "STORE":
            self.machine.log(
                "MSExchangeIS", 1194, "error", f"Accept clients on external interface {protocol.name} failed."
            )
        if self.section == "MSEXCIMC":
            self.machine.log("MSExchangeIMC", 4020, "error", "The service was not started.")

    def _no_certificate(self, protocol: Protocol) -> None:
        source = f"MSExchange {protocol.speaks.upper()} Interface"
        self.machine.log(source, 13002, "error", "There is no valid certificate for this protocol.")

    def _close_lan(self) -> None:
        for port in self._ports:
            listener = self.machine.ports.pop(port, None)
            if isinstance(listener, LanPort) and listener.door is not None:
                listener.door.close()
        self._ports.clear()


class MtaProgram:
    """The MTA binds nothing for a proxy; it only has to keep away from it (Q254909).

    Attributes:
        direct: Whether its calls go straight to the LAN: ``Disable=1`` in ``[EMSMTA]`` was in force at its start.
    """

    def __init__(self, machine: Machine, service_name: str = "MSExchangeMTA") -> None:
        self.machine = machine
        self.service_name = service_name
        self.direct = False

    def begin(self) -> None:
        # A Wspcfg.ini beside the executable hides Mspclnt.ini: the reading that costs something is simulated.
        directory = split(self.machine.expand(self.machine.services.open(self.service_name).image or ""))[0]
        for path in (f"{directory}\\{FILE_NAME}", "C:\\mspclnt\\mspclnt.ini"):
            try:
                data = self.machine.files.read(path)
            except WindowsFailure:
                continue
            settings = read_section(data, "EMSMTA")
            self.direct = settings is not None and settings.disable
            return

    def ready(self) -> bool:
        return True

    def end(self, *, graceful: bool) -> None:
        self.direct = False
