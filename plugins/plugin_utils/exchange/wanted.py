# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the user wants to be published: the options, checked."""

from __future__ import annotations

import ipaddress
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ...module_utils.listeners import LISTENERS, Listener, Owner
from ..problems.problem import Problem, Refused
from .installation import VERSIONS, Version, version_text

# Options that say what is published, in the form of Ansible's argument specs: the module's own, and what is read of an
# inventory when claims are compared. One table, so that both read the same out of the same value.
LISTENER_OPTIONS: Mapping[str, Mapping[str, t.Any]] = {
    "listeners": {"type": "list", "elements": "str"},
    "ports": {"type": "dict"},
    "proxy_address": {"type": "str"},
    "proxy_addresses": {"type": "dict"},
    "pin": {"type": "bool", "default": False},
    "state": {"type": "str", "choices": ["present", "absent"], "default": "present"},
}


@dataclass(frozen=True)
class Published:
    """One listener that is to be reachable on the proxy.

    Attributes:
        listener: Row of the table.
        port: TCP port that Exchange listens on and the proxy offers.
        address: The proxy's external IPv4 address, None when not given.
        pinned: Whether it gets a ProxyBindIp pair: every TLS listener, and plain ones on request.
    """

    listener: Listener
    port: int
    address: str | None
    pinned: bool

    @property
    def pair(self) -> str:
        return f"{self.port}:{self.address}"


@dataclass(frozen=True)
class Wanted:
    """The user's options, checked.

    Attributes:
        present: False for ``state: absent``.
        published: Listeners that were named, in the table's order; with ``state: absent`` those that leave.
        everything: ``state: absent`` without ``listeners``: all of them leave.
        ports: Port of every listener, moved ones as the user said.
        addresses: The proxy's address per listener name, where given.
        address: The proxy's address for everything else, None when not given.
        mta_direct: ``auto``, ``true`` or ``false``.
        force_credentials: None leaves the key as it is.
    """

    present: bool
    published: tuple[Published, ...]
    everything: bool
    ports: Mapping[str, int]
    addresses: Mapping[str, str]
    mta_direct: str = "auto"
    force_credentials: bool | None = None
    address: str | None = None

    def of(self, owner: Owner) -> tuple[Published, ...]:
        """Return what a process is to publish."""
        return tuple(item for item in self.published if item.listener.owner == owner)


def _names_problem(option: str, names: Iterable[str]) -> Iterable[Problem]:
    known = ", ".join(LISTENERS)
    for name in names:
        if name not in LISTENERS:
            yield Problem("bad_option", "there is no such listener", f"Choose from: {known}.", option, str(name))


def _port(option: str, value: t.Any) -> int:
    """Return a TCP port.

    Raises:
        Refused: No whole number from 1 to 65535; true and 1.5 are none.
    """
    text = str(value).strip() if isinstance(value, (int, str)) and not isinstance(value, bool) else ""
    if text.isascii() and text.isdigit() and 1 <= int(text) <= 65535:
        return int(text)
    remedy = "Give one whole number from 1 to 65535, without words and without lists."
    raise Refused([Problem("bad_option", "this is no TCP port", remedy, option, str(value))])


def _address(option: str, value: t.Any) -> str:
    """Return an IPv4 address that a proxy can own.

    Raises:
        Refused: Anything else.
    """
    remedy = "Give the proxy's external IPv4 address, such as 192.0.2.10."
    try:
        address = ipaddress.IPv4Address(str(value).strip())
    except ValueError:
        raise Refused([Problem("bad_option", "this is no IPv4 address", remedy, option, str(value))]) from None
    if address.is_unspecified or address.is_multicast or address == ipaddress.IPv4Address("255.255.255.255"):
        raise Refused([Problem("bad_option", "no interface can have this address", remedy, option, str(value))])
    return str(address)


def _collect(
    problems: list[Problem], option: str, given: Mapping[str, t.Any], check: t.Callable[[str, t.Any], t.Any]
) -> dict[str, t.Any]:
    """Check every value of a dictionary option; gather what is wrong instead of stopping at the first."""
    good = {}
    for name, value in given.items():
        try:
            good[name] = check(f"{option}.{name}", value)
        except Refused as refused:
            problems.extend(refused.problems)
    return good


def _duplicate_problems(names: Sequence[str], ports: Mapping[str, int]) -> Iterable[Problem]:
    for name in sorted({name for name in names if names.count(name) > 1}):
        yield Problem("bad_option", "listed twice", "Name every listener once.", "listeners", name)
    seen: dict[int, str] = {}
    for name in dict.fromkeys(names):
        other = seen.setdefault(ports.get(name, 0), name)
        if other != name and name in ports:
            remedy = "Give each listener a port of its own."
            value = f"{name}: {ports[name]}"
            yield Problem("bad_option", f"{other} has the same port", remedy, "ports", value)


def _pin_problems(published: Sequence[Published]) -> Iterable[Problem]:
    for item in published:
        if item.pinned and item.address is None:
            why = (
                "a TLS port needs ProxyBindIp, and so an address (Q178532)"
                if item.listener.tls
                else "pin needs an address"
            )
            remedy = (
                f"Set proxy_address, or proxy_addresses.{item.listener.name}, to the proxy's external IPv4 address."
            )
            cause = f"it is not given for {item.listener.name}: {why}"
            yield Problem("address_missing", cause, remedy, "proxy_address")


def read_ports(options: Mapping[str, t.Any], problems: list[Problem]) -> dict[str, int]:
    """Return the port of every listener, moved by the option ``ports`` or not; add what is wrong to ``problems``."""
    given = options.get("ports") or {}
    problems += _names_problem("ports", given)
    return {**{row.name: row.port for row in LISTENERS.values()}, **_collect(problems, "ports", given, _port)}


def read_wanted(options: Mapping[str, t.Any]) -> Wanted:
    """Check the options that say what is to be published.

    Args:
        options: ``listeners ports proxy_address proxy_addresses pin mta_direct force_credentials state`` as the module
            documents them; missing ones mean their defaults.

    Raises:
        Refused: With every problem, each naming its option and value.
    """
    names = list(options.get("listeners") or ())
    present = options.get("state", "present") == "present"
    problems = list(_names_problem("listeners", names))
    given_addresses = options.get("proxy_addresses") or {}
    ports = read_ports(options, problems)
    problems += _names_problem("proxy_addresses", given_addresses)
    common = _common_address(options, problems)
    addresses = {} if common is None else dict.fromkeys(LISTENERS, common)
    addresses.update(_collect(problems, "proxy_addresses", given_addresses, _address))
    problems += _duplicate_problems(names, ports)
    if present and not names:
        remedy = "Name at least one listener, or set state: absent."
        problems.append(Problem("bad_option", "nothing is to be published", remedy, "listeners"))
    published = tuple(_published(row, ports, addresses, options) for row in LISTENERS.values() if row.name in names)
    if present and not problems:
        problems += _pin_problems(published)
    if problems:
        raise Refused(problems)
    return Wanted(
        present=present,
        published=published,
        everything=not present and not names,
        ports=ports,
        addresses=addresses,
        mta_direct=options.get("mta_direct") or "auto",
        force_credentials=options.get("force_credentials"),
        address=common,
    )


def _common_address(options: Mapping[str, t.Any], problems: list[Problem]) -> str | None:
    if not options.get("proxy_address"):
        return None
    try:
        return _address("proxy_address", options["proxy_address"])
    except Refused as refused:
        problems.extend(refused.problems)
        return None


def _published(
    row: Listener, ports: Mapping[str, int], addresses: Mapping[str, str], options: Mapping[str, t.Any]
) -> Published:
    pinned = row.tls or bool(options.get("pin"))
    return Published(row, ports[row.name], addresses.get(row.name), pinned)


def version_problems(wanted: Wanted, version: Version | None) -> Iterable[Problem]:
    """Refuse what this Exchange version does not have (Q176466, Q161118, Q193703)."""
    if not wanted.present or version is None:
        return
    for item in wanted.published:
        if version < item.listener.since:
            since = version_text(item.listener.since)
            cause = f"Exchange {version_text(version)} has no {item.listener.name.upper()}; it came with {since}"
            remedy = "Remove it from listeners, or set exchange_version if the build number in the registry is wrong."
            yield Problem("version_lacks", cause, remedy, "listeners", item.listener.name)


def exchange_version_problems(value: str | None) -> list[Problem]:
    """Check the option exchange_version."""
    known = [version_text(version) for version in VERSIONS]
    if value is None or value in known:
        return []
    return [Problem("bad_option", "unknown version", f"Choose from: {', '.join(known)}.", "exchange_version", value)]
