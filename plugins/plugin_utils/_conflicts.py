# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Who claims which port of which proxy address, and what is to be probed there.

A WinSock proxy grants one address and port to one server at a time. A listener that is pinned (ProxyBindIp) claims its
port on one address; one that is not pinned is bound wherever the proxy likes (Q181420), so it claims its port on every
address of its proxy. Private to this collection: names and shapes may change in any release.
"""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from ..module_utils._listeners import LISTENERS, Listener


class WantedError(ValueError):
    """The wanted listeners cannot be read; the text names option, value and remedy."""


@dataclass(frozen=True)
class Wanted:
    """One listener that a host wants published.

    Attributes:
        listener: The row of the table.
        port: TCP port.
        address: External address of the proxy, None when none is given for it.
        pinned: Whether it is bound to that address and to no other.
    """

    listener: Listener
    port: int
    address: str | None
    pinned: bool


@dataclass(frozen=True)
class Claims:
    """What one host claims.

    Attributes:
        host: Inventory name.
        proxy: Name of its proxy, None when only addresses tell which one it is.
        wanted: Its listeners.
    """

    host: str
    proxy: str | None
    wanted: tuple[Wanted, ...]

    @property
    def addresses(self) -> frozenset[str]:
        """Every address that the host names."""
        return frozenset(each.address for each in self.wanted if each.address is not None)


@dataclass(frozen=True)
class Conflict:
    """One port of one address that two hosts or more claim.

    Attributes:
        address: Address, or the proxy's name when none of its addresses is known.
        port: TCP port.
        hosts: Inventory names, in the order of the inventory.
        listeners: Names of the listeners, without repetition, in the order of ``hosts``.
    """

    address: str
    port: int
    hosts: tuple[str, ...]
    listeners: tuple[str, ...]


def wanted_of(options: Mapping[str, t.Any], *, prefix: str = "") -> tuple[Wanted, ...]:
    """Read the listeners that one host wants, from options or from its inventory variables.

    Args:
        options: Mapping with ``listeners``, ``ports``, ``proxy_address``, ``proxy_addresses`` and ``pin``.
        prefix: What the keys of ``options`` begin with.

    Raises:
        WantedError: An unknown listener, an impossible port, or an address that is no IPv4 address.
    """
    ports = _mapping(options, prefix + "ports")
    addresses = _mapping(options, prefix + "proxy_addresses")
    common = options.get(prefix + "proxy_address") or None
    pin = _truth(options.get(prefix + "pin"))
    wanted = []
    for name in _names(options, prefix + "listeners"):
        listener = LISTENERS[name]
        option = "proxy_addresses." + name if name in addresses else "proxy_address"
        address = _address(addresses.get(name) or common, prefix + option)
        port = _port(ports.get(name, listener.port), f"{prefix}ports.{name}")
        wanted.append(Wanted(listener, port, address, address is not None and (listener.tls or pin)))
    return tuple(wanted)


def claims_of(host: str, variables: Mapping[str, t.Any], *, prefix: str) -> Claims | None:
    """Return what a host of the inventory claims; None when it wants nothing published, or what it wants is unreadable.

    An unreadable host is refused by its own plan; here it must not stop the others.
    """
    if variables.get(prefix + "state", "present") == "absent":
        return None
    try:
        wanted = wanted_of(variables, prefix=prefix)
    except WantedError:
        return None
    proxy = variables.get(prefix + "proxy") or None
    return Claims(host, None if proxy is None else str(proxy), wanted) if wanted else None


def find_conflicts(claims: Sequence[Claims]) -> list[Conflict]:
    """Return every (address, port) that more than one host claims, by address and port."""
    proxies = _proxies(claims)
    owners: dict[tuple[str, int], dict[str, list[str]]] = {}
    for claim in claims:
        for each in claim.wanted:
            for address in _claimed_addresses(each, _proxy_of(claim, proxies)):
                by_host = owners.setdefault((address, each.port), {})
                by_host.setdefault(claim.host, []).append(each.listener.name)
    found = [_conflict(place, by_host) for place, by_host in owners.items() if len(by_host) > 1]
    return sorted(found, key=lambda conflict: (_address_order(conflict.address), conflict.port))


def is_claimed_by_others(
    address: str, port: int, *, host: str, proxy: str | None = None, claims: Sequence[Claims]
) -> bool:
    """Whether a host other than ``host`` claims a port of an address.

    Args:
        address: External address of the proxy of ``host``.
        port: TCP port.
        host: Inventory name of the host whose own claims do not count.
        proxy: Name of its proxy, when it has one.
        claims: What the hosts of the inventory claim.
    """
    others = [claim for claim in claims if claim.host != host]
    proxies = _proxies(others, known=_proxy(proxy, frozenset({address})))
    return any(
        each.port == port and address in _claimed_addresses(each, _proxy_of(claim, proxies))
        for claim in others
        for each in claim.wanted
    )


# --- proxies ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Proxy:
    """A proxy as the inventory shows it: what its hosts call it, and all addresses that they name."""

    names: frozenset[str]
    addresses: frozenset[str]

    def is_same(self, other: _Proxy) -> bool:
        """The same name, or an address in common, is the same proxy."""
        return bool(self.names & other.names or self.addresses & other.addresses)


def _proxy(name: str | None, addresses: frozenset[str]) -> _Proxy:
    return _Proxy(frozenset() if name is None else frozenset({name}), addresses)


def _proxies(claims: Sequence[Claims], *, known: _Proxy | None = None) -> list[_Proxy]:
    """Return the proxies that the hosts are behind."""
    proxies: list[_Proxy] = []
    seen = [_proxy(claim.proxy, claim.addresses) for claim in claims]
    for merged in [*seen, *([] if known is None else [known])]:
        apart = []
        for proxy in proxies:
            if proxy.is_same(merged):
                merged = _Proxy(proxy.names | merged.names, proxy.addresses | merged.addresses)
            else:
                apart.append(proxy)
        proxies = [*apart, merged]
    return proxies


def _proxy_of(claim: Claims, proxies: Sequence[_Proxy]) -> _Proxy:
    own = _proxy(claim.proxy, claim.addresses)
    return next((proxy for proxy in proxies if proxy.is_same(own)), own)


def _claimed_addresses(wanted: Wanted, proxy: _Proxy) -> frozenset[str]:
    if wanted.pinned and wanted.address is not None:
        return frozenset({wanted.address})
    return proxy.addresses or proxy.names


def _conflict(place: tuple[str, int], by_host: Mapping[str, Sequence[str]]) -> Conflict:
    listeners = dict.fromkeys(name for names in by_host.values() for name in names)
    return Conflict(*place, tuple(by_host), tuple(listeners))


def _address_order(address: str) -> tuple[int, str]:
    try:
        return int(ipaddress.IPv4Address(address)), address
    except ValueError:
        return 1 << 32, address


# --- values -----------------------------------------------------------------------------------------------------


def _names(options: Mapping[str, t.Any], option: str) -> list[str]:
    names = options.get(option) or []
    if isinstance(names, str) or not isinstance(names, Sequence):
        raise WantedError(f"{option}: {names!r} is no list; write [pop3, imap4s]")
    for name in names:
        if name not in LISTENERS:
            raise WantedError(f"{option}: {name!r} is no listener; there are {', '.join(LISTENERS)}")
    return list(dict.fromkeys(str(name) for name in names))


def _mapping(options: Mapping[str, t.Any], option: str) -> Mapping[str, t.Any]:
    value = options.get(option) or {}
    if not isinstance(value, Mapping):
        raise WantedError(f"{option}: {value!r} is no mapping of a listener to a value")
    return value


def _port(value: t.Any, option: str) -> int:
    try:
        port = int(value)
    except (TypeError, ValueError):
        port = 0
    if isinstance(value, bool) or not 1 <= port <= 65535:
        raise WantedError(f"{option}: {value!r} is no port from 1 to 65535")
    return port


def _address(value: t.Any, option: str) -> str | None:
    if value is None:
        return None
    try:
        return str(ipaddress.IPv4Address(str(value)))
    except ValueError:
        raise WantedError(f"{option}: {value!r} is no IPv4 address, and Proxy Server 2.0 knows no other") from None


def _truth(value: t.Any) -> bool:
    return str(value).strip().lower() in ("true", "yes", "on", "1", "y", "t")
