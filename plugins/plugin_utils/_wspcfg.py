# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Wspcfg.ini shall say: from the user's options to edits of one file.

Private to this collection: names and shapes may change in any release.
"""

from __future__ import annotations

import ipaddress
import re
import typing as t
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from ..module_utils._listeners import DSAMAIN, EMSMTA, LISTENERS, MSEXCIMC, STORE, Listener, Owner
from ._errors import Problem, Refused
from ._exchange import VERSIONS, Version, version_text
from ._ini import (
    Document,
    Edit,
    IniError,
    Reading,
    RemoveKey,
    RemoveSection,
    SetKey,
    read_strict,
    read_text,
    unmarked_utf_16,
)

PORTS = "ServerBindTcpPorts"
BIND_IP = "ProxyBindIp"
FORCE_CREDENTIALS = "ForceCredentials"
DISABLE = "Disable"
# Kept and restored over a restart of the proxy; a stale session of the old process makes room (Q178532, Q181420).
FLAGS = ("Persistent", "KillOldSession")
# Ours without asking; ForceCredentials and [EMSMTA] Disable only where our record says that we wrote them.
OWN_KEYS = (PORTS, BIND_IP, *FLAGS)

PUBLISHERS: tuple[Owner, ...] = (STORE, DSAMAIN, MSEXCIMC)

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

_RANGE = re.compile(r"(\d+)-(\d+)\Z")


@dataclass(frozen=True)
class Published:
    """One listener that shall be reachable on the proxy.

    Attributes:
        listener: Row of the table.
        port: TCP port that Exchange listens on and the proxy shall offer.
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
        """Return what a process shall publish."""
        return tuple(item for item in self.published if item.listener.owner == owner)


# -- options ------------------------------------------------------------------------------------------------------


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
            yield Problem("address_missing", why, remedy, "proxy_address", item.listener.name)


def read_ports(options: Mapping[str, t.Any], problems: list[Problem]) -> dict[str, int]:
    """Return the port of every listener, moved by the option ``ports`` or not; add what is wrong to ``problems``."""
    given = options.get("ports") or {}
    problems += _names_problem("ports", given)
    return {**{row.name: row.port for row in LISTENERS.values()}, **_collect(problems, "ports", given, _port)}


def read_wanted(options: Mapping[str, t.Any]) -> Wanted:
    """Check the options that say what shall be published.

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


# -- the values of one section ------------------------------------------------------------------------------------


def tokens(value: str) -> list[str]:
    """Split a port list or a list of ``port:address`` pairs; blanks do not count (Q231878)."""
    return ["".join(item.split()) for item in value.split(",") if item.strip()]


def single_ports(value: str) -> list[int]:
    """Return the ports of a list that stand alone; ranges name no listener."""
    return [int(item) for item in tokens(value) if item.isdigit()]


def _in_range(value: str, port: int) -> bool:
    matches = (_RANGE.match(item) for item in tokens(value))
    return any(match and int(match[1]) <= port <= int(match[2]) for match in matches)


def same_value(key: str, found: str | None, wanted: str) -> bool:
    """Compare as the proxy client would: the order of a list and blanks in it mean nothing."""
    if found is None:
        return False
    if key in (PORTS, BIND_IP):
        return sorted(tokens(found)) == sorted(tokens(wanted))
    return found.strip() == wanted


def section_values(published: Sequence[Published], force_credentials: bool | None) -> dict[str, str]:
    """Return the keys of a section that publishes these listeners, in the order in which they are written."""
    ordered = sorted(published, key=lambda item: item.port)
    values = {PORTS: ",".join(str(item.port) for item in ordered)}
    pairs = [item.pair for item in ordered if item.pinned]
    if pairs:
        values[BIND_IP] = ",".join(pairs)
    values.update(dict.fromkeys(FLAGS, "1"))
    if force_credentials:
        values[FORCE_CREDENTIALS] = "1"
    return values


def bind_addresses(reading: Reading, section: str) -> dict[int, str]:
    """Return the address of every port that a section pins."""
    pairs = (item.partition(":") for item in tokens(reading.get(section, BIND_IP) or ""))
    return {int(port): address for port, dummy, address in pairs if port.isdigit()}


# -- edits --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Outcome:
    """What becomes of one file.

    Attributes:
        before: The file as it is, None when there is none.
        after: The file as it shall be, None when it shall not exist.
        owned: ``SECTION.Key`` names beyond OWN_KEYS that are ours afterwards.
        copied: Sections taken over from Mspclnt.ini.
    """

    before: bytes | None
    after: bytes | None
    owned: tuple[str, ...]
    copied: tuple[str, ...] = ()


def _as_saved(data: bytes) -> Document:
    """Return the document in the encoding that it was saved in, UTF-16 without a byte order mark, too."""
    return Document.parse(data, encoding=unmarked_utf_16(data) or "ansi")


def unreadable_encoding(data: bytes) -> str | None:
    """Return the encoding of a file that Exchange cannot read because it is not ANSI (Q181420), else None."""
    document = _as_saved(data)
    return document.encoding if document.bom or document.codec.width > 1 else None


def readable(data: bytes) -> Document:
    """Return the text as an ANSI document, whatever it was saved as.

    Raises:
        IniError: A character does not exist in ANSI.
    """
    document = _as_saved(data)
    if unreadable_encoding(data) is None:
        return document
    try:
        return document.convert(encoding="ansi")
    except IniError as error:
        cause = f"the file was saved as {document.encoding} and Exchange reads ANSI only (Q181420); {error.message}"
        remedy = "Save it as ANSI on the server, or take that line out, comments too; then run again."
        raise IniError(error.code, cause, remedy=remedy, line=error.line) from error


def _has(document: Document, section: str, key: str) -> bool:
    """Tell whether any section of that name holds the key, also where only one of the parsers would see it."""
    reading = read_text(document)
    return reading.get(section, key) is not None


def _is_doubled(reading: Reading, section: str) -> bool:
    """Tell whether a section or one of its keys stands twice, so that parsers may take either."""
    return any(
        finding.code.startswith("ambiguous_duplicate") and finding.section.lower() == section.lower()
        for finding in reading.findings
    )


def _in_section(names: Iterable[str], section: str) -> list[str]:
    """Return the keys of those ``SECTION.Key`` names that lie in a section, written in any case."""
    pairs = (name.partition(".") for name in names)
    return [key for found, dummy, key in pairs if found.lower() == section.lower()]


def _is_owned(owned: Iterable[str], owner: Owner, key: str) -> bool:
    return key.lower() in (name.lower() for name in _in_section(owned, owner.section))


def _publish_edits(document: Document, owner: Owner, wanted: Wanted, owned: Sequence[str]) -> list[Edit]:
    """Return what makes a section publish the wanted listeners; nothing when it does so surely.

    A ``Disable`` that was copied when nothing of the process was published leaves, for it keeps the process off the
    proxy; somebody else's stays and is a warning.
    """
    reading = read_strict(document)
    values = section_values(wanted.of(owner), wanted.force_credentials)
    doubled = _is_doubled(reading, owner.section)
    edits: list[Edit] = [
        SetKey(owner.section, key, value)
        for key, value in values.items()
        if doubled or not same_value(key, reading.get(owner.section, key), value)
    ]
    unwanted = [BIND_IP] if BIND_IP not in values else []
    if wanted.force_credentials is False:
        unwanted.append(FORCE_CREDENTIALS)
    if _is_owned(owned, owner, DISABLE):
        unwanted.append(DISABLE)
    return edits + [RemoveKey(owner.section, key) for key in unwanted if _has(document, owner.section, key)]


def _withdraw_edits(
    document: Document, owner: Owner, leaving: Sequence[int] | None, owned: Sequence[str]
) -> list[Edit]:
    """Return what takes our keys, or only some ports, out of a section.

    Args:
        leaving: Ports to take away; None: all of our keys.
        owned: ``SECTION.Key`` names beyond OWN_KEYS that are ours.
    """
    extra = _in_section(owned, owner.section)
    everything: list[Edit] = [
        RemoveKey(owner.section, key) for key in (*OWN_KEYS, *extra) if _has(document, owner.section, key)
    ]
    if leaving is None:
        return everything
    reading = read_text(document)
    ports = tokens(reading.get(owner.section, PORTS) or "")
    staying = [item for item in ports if not (item.isdigit() and int(item) in leaving)]
    if ports and not staying:
        return everything
    pairs = tokens(reading.get(owner.section, BIND_IP) or "")
    kept = [item for item in pairs if item.partition(":")[0] not in {str(port) for port in leaving}]
    edits: list[Edit] = []
    if staying != ports:
        edits.append(SetKey(owner.section, PORTS, ",".join(staying)))
    if kept != pairs:
        edits.append(SetKey(owner.section, BIND_IP, ",".join(kept)) if kept else RemoveKey(owner.section, BIND_IP))
    return edits


def _drop_empty(document: Document, sections: Iterable[str]) -> Document:
    """Take away sections that hold nothing any more; their comments stay."""
    reading = read_text(document)
    empty = [name for name in sections if (found := reading.section(name)) is not None and not found.keys]
    return document.apply([RemoveSection(name) for name in empty], duplicates="remove")


def _mta_edits(document: Document, wanted: Wanted, owned: Sequence[str]) -> list[Edit]:
    if not wanted.present:
        return []
    if wanted.mta_direct == "true":
        if same_value(DISABLE, read_strict(document).get(EMSMTA.section, DISABLE), "1"):
            return []
        return [SetKey(EMSMTA.section, DISABLE, "1")]
    mine = _in_section(owned, EMSMTA.section) if wanted.mta_direct == "false" else []
    return [RemoveKey(EMSMTA.section, key) for key in mine if _has(document, EMSMTA.section, key)]


def _owned_edits(document: Document, owned: Iterable[str]) -> list[Edit]:
    """Return what takes away keys of foreign processes that our record says we wrote."""
    pairs = (name.partition(".") for name in owned)
    return [RemoveKey(section, key) for section, dummy, key in pairs if _has(document, section, key)]


def client_sections(
    client: bytes | None, executables: Sequence[str], taken: Iterable[str]
) -> dict[str, dict[str, str]]:
    """Return the sections of Mspclnt.ini that a new Wspcfg.ini would hide from programs of its directory.

    Args:
        client: Mspclnt.ini, None when there is none.
        executables: Names of the directory's programs, such as ``emsmta.exe``.
        taken: Sections that the new file has anyway.
    """
    if client is None:
        return {}
    reading = read_text(Document.parse(client))
    names = {name.lower().rpartition(".")[0] for name in executables} - {name.lower() for name in taken}
    return {
        section.name: {key.name: key.value for key in section.keys}
        for section in reading.sections
        if section.name.lower() in names and section.keys and "." not in section.name
    }


def _owners_of(file_id: str) -> tuple[Owner, ...]:
    return tuple(owner for owner in PUBLISHERS if owner.file_id == file_id)


def _edits(document: Document, file_id: str, wanted: Wanted, owned: Sequence[str]) -> list[Edit]:
    edits: list[Edit] = []
    for owner in _owners_of(file_id):
        if wanted.present and wanted.of(owner):
            edits += _publish_edits(document, owner, wanted, owned)
        elif wanted.present:  # what was copied for the process is not among the listeners, and stays
            ours = [f"{owner.section}.{FORCE_CREDENTIALS}"] if _is_owned(owned, owner, FORCE_CREDENTIALS) else []
            edits += _withdraw_edits(document, owner, None, ours)
        elif wanted.everything:
            edits += _withdraw_edits(document, owner, None, owned)
        else:
            edits += _withdraw_edits(document, owner, [item.port for item in wanted.of(owner)], owned)
    if file_id == EMSMTA.file_id:
        edits += _mta_edits(document, wanted, owned)
        edits += _owned_edits(document, owned) if wanted.everything else []
    return edits


def shape(
    file_id: str,
    before: bytes | None,
    wanted: Wanted,
    *,
    owned: Sequence[str] = (),
    client: bytes | None = None,
    executables: Sequence[str] = (),
) -> Outcome:
    """Say what becomes of one Wspcfg.ini.

    A section that already says the same in other words is not touched; what is written is ANSI, and a new file has
    CRLF, no blank line and begins with ``[`` (Q181420).

    Args:
        file_id: ``bin`` or ``imc``.
        before: The file, None when there is none.
        wanted: What shall be.
        owned: ``SECTION.Key`` names that our record says we wrote.
        client: Mspclnt.ini, whose sections a new file may hide.
        executables: Programs of the directory.

    Raises:
        IniError: The text cannot be brought to ANSI.
    """
    document = Document.new() if before is None else readable(before)
    edits = _edits(document, file_id, wanted, owned)
    creating = before is None and bool(edits) and wanted.present
    copied = _copied(file_id, wanted, client, executables, edits) if creating else {}
    edits += [SetKey(section, key, value) for section, keys in copied.items() for key, value in keys.items()]
    if not edits and not _must_convert(before, document, file_id, wanted):
        return Outcome(before, before, tuple(owned))
    after = document.apply(edits, duplicates="remove", style="plain" if not document.body else "file")
    touched = {edit.section for edit in edits if isinstance(edit, RemoveKey)}
    after = _drop_empty(after, touched)
    left = bytes(after) if bytes(after).strip() else None
    return Outcome(before, left, _owned_after(owned, edits), tuple(copied))


def _must_convert(before: bytes | None, document: Document, file_id: str, wanted: Wanted) -> bool:
    """Tell whether a file that says the right thing says it in an encoding that nobody reads (Q181420)."""
    published = any(wanted.of(owner) for owner in _owners_of(file_id))
    return wanted.present and published and before is not None and bytes(document) != before


def _copied(
    file_id: str, wanted: Wanted, client: bytes | None, executables: Sequence[str], edits: Sequence[Edit]
) -> dict[str, dict[str, str]]:
    """Return what a new file would hide; not what keeps the MTA off the proxy, when the user wants it there."""
    if file_id != EMSMTA.file_id:
        return {}
    unwanted = [EMSMTA.section] if wanted.mta_direct == "false" else []
    return client_sections(client, executables, [*unwanted, *(edit.section for edit in edits)])


def _owned_after(owned: Sequence[str], edits: Sequence[Edit]) -> tuple[str, ...]:
    """Return the record of keys that are ours, apart from those that always are."""
    names = {name.lower(): name for name in owned}
    always = {(owner.section.lower(), key.lower()) for owner in PUBLISHERS for key in OWN_KEYS}
    for edit in edits:
        if not isinstance(edit, (SetKey, RemoveKey)) or (edit.section.lower(), edit.key.lower()) in always:
            continue
        name = f"{edit.section}.{edit.key}"
        if isinstance(edit, SetKey):
            names.setdefault(name.lower(), name)
        else:
            names.pop(name.lower(), None)
    return tuple(sorted(names.values()))


def range_problems(before: bytes | None, file_id: str, wanted: Wanted) -> Iterable[Problem]:
    """Refuse to take one port out of a range, which only its author can split."""
    if wanted.present or wanted.everything or before is None:
        return
    reading = read_text(readable(before))
    for owner in _owners_of(file_id):
        value = reading.get(owner.section, PORTS) or ""
        for item in wanted.of(owner):
            if _in_range(value, item.port):
                cause = f"port {item.port} lies inside a range of [{owner.section}] {PORTS}={value}"
                yield Problem("port_in_range", cause, "Write the ports one by one, then run again.", "listeners")


def unnamed_ports(before: bytes | None, file_id: str, wanted: Wanted) -> Iterable[str]:
    """Say which named listeners leave nothing, although a port of no name stays that may be theirs."""
    if wanted.present or wanted.everything or before is None:
        return
    reading = read_text(readable(before))
    for owner in _owners_of(file_id):
        found = single_ports(reading.get(owner.section, PORTS) or "")
        known = {wanted.ports[row.name] for row in LISTENERS.values() if row.owner == owner}
        others = ", ".join(str(port) for port in found if port not in known)
        for item in wanted.of(owner):
            if item.port not in found and others:
                yield (
                    f"{item.listener.name} shall leave, but [{owner.section}] does not publish its port {item.port}; "
                    f"it publishes {others}. Set ports.{item.listener.name} if that is where it was moved."
                )


def unreached(after: bytes | None, file_id: str, wanted: Wanted) -> Iterable[str]:
    """Name the sections that would still not surely say what is wanted: a last look before anything is written."""
    if not wanted.present:
        return
    reading = read_strict(Document.parse(after or b""))
    for owner in _owners_of(file_id):
        published = wanted.of(owner)
        values = section_values(published, wanted.force_credentials) if published else {}
        if not all(same_value(key, reading.get(owner.section, key), value) for key, value in values.items()):
            yield owner.section
