# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Why a host was not reached: what a failed connection shows, and the one cause that it names.

Types and codes decide first. Ansible's winrm keeps nothing of an error but its text, in which the libraries name types
and codes in one form whatever the language of the host; words are looked at last, without the host's own name in them.
"""

from __future__ import annotations

import re
import typing as t
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

Way = Mapping[str, t.Any]
"""How the host is connected to: ``address``, ``port``, ``scheme``, ``auth``, ``proxy``, as far as known."""


@dataclass(frozen=True)
class Signs:
    """What an error shows.

    Attributes:
        kinds: Names of the types of the error, of what it came from, and of what its text tells it came from.
        status: HTTP status, None when none is told.
        faults: Codes of WS-Management and WMI faults (WSManFault, MSFT_WmiError).
        subcode: Subcode of the SOAP fault, such as ``w:AccessDenied``.
        tls: OpenSSL's name of what is wrong with TLS.
        kerberos: Numbers of Kerberos errors, counted from the start of MIT's table.
        text: All texts, without the host's name.
    """

    kinds: frozenset[str] = frozenset()
    status: int | None = None
    faults: frozenset[int] = frozenset()
    subcode: str = ""
    tls: str = ""
    kerberos: frozenset[int] = frozenset()
    text: str = ""


# How the libraries write types and codes into their texts: requests and urllib3, pywinrm (a dictionary's repr, numbers
# with or without quotes), pypsrp, OpenSSL, pykerberos and python-gssapi (signed or unsigned).
_KIND = re.compile(r"\b([A-Z]\w*(?:Error|Timeout|Exception|StatusLine|Disconnected))\(")
_STATUS = re.compile(r"(?:Bad HTTP response returned from (?:the )?server\. Code:? |'http_status_code': '?)(\d{3})\b")
_FAULT = re.compile(r"(?:'wsmanfault_code': '?|WSManFault message\. \(Code: )(\d{1,10})\b")
_SUBCODE = re.compile(r"'fault_subcode': '([\w:]+)'")
_TLS = re.compile(r"\[SSL: (\w+)\]")
_KERBEROS = re.compile(r"-17653\d{5}|25296\d{5}")

_KERBEROS_TABLE = -1765328384  # ERROR_TABLE_BASE_krb5, in which MIT's error codes begin
_MOST_KERBEROS = 256


def signs_of_text(text: str, way: Way | None = None) -> Signs:
    """Read an error of which only the text is left.

    Args:
        text: What the connection plugin said.
        way: How the host was connected to.
    """
    plain = _without_name(text, way or {})
    status = _STATUS.search(plain)
    tls = _TLS.search(plain)
    subcode = _SUBCODE.search(plain)
    return Signs(
        kinds=frozenset(_KIND.findall(plain)),
        status=int(status[1]) if status else None,
        faults=frozenset(int(code) for code in _FAULT.findall(plain)),
        subcode=subcode[1] if subcode else "",
        tls=tls[1] if tls else "",
        kerberos=frozenset(_offsets(int(number) for number in _KERBEROS.findall(plain))),
        text=plain,
    )


def signs_of(error: BaseException, way: Way | None = None) -> Signs:
    """Read an error and everything that it came from.

    Args:
        error: What the connection plugin raised.
        way: How the host was connected to.
    """
    chain: list[t.Any] = list(_chain(error))
    texts = signs_of_text("\n".join(str(each) for each in chain), way)
    kinds = {kind.__name__ for each in chain for kind in type(each).__mro__}
    numbers = [number for each in chain for number in _numbers(each)]
    statuses = [
        each.code for each in chain if type(each).__name__ == "WinRMTransportError" and _is_number(each, "code")
    ]
    return Signs(
        kinds=texts.kinds | kinds,
        status=statuses[0] if statuses else texts.status,
        faults=texts.faults | frozenset(number for number in numbers if number > 0),
        subcode=texts.subcode or next((each.code for each in chain if _is_subcode(each)), ""),
        tls=texts.tls or next((str(each.reason) for each in chain if _is_tls(each)), ""),
        kerberos=texts.kerberos | frozenset(_offsets(_minor_codes(chain))),
        text=texts.text,
    )


def _without_name(text: str, way: Way) -> str:
    """Leave out the host's own name: ``ex401`` is no status."""
    address = str(way.get("address") or "")
    return re.sub(rf"(?<![\w-]){re.escape(address)}(?![\w-])", "HOST", text, flags=re.I) if address else text


def _chain(error: BaseException) -> Iterator[BaseException]:
    """Yield an error, what it was raised from or because of, and what it carries: requests wraps in its arguments."""
    waiting: list[t.Any] = [error]
    seen: list[int] = []
    while waiting:
        each = waiting.pop(0)
        if isinstance(each, BaseException) and id(each) not in seen:
            seen.append(id(each))
            yield each
            carried = (getattr(each, "reason", None), getattr(each, "base_error", None))
            waiting += [each.__cause__, each.__context__, *each.args, *carried]


def _numbers(error: t.Any) -> Iterator[int]:
    """Yield a fault's codes; pypsrp's is in ``code``, where pywinrm has the HTTP status."""
    if type(error).__name__ == "WSManFaultError":
        names = ("wsman_fault_code", "wmierror_code") if hasattr(error, "wsman_fault_code") else ("code",)
        yield from (getattr(error, name) for name in names if _is_number(error, name))


def _minor_codes(chain: list[t.Any]) -> Iterator[int]:
    """Yield the codes of python-gssapi's errors and of krb5's."""
    return (getattr(error, name) for error in chain for name in ("min_code", "err_code") if _is_number(error, name))


def _is_number(error: t.Any, name: str) -> bool:
    return isinstance(getattr(error, name, None), int)


def _is_subcode(error: t.Any) -> bool:
    return type(error).__name__ == "WSManFaultError" and isinstance(error.code, str)


def _is_tls(error: t.Any) -> bool:
    return any(kind.__name__ == "SSLError" for kind in type(error).__mro__) and isinstance(
        getattr(error, "reason", None), str
    )


def _offsets(numbers: t.Iterable[int]) -> Iterator[int]:
    """Count Kerberos' error codes from the start of their table; python-gssapi gives them unsigned."""
    for number in numbers:
        offset = (number if number < 0 else number - (1 << 32)) - _KERBEROS_TABLE
        if 0 <= offset < _MOST_KERBEROS:
            yield offset


# ERROR_WSMAN_QUOTA_MAX_SHELLS, _MAX_SHELLUSERS, _MAX_OPERATIONS, _USER, _SYSTEM, _MAX_SHELLS_PPQ, _MAX_PLUGINSHELLS ...
_QUOTA = frozenset(range(0x803381A5, 0x803381AF))
_ACCESS_DENIED = frozenset({5, 0x80070005})  # ERROR_ACCESS_DENIED, and the same as an HRESULT
# ERROR_WSMAN_INVALID_RESOURCE_URI: nobody has registered PowerShell's endpoint; 2: its host process is not there.
_NO_ENDPOINT = frozenset({2150858811, 2})

# OpenSSL's reasons for what is no TLS record.
_NO_TLS = frozenset(
    {"WRONG_VERSION_NUMBER", "UNKNOWN_PROTOCOL", "HTTP_REQUEST", "PACKET_LENGTH_TOO_LONG", "RECORD_LAYER_FAILURE"}
)
# Kerberos errors by their number (RFC 4120 section 7.5.9; above 128 MIT's own: no ticket, no KDC, no realm).
_SKEW = frozenset({37})
_NO_PRINCIPAL = frozenset({7})
_NO_TICKET = frozenset({32, 141, 195})
_NO_KDC = frozenset({154, 156, 220})

_LOST = frozenset({"RemoteDisconnected", "ConnectionResetError", "ConnectionAbortedError"})
_CLEAR_TEXT_ON_TLS = re.compile(r"BadStatusLine\(['\"]\\x15\\x03")  # a TLS alert instead of HTTP
_HTTPS_PORT = 5986
_HTTP_PORT = 5985
_STUMBLES = frozenset({"BadStatusLine", "ParseError", "LineTooLong", "KeyError"})
"""What Python and the libraries raise over an answer that is none of WS-Management."""
_GATEWAY = frozenset({403, 502, 503, 504})
"""What a proxy answers for a host that it does not want to, or cannot, reach."""


@dataclass(frozen=True)
class _Rule:
    """One cause, and what shows it."""

    code: str
    shows: Callable[[Signs, Way], bool]


def _said(pattern: str) -> Callable[[Signs, Way], bool]:
    compiled = re.compile(pattern, re.I | re.S)
    return lambda signs, _way: bool(compiled.search(signs.text))


def _missing(library: str) -> Callable[[Signs, Way], bool]:
    """A library that the plugin wants: an ImportError, or words of Ansible's own, which no host translates."""
    named = _said(library)
    absent = _said(r"not installed|No module named|requires the Python|does not support transport")
    return lambda signs, way: named(signs, way) and ("ImportError" in signs.kinds or absent(signs, way))


def _lost_in_clear(signs: Signs, way: Way) -> bool:
    """HTTP that a port for HTTPS was asked: an alert comes back, or the connection is dropped without a word."""
    if _CLEAR_TEXT_ON_TLS.search(signs.text):
        return True
    return way.get("scheme") == "http" and way.get("port") != _HTTP_PORT and bool(signs.kinds & _LOST)


def _proxied(signs: Signs, way: Way) -> bool:
    if "ProxyError" in signs.kinds or signs.status == 407:
        return True
    return bool(way.get("proxy")) and (signs.status in _GATEWAY or signs.status is None)


# The first that shows decides: what the host itself says with a number, then what the libraries say by type and number,
# then words. Of words those of libraries come first; Windows' are in its own language and decide nothing.
_RULES: tuple[_Rule, ...] = (
    _Rule("quota_reached", lambda signs, _way: bool(signs.faults & _QUOTA)),
    _Rule("not_administrator", lambda signs, _way: bool(signs.faults & _ACCESS_DENIED)),
    _Rule("not_administrator", lambda signs, _way: signs.subcode == "w:AccessDenied"),
    _Rule("powershell_missing", lambda signs, _way: bool(signs.faults & _NO_ENDPOINT)),
    _Rule("certificate_refused", lambda signs, _way: signs.tls == "CERTIFICATE_VERIFY_FAILED"),
    _Rule("certificate_refused", lambda signs, _way: bool(signs.kinds & {"SSLCertVerificationError"})),
    _Rule("https_to_http", lambda signs, _way: signs.tls in _NO_TLS),
    _Rule("clock_skew", lambda signs, _way: bool(signs.kerberos & _SKEW)),
    _Rule("wrong_principal", lambda signs, _way: bool(signs.kerberos & _NO_PRINCIPAL)),
    _Rule("no_ticket", lambda signs, _way: bool(signs.kerberos & _NO_TICKET)),
    _Rule("no_ticket", lambda signs, _way: bool(signs.kinds & {"NoCredentialError", "CredentialsExpiredError"})),
    _Rule("no_kdc", lambda signs, _way: bool(signs.kerberos & _NO_KDC)),
    _Rule("credssp_missing", _missing("credssp")),
    _Rule("kerberos_missing", _missing("kerberos|gssapi|krb5")),
    _Rule("library_missing", _missing("winrm|requests|xmltodict|pypsrp")),
    _Rule("credssp_disabled", _said(r"CredSSP being an available authentication method")),
    _Rule("clock_skew", _said(r"clock skew too great")),
    _Rule("wrong_principal", _said(r"server not found in kerberos database")),
    _Rule("no_ticket", _said(r"no credentials cache|no kerberos credentials|ticket expired|matching credential not")),
    _Rule("no_kdc", _said(r"cannot (contact any|find) kdc|cannot resolve .*realm|'kinit': \[Errno 2\]")),
    _Rule("login_refused", lambda signs, _way: signs.status == 401),
    _Rule("login_refused", lambda signs, _way: bool(signs.kinds & {"AuthenticationError", "InvalidCredentialsError"})),
    _Rule(
        "login_refused",
        _said(
            r"credentials were rejected|failed to authenticate|Kerberos auth failure|permission denied|"
            r"STATUS_(LOGON_FAILURE|ACCOUNT_|PASSWORD_|INVALID_(LOGON_HOURS|WORKSTATION))"
        ),
    ),
    _Rule("quota_reached", _said(r"quota|maximum number of concurrent (shells|operations)")),
    _Rule("proxy_in_the_way", _proxied),
    _Rule("http_to_https", _lost_in_clear),
    _Rule("header_too_large", lambda signs, _way: signs.status in (400, 431)),
    _Rule("not_winrm", lambda signs, _way: signs.status is not None),
    _Rule("not_winrm", lambda signs, _way: bool(signs.kinds & _STUMBLES)),
    # Of an answer without a login pywinrm says that it has no context, of one that is no XML nothing at all.
    _Rule(
        "not_winrm",
        _said(r"Expected content type|related id does not match|\A\s*\w+:\s*\Z|'NoneType' object has no attribute '"),
    ),
)


def cause_of(signs: Signs, way: Way | None = None) -> str:
    """Return the code of the cause, ``host_unreachable`` where nothing shows another.

    Args:
        signs: What the error shows.
        way: How the host was connected to.
    """
    return next((rule.code for rule in _RULES if rule.shows(signs, way or {})), "host_unreachable")


# --- a command that ran and did not answer --------------------------------------------------------------------------

# cmd.exe quotes what it does not know, in any language; the letters are the quotes of German, French and English.
_NOT_RECOGNISED = re.compile("['\"\u00ab\u201e\u201c]powershell['\"\u00bb\u201c\u201d]", re.I)
_LANGUAGE_MODE = re.compile(r"(Constrained|Restricted|No)Language|ScriptsNotAllowed")
# How a console of 80 columns and CLIXML break a line.
_BREAKS = re.compile(r"_x000[DA]_|\s+")


def is_powershell_missing(rc: int, stdout: str, stderr: str) -> bool:
    """Whether the host's command interpreter does not know PowerShell, so that nothing ran at all."""
    return rc != 0 and not stdout.strip() and "CLIXML" not in stderr and bool(_NOT_RECOGNISED.search(stderr))


def silence_of(rc: int, stdout: str, stderr: str) -> str:
    """Return the code of why a command left no answer.

    Args:
        rc: Its exit code.
        stdout: What it wrote that is no answer, not even the beginning of one.
        stderr: What it wrote there; PowerShell's errors have an identifier that no language changes.
    """
    if _LANGUAGE_MODE.search(_BREAKS.sub("", stderr)):
        return "constrained_language"
    return "printed_instead" if rc == 0 and stdout.strip() else "no_answer"
