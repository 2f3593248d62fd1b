# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The options of M(msexchange.winsock_proxy.port_probe) and its result, for the module and for the action."""

from __future__ import annotations

import ipaddress
import re
import typing as t

from ..listeners import LISTENERS
from .model import PROTOCOLS, SATISFYING, STARTTLS, TCP, Options, Target

_DEFAULTS = Options()
_BY_PROTOCOL = "protocol"

ARGUMENT_SPEC: dict[str, t.Any] = {
    "targets": {
        "type": "list",
        "elements": "dict",
        "required": True,
        "options": {
            "host": {"type": "str", "required": True},
            "port": {"type": "int"},
            "protocol": {"type": "str", "choices": list(PROTOCOLS), "default": TCP},
            "expect": {"type": "str", "choices": list(SATISFYING), "default": "open"},
            "server_name": {"type": "str"},
            "greeting": {"type": "str"},
            "tls": {"type": "str", "choices": [_BY_PROTOCOL, "starttls"], "default": _BY_PROTOCOL},
        },
    },
    "timeout": {"type": "float", "default": _DEFAULTS.timeout},
    "connect_timeout": {"type": "float", "default": _DEFAULTS.connect_timeout},
    "deadline": {"type": "float", "default": _DEFAULTS.deadline},
    "check_mode_deadline": {"type": "float"},
    "delay": {"type": "float", "default": _DEFAULTS.delay},
    "concurrency": {"type": "int", "default": _DEFAULTS.concurrency},
    "source_address": {"type": "str"},
    "fail_on_mismatch": {"type": "bool", "default": True},
    "fail_on_unreachable": {"type": "bool", "default": True},
}

_LONGEST_SECONDS = 86400.0
_MOST_CONNECTIONS = 65535
_NAMED_IN_MESSAGE = 5


class OptionError(ValueError):
    """An option has a value that cannot be meant; the text names option, value and remedy."""


def read_options(params: t.Mapping[str, t.Any], *, check_mode: bool) -> tuple[list[Target], Options]:
    """Return targets and limits.

    Args:
        params: Parameters that fit `ARGUMENT_SPEC`.
        check_mode: Whether the task runs in check mode.

    Raises:
        OptionError: A port, a time or a pattern is impossible.
    """
    options = Options(
        timeout=_seconds(params, "timeout", least=0.001),
        connect_timeout=_seconds(params, "connect_timeout", least=0.001),
        deadline=_deadline(params, check_mode=check_mode),
        delay=_seconds(params, "delay", least=0.01),
        concurrency=_concurrency(params["concurrency"]),
        source_address=_address(params),
    )
    return [_target(index, entry) for index, entry in enumerate(params["targets"])], options


def summary(results: t.Sequence[t.Mapping[str, t.Any]], *, fail_on_mismatch: bool) -> dict[str, t.Any]:
    """Return what module and action answer: the same keys whether the targets are as expected or not."""
    failed = [_one_line(result) for result in results if not result["ok"]]
    answer: dict[str, t.Any] = {"changed": False, "ok": not failed, "results": list(results), "failed_targets": failed}
    answer["msg"] = _message(len(results), failed)
    if failed and fail_on_mismatch:
        answer["failed"] = True
    return answer


def _message(count: int, failed: t.Sequence[str]) -> str:
    if not failed:
        return f"{count} of {count} targets are as expected"
    named = "; ".join(failed[:_NAMED_IN_MESSAGE])
    more = "; ..." if len(failed) > _NAMED_IN_MESSAGE else ""
    return f"{len(failed)} of {count} targets are not as expected: {named}{more}"


def _one_line(result: t.Mapping[str, t.Any]) -> str:
    why = f" ({result['detail']})" if result["detail"] else ""
    return f"{result['host']}:{result['port']} {result['protocol']} is {result['status']}, not {result['expect']}{why}"


def _target(index: int, entry: t.Mapping[str, t.Any]) -> Target:
    target = Target(
        host=_host(index, entry),
        port=_port(index, entry),
        protocol=entry["protocol"],
        expect=entry["expect"],
        server_name=_server_name(index, entry),
        greeting=_greeting(index, entry),
        starttls=entry["tls"] != _BY_PROTOCOL,
    )
    if target.starttls and target.protocol not in STARTTLS:
        begins = "begins with TLS" if target.tls else "has no STARTTLS"
        remedy = f"leave the option out, or use one of {', '.join(STARTTLS)}"
        raise OptionError(f"targets[{index}].tls: {target.protocol} {begins} ({target.host}); {remedy}")
    if target.greeting is not None and target.speaks == "ldap":
        raise OptionError(f"targets[{index}].greeting: LDAP has no greeting ({target.host}); leave the option out")
    return target


def _host(index: int, entry: t.Mapping[str, t.Any]) -> str:
    host = _unbracketed(str(entry["host"]).strip())
    if not _is_name(host):
        raise OptionError(f"targets[{index}].host: {entry['host']!r} is no host name or address")
    if _ENDS_IN_NUMBER.search(host) and not _DOTTED.fullmatch(host):
        remedy = "write four decimal numbers up to 255 without leading zeros"
        raise OptionError(
            f"targets[{index}].host: {entry['host']!r} is read as different addresses by different libraries; {remedy}"
        )
    return host


# The last part of a name is never a number (RFC 3696 section 2), so such a text is meant as an address: what the
# libraries make of ``010``, ``0x7f`` or missing parts differs (octal in some of them), and another host would be asked.
_ENDS_IN_NUMBER = re.compile(r"(^|\.)(\d+|0x[0-9a-f]*)\.?$", re.IGNORECASE | re.ASCII)
_OCTET = r"(25[0-5]|2[0-4]\d|1\d\d|[1-9]?\d)"
_DOTTED = re.compile(rf"{_OCTET}(\.{_OCTET}){{3}}", re.ASCII)


def _unbracketed(text: str) -> str:
    """Return an IPv6 address without the brackets in which URLs have it."""
    inside = text[1:-1] if text.startswith("[") and text.endswith("]") else ""
    try:
        return str(ipaddress.IPv6Address(inside))
    except ValueError:
        return text


def _server_name(index: int, entry: t.Mapping[str, t.Any]) -> str | None:
    name: str | None = entry["server_name"]
    if name is not None and not _is_name(name):
        raise OptionError(f"targets[{index}].server_name: {name!r} is no host name")
    return name


def _is_name(text: str) -> bool:
    """Whether a text can be a name: not empty, without brackets, blanks or control characters such as NUL."""
    return bool(text) and text.isprintable() and not any(letter.isspace() or letter in "[]" for letter in text)


def _port(index: int, entry: t.Mapping[str, t.Any]) -> int:
    listener = LISTENERS.get(entry["protocol"])
    port: int | None = entry["port"]
    if port is None and listener is not None:
        port = listener.port
    if port is None:
        raise OptionError(f"targets[{index}].port: protocol tcp has no port of its own; give one for {entry['host']}")
    if not 1 <= port <= 65535:
        raise OptionError(f"targets[{index}].port: {port} for {entry['host']} is outside 1 to 65535")
    return port


def _greeting(index: int, entry: t.Mapping[str, t.Any]) -> str | None:
    pattern: str | None = entry["greeting"]
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise OptionError(f"targets[{index}].greeting: {pattern!r} is no regular expression: {error}") from error
    return pattern


def _seconds(params: t.Mapping[str, t.Any], name: str, *, least: float) -> float:
    seconds = float(params[name])
    if not least <= seconds <= _LONGEST_SECONDS:
        raise OptionError(f"{name}: {seconds:g} is outside {least:g} to {_LONGEST_SECONDS:g} seconds")
    return seconds


def _deadline(params: t.Mapping[str, t.Any], *, check_mode: bool) -> float:
    deadline = _seconds(params, "deadline", least=0.0)
    if params["check_mode_deadline"] is None:
        return deadline
    shorter = _seconds(params, "check_mode_deadline", least=0.0)
    return shorter if check_mode else deadline


def _address(params: t.Mapping[str, t.Any]) -> str | None:
    """Return the source address; a name would have to be looked up again for every connection."""
    address: str | None = params["source_address"]
    try:
        return None if address is None else str(ipaddress.ip_address(_unbracketed(address.strip())))
    except ValueError as error:
        raise OptionError(f"source_address: {address!r} is no IP address; names are not looked up") from error


def _concurrency(count: int) -> int:
    if not 1 <= count <= _MOST_CONNECTIONS:
        raise OptionError(f"concurrency: {count} is outside 1 to {_MOST_CONNECTIONS}")
    return count
