# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What has to change in one Wspcfg.ini: from what is wanted to edits, and what the edits leave."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from ...module_utils.listeners import EMSMTA, LISTENERS, Owner
from ..ini.document import Document
from ..ini.edits import Edit, RemoveKey, RemoveSection, SetKey
from ..ini.readers import Reading, read_strict, read_text
from ..ini.text import IniError, unmarked_utf_16
from ..problems.problem import Problem
from .section import (
    BIND_IP,
    DISABLE,
    FORCE_CREDENTIALS,
    OWN_KEYS,
    PORTS,
    PUBLISHERS,
    in_range,
    same_value,
    section_values,
    single_ports,
    tokens,
)
from .wanted import Wanted


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
            if in_range(value, item.port):
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
