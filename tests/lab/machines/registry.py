# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""HKEY_LOCAL_MACHINE of one simulated machine."""

from __future__ import annotations

import typing as t
from dataclasses import dataclass, field

from .errors import ACCESS_DENIED, RegistryFailure

Data: t.TypeAlias = str | int | list[str] | bytes
Kind: t.TypeAlias = str


@dataclass(frozen=True)
class Value:
    """A registry value; kind is one of ``sz expand_sz multi_sz dword qword binary``."""

    name: str
    kind: Kind
    data: Data


@dataclass
class _Key:
    path: str
    volatile: bool
    values: dict[str, Value] = field(default_factory=dict)


def kind_of(data: Data) -> Kind:
    """The kind that a value of this Python type gets when nobody says otherwise."""
    if isinstance(data, int):
        return "dword"
    if isinstance(data, list):
        return "multi_sz"
    return "binary" if isinstance(data, bytes) else "sz"


def below_hklm(path: str) -> str:
    """The key's path below HKEY_LOCAL_MACHINE, lower case, for comparison."""
    root, dummy, rest = path.partition("\\")
    if root.upper().rstrip(":") in ("HKLM", "HKEY_LOCAL_MACHINE"):
        path = rest
    return path.strip("\\").lower()


class Registry:
    """Keys and values; names compare without case, volatile keys go at a boot.

    Attributes:
        denied: Lower-case key paths (with everything below) that nobody may open.
    """

    def __init__(self) -> None:
        self._keys: dict[str, _Key] = {}
        self.denied: set[str] = set()

    def get(self, key: str, name: str) -> Value | None:
        self._allow(key)
        found = self._keys.get(below_hklm(key))
        return found.values.get(name.lower()) if found else None

    def set(self, key: str, name: str, data: Data, kind: Kind | None = None, *, volatile: bool = False) -> None:
        self._allow(key)
        self.create(key, volatile=volatile).values[name.lower()] = Value(name, kind or kind_of(data), data)

    def create(self, key: str, *, volatile: bool = False) -> _Key:
        self._allow(key)
        return self._keys.setdefault(below_hklm(key), _Key(key, volatile))

    def delete_value(self, key: str, name: str) -> None:
        self._allow(key)
        found = self._keys.get(below_hklm(key))
        if found:
            found.values.pop(name.lower(), None)

    def delete(self, key: str) -> None:
        """Remove a key and everything below."""
        self._allow(key)
        prefix = below_hklm(key)
        for path in [path for path in self._keys if path == prefix or path.startswith(prefix + "\\")]:
            del self._keys[path]

    def subkeys(self, key: str) -> list[str]:
        """Names of the keys directly below, as they were spelled, sorted without case."""
        prefix = below_hklm(key) + "\\"
        depth = prefix.count("\\")
        names = {
            found.path.strip("\\").rsplit("\\")[-1]: None
            for path, found in self._keys.items()
            if path.startswith(prefix) and path.count("\\") == depth
        }
        return sorted(names, key=str.lower)

    def dump(self) -> dict[str, dict[str, Data]]:
        """Every key below HKEY_LOCAL_MACHINE with its values' data."""
        return {
            found.path: {value.name: value.data for value in found.values.values()} for found in self._keys.values()
        }

    def boot(self) -> None:
        """What a restart of the machine does: volatile keys are gone."""
        self._keys = {path: key for path, key in self._keys.items() if not key.volatile}

    def _allow(self, key: str) -> None:
        path = below_hklm(key)
        if any(path == denied or path.startswith(denied + "\\") for denied in self.denied):
            raise RegistryFailure(ACCESS_DENIED, key)
