# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What a request must look like: every key present, every value of its type."""

from __future__ import annotations

import re
import typing as t

from .failures import Json, TargetFailure

Check: t.TypeAlias = t.Callable[[t.Any], bool]
VERSION: t.Final = 1
_SHA256 = re.compile(r"[0-9a-f]{64}")
_RUN = re.compile(r"[0-9a-f-]{8,36}")


def _text(value: t.Any) -> bool:
    return isinstance(value, str)


def _number(value: t.Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _flag(value: t.Any) -> bool:
    return isinstance(value, bool)


def _list(value: t.Any) -> bool:
    return isinstance(value, list)


def _object(value: t.Any) -> bool:
    return isinstance(value, dict)


def _computer(value: t.Any) -> bool:
    return _text(value) and re.fullmatch(r'[^\\/:*?"<>|\s]+', value) is not None


def _digest(value: t.Any) -> bool:
    return _text(value) and _SHA256.fullmatch(value) is not None


def _service(value: t.Any) -> bool:
    return _text(value) and re.fullmatch(r"[^\\/]+", value) is not None


def _time(value: t.Any) -> bool:
    return _text(value) and re.fullmatch(r"(?:[01]\d|2[0-3]):[0-5]\d", value) is not None


def _one_of(*values: str) -> Check:
    return lambda value: value in values


def _or_null(check: Check) -> Check:
    return lambda value: value is None or check(value)


def _texts(value: t.Any) -> bool:
    return _list(value) and all(_text(item) for item in value)


_COMMON: t.Final[dict[str, Check]] = {
    "version": lambda value: value == VERSION and not isinstance(value, bool),
    "op": _one_of("inspect", "apply", "restart", "restart_status"),
    "computer": _or_null(_computer),
    "credential": _or_null(_object),
    "run": lambda value: _text(value) and _RUN.fullmatch(value) is not None,
    "who": _text,
}
_BY_OP: t.Final[dict[str, dict[str, Check]]] = {
    "inspect": {
        "registry": _list,
        "services": _texts,
        "files": _list,
        "state": _flag,
        "backup": _or_null(_digest),
        "events": _or_null(_object),
        "ports": _list,
    },
    "apply": {"files": _list, "records": _list, "lock_wait": _number, "lock": _flag},
    "restart": {
        "services": _list,
        "start": _texts,
        "dependents": _one_of("restore", "leave_stopped", "fail"),
        "stop_timeout": _number,
        "start_timeout": _number,
        "deadline": _number,
        "settle": _number,
        "wait": _number,
        "lock_wait": _number,
        "allow_disabled": _flag,
        "start_dependencies": _flag,
        "window": _or_null(_object),
        "finish": _one_of("same_boot", "any"),
    },
    "restart_status": {"of": _or_null(_text), "wait": _number},
}
_ITEMS: t.Final[dict[tuple[str, str], dict[str, Check]]] = {
    ("inspect", "registry"): {"id": _text, "key": _text, "value": _text},
    ("inspect", "files"): {
        "id": _text,
        "name": _or_null(_text),
        "path": _or_null(_text),
        "beside": _texts,
        "root": _or_null(_text),
        "below": _or_null(_text),
        "pointer": _or_null(_object),
        "content": _flag,
        "executables": _flag,
        "max_bytes": _number,
    },
    ("inspect", "ports"): {"port": _number, "send": _or_null(_text), "read_ms": _number},
    ("apply", "files"): {
        "path": _text,
        "expect_sha256": _or_null(_text),
        "content": _or_null(_text),
        "from_backup": _or_null(_text),
        "backup": _one_of("store", "beside", "none"),
        "backup_path": _or_null(_text),
    },
    ("apply", "records"): {"service": _service, "loaded": _or_null(_text), "wanted": _or_null(_text), "owned": _text},
    ("restart", "services"): {
        "name": _text,
        "role": _one_of("root", "dependent"),
        "depends_on": _texts,
        "file": _or_null(_text),
        "file_sha256": _or_null(_text),
        "loaded": _or_null(_text),
    },
}

_POINTER: t.Final[dict[str, Check]] = {"file": _text, "section": _text, "key": _text, "default": _or_null(_text)}


def _check(value: Json, rules: t.Mapping[str, Check]) -> None:
    for key, check in rules.items():
        if key not in value or not check(value[key]):
            raise TargetFailure("bad_request", f"key {key} is missing or has the wrong type", key=key)


def check_request(request: t.Any) -> None:
    """Raise ``bad_request`` for the first key that is missing or wrong."""
    if not isinstance(request, dict):
        raise TargetFailure("bad_request", "the request is no object", key=None)
    _check(request, _COMMON)
    credential = request["credential"]
    if credential is not None:
        _check(credential, {"username": _text, "password": lambda value: _text(value) and value != ""})
    op = request["op"]
    _check(request, _BY_OP[op])
    for (owner, key), rules in _ITEMS.items():
        if owner == op:
            for item in request[key]:
                _check(item if isinstance(item, dict) else {}, rules)
    if op == "apply":
        for item in request["files"]:
            _check_change(item)
    if op == "inspect":
        for item in request["files"]:
            if item["pointer"] is not None:
                _check(item["pointer"], _POINTER)
    if op == "restart" and request["window"] is not None:
        _check(request["window"], {"from": _time, "to": _time})


def _check_change(item: Json) -> None:
    """What the keys of one file of ``apply`` ask of each other."""
    content, saved = item["content"], item["from_backup"]
    wrong = {
        "from_backup": saved is not None and (content is not None or not _digest(saved)),
        "backup_path": item["backup"] == "beside" and not item["backup_path"],
    }
    for key, bad in wrong.items():
        if bad:
            raise TargetFailure("bad_request", f"key {key} does not go with the others", key=key)
