# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The bytes of one Wspcfg.ini or Mspclnt.ini, and everything that is read out of them: each once, whoever asks."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import cached_property

from ..ini.document import Document
from ..ini.readers import Reading
from ..ini.text import IniError, unmarked_utf_16

_LISTS = frozenset({"serverbindtcpports", "proxybindip"})
_LEADING_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Content:
    """What stands in one file.

    Attributes:
        data: Its bytes.
    """

    data: bytes

    def __repr__(self) -> str:
        return f"Content({len(self.data)} bytes, {self.sha256[:8]})"

    @cached_property
    def sha256(self) -> str:
        """Lower-case hexadecimal sha256 of the bytes."""
        return hashlib.sha256(self.data).hexdigest()

    @cached_property
    def document(self) -> Document:
        """The file as its readers take it: ANSI, unless a byte order mark says otherwise."""
        return Document.parse(self.data)

    @property
    def strict(self) -> Reading:
        """What surely is in force."""
        return self.document.strict_reading

    @cached_property
    def as_saved(self) -> Document:
        """The file in the encoding that it was saved in, UTF-16 without a byte order mark, too."""
        unmarked = unmarked_utf_16(self.data)
        return self.document if unmarked is None else Document.parse(self.data, encoding=unmarked)

    @property
    def unreadable_encoding(self) -> str | None:
        """The encoding of a file that Exchange cannot read because it is not ANSI (Q181420), else None."""
        document = self.as_saved
        return document.encoding if document.bom or document.codec.width > 1 else None

    @cached_property
    def as_ansi(self) -> Document:
        """The text as an ANSI document, whatever it was saved as.

        Raises:
            IniError: A character does not exist in ANSI.
        """
        document = self.as_saved
        if self.unreadable_encoding is None:
            return document
        try:
            return document.convert(encoding="ansi")
        except IniError as error:
            cause = f"the file was saved as {document.encoding} and Exchange reads ANSI only (Q181420); {error.message}"
            remedy = "Save it as ANSI on the server, or take that line out, comments too; then run again."
            raise IniError(error.code, cause, remedy=remedy, line=error.line) from error

    def section_hash(self, section: str) -> str:
        """Return the hash of what is surely in force of a section; see the function of that name."""
        name = section.lower()
        if name not in self._section_hashes:
            self._section_hashes[name] = _hash(self.strict, section)
        return self._section_hashes[name]

    @cached_property
    def _section_hashes(self) -> dict[str, str]:
        return {}


def section_hash(content: Content | None, section: str) -> str:
    """Return the hash of what is surely in force of a section (docs/target_protocol.md, section 7).

    Args:
        content: The file, None when it does not exist.
        section: Name of the section, any case.

    Returns:
        Lower-case hexadecimal sha256; of the empty text when nothing is in force.
    """
    return EMPTY_HASH if content is None else content.section_hash(section)


def _hash(reading: Reading, name: str) -> str:
    section = reading.section(name)
    pairs = [] if section is None else [(key.name.lower(), key.value) for key in section.keys]
    lines = sorted(f"{key}={_canonical(key, value)}" for key, value in pairs)
    return hashlib.sha256("\n".join(lines).encode("utf-8")).hexdigest()


def _canonical(key: str, value: str) -> str:
    if key not in _LISTS:
        return value
    items = ["".join(item.split()) for item in value.split(",") if item.strip()]
    return ",".join(sorted(items, key=_list_order))


def _list_order(item: str) -> tuple[int, str]:
    match = _LEADING_NUMBER.match(item)
    return (int(match.group()) if match else -1, item)


# Of a section of which nothing is in force.
EMPTY_HASH = hashlib.sha256(b"").hexdigest()
