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

from ..exchange.wanted import LISTENER_OPTIONS, Published, read_wanted
from ..problems.problem import Refused


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
    wanted: tuple[Published, ...]

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


def wanted_of(options: Mapping[str, t.Any]) -> tuple[Published, ...]:
    """Read the listeners that one host wants, by the same rules as the task that publishes them.

    Args:
        options: Options of ``wspcfg`` in their types; all but those of the listeners are ignored.

    Returns:
        The listeners in the order given, none when none are named.

    Raises:
        Refused: ``wspcfg`` would refuse them.
    """
    names = list(options.get("listeners") or ())
    if not names:
        return ()
    wanted = read_wanted({**{name: options.get(name) for name in LISTENER_OPTIONS}, "state": "present"})
    return tuple(sorted(wanted.published, key=lambda item: names.index(item.listener.name)))


def claims_of(host: str, options: Mapping[str, t.Any]) -> Claims | None:
    """Return what a host of the inventory claims; None when it wants nothing published.

    Args:
        host: Inventory name.
        options: Its options, in their types, ``proxy`` and ``state`` among them.

    Returns:
        None too when the options are refused: by its own plan as well, and here it must not stop the others.
    """
    if options.get("state") == "absent":
        return None
    try:
        wanted = wanted_of(options)
    except Refused:
        return None
    return Claims(host, str(options.get("proxy") or "") or None, wanted) if wanted else None


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


def _claimed_addresses(wanted: Published, proxy: _Proxy) -> frozenset[str]:
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
