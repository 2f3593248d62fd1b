# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a case expects, against what came."""

from __future__ import annotations

import base64
import re
import typing as t
from collections.abc import Iterator, Mapping

_TYPES: t.Final[Mapping[str, tuple[type, ...]]] = {
    "int": (int,),
    "number": (int, float),
    "str": (str,),
    "bool": (bool,),
    "list": (list,),
    "dict": (dict,),
}


_GREATER: t.Final = re.compile(r">\d+")


def _shown(value: t.Any) -> str:
    text = repr(value)
    return text if len(text) < 200 else text[:197] + "..."


def _same_scalar(expected: t.Any, found: t.Any) -> bool:
    if expected == "ANY":
        return True
    if isinstance(expected, str) and expected in _TYPES:
        return isinstance(found, _TYPES[expected]) and (expected == "bool" or not isinstance(found, bool))
    if isinstance(expected, str) and len(expected) > 2 and expected[0] == expected[-1] == "/":
        return isinstance(found, str) and re.fullmatch(expected[1:-1], found) is not None
    if isinstance(expected, str) and _GREATER.fullmatch(expected):
        return isinstance(found, (int, float)) and not isinstance(found, bool) and found > float(expected[1:])
    if isinstance(expected, bool) or isinstance(found, bool):
        return expected is found
    return bool(expected == found)


def differences(expected: t.Any, found: t.Any, where: str = "") -> Iterator[str]:
    """Yield one line per difference.

    A mapping may have more keys than expected, a list may not have more items. ``ANY``, the name of a type
    (``int number str bool list dict``), ``>number`` or ``/regular expression/`` stand for values that a case cannot
    know.

    Args:
        expected: what the case says.
        found: what came.
        where: path to it, for the text.
    """
    if isinstance(expected, Mapping):
        if not isinstance(found, Mapping):
            yield f"{where}: expected a mapping, found {_shown(found)}"
            return
        for key, value in expected.items():
            if key not in found:
                yield f"{where}.{key}: missing"
            else:
                yield from differences(value, found[key], f"{where}.{key}")
    elif isinstance(expected, list):
        if not isinstance(found, list) or len(found) != len(expected):
            yield f"{where}: expected {_shown(expected)}, found {_shown(found)}"
            return
        for number, (one, other) in enumerate(zip(expected, found, strict=True)):
            yield from differences(one, other, f"{where}[{number}]")
    elif not _same_scalar(expected, found):
        yield f"{where}: expected {_shown(expected)}, found {_shown(found)}"


def content(item: Mapping[str, t.Any]) -> bytes:
    """Return the bytes of ``{text, encoding}`` or ``{base64}``."""
    if "base64" in item:
        return base64.b64decode(item["base64"])
    return str(item["text"]).encode(item.get("encoding", "cp1252"))


def _by_lower(mapping: Mapping[str, t.Any]) -> dict[str, t.Any]:
    return {key.lower(): value for key, value in mapping.items()}


def _file_differences(expected: Mapping[str, t.Any], found: Mapping[str, t.Any]) -> Iterator[str]:
    files = _by_lower(found)
    for path, item in expected.items():
        seen = files.get(path.lower())
        if item is None:
            if seen is not None:
                yield f"then.files.{path}: is there"
        elif seen is None:
            yield f"then.files.{path}: is not there"
        elif content(item) != base64.b64decode(seen["base64"]):
            yield f"then.files.{path}: expected {content(item)!r}, found {base64.b64decode(seen['base64'])!r}"


def _directory_differences(expected: Mapping[str, t.Any], found: Mapping[str, t.Any]) -> Iterator[str]:
    for directory, names in expected.items():
        prefix = directory.lower().rstrip("\\") + "\\"
        seen = [path[len(prefix) :] for path in found if path.lower().startswith(prefix)]
        here = sorted((name for name in seen if "\\" not in name), key=str.lower)
        if here != sorted(names, key=str.lower):
            yield f"then.directories.{directory}: expected {names}, found {here}"


def state_differences(then: Mapping[str, t.Any], observed: Mapping[str, t.Any]) -> Iterator[str]:
    """Yield one line per difference between a case's ``then`` and the state that was observed.

    Args:
        then: what the case says.
        observed: what the executor saw: ``files`` (path to ``{base64}``), ``services``, ``registry``, ``records``,
            ``journal``, ``backups``, ``locked``, ``access``.
    """
    yield from _file_differences(then.get("files", {}), observed["files"])
    yield from _directory_differences(then.get("directories", {}), observed["files"])
    for name, state in then.get("services", {}).items():
        yield from differences(state, _by_lower(observed["services"]).get(name.lower()), f"then.services.{name}")
    for key in ("registry", "records", "journal", "backups", "locked", "access"):
        if key in then:
            yield from differences(then[key], observed.get(key), f"then.{key}")
