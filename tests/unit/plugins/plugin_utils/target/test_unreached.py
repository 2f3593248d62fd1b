# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What errors of the libraries mean: types and codes before words, and never a host's name.

The live tests of the symptoms show the same with servers; here are the forms that other releases and hosts have.
"""

from __future__ import annotations

import ssl
import typing as t

import pytest
from ansible.errors import AnsibleConnectionFailure
from pypsrp import exceptions as psrp
from requests import exceptions as requests
from spnego import exceptions as spnego
from winrm import exceptions as winrm

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.problems.advice import ADVICE
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import unreached
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.unreached import (
    cause_of,
    is_powershell_missing,
    signs_of,
    signs_of_text,
    silence_of,
)


def fault(code: str, subcode: str) -> str:
    """What pywinrm makes of a fault of a German host."""
    said = "Bad HTTP response returned from server. Code 500"
    data = f"'transport_message': '{said}', 'http_status_code': 500, 'wsmanfault_code': {code}"
    return f"ntlm: Zugriff verweigert (extended fault data: {{{data}, 'fault_subcode': '{subcode}'}})"


def gss(code: int) -> str:
    """What pykerberos makes of an error, in words of no language."""
    return f"kerberos: authGSSClientStep() failed: (('x', 851968), ('y', {code}))"


AWAY = "ntlm: HTTPConnectionPool(host='{host}', port=5985): Max retries exceeded with url: /wsman (Caused by {why})"
REFUSED = "NewConnectionError('<x>: Failed to establish a new connection: [Errno 111] Connection refused')"
TIMED_OUT = "ConnectTimeoutError(<x>, 'Connection to {host} timed out. (connect timeout=30)')"
BAD = "ntlm: Bad HTTP response returned from server. Code"
KINIT = "Kerberos auth failure for principal a@B: kinit:"
ALERT = r"plaintext: ('Connection aborted.', BadStatusLine('\x15\x03\x03\x00\x02\x02\x16'))"
NO_RECORD = "ssl: (Caused by SSLError(SSLError(1, '[SSL: RECORD_LAYER_FAILURE] record layer failure')))"
UNTRUSTED = "ssl: (Caused by SSLError(SSLCertVerificationError(1, '[SSL: CERTIFICATE_VERIFY_FAILED]')))"
DROPPED = "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))"

TEXTS = [
    (fault("5", "w:AccessDenied"), "not_administrator"),
    (fault("'5'", "w:AccessDenied"), "not_administrator"),  # pywinrm before 0.5
    (fault("2150859174", "w:QuotaLimit"), "quota_reached"),
    (fault("2150858811", "a:DestinationUnreachable"), "powershell_missing"),
    (fault("2150858778", "w:InternalError"), "not_winrm"),
    (f"{BAD} 400", "header_too_large"),
    (f"{BAD} 503", "not_winrm"),
    ("ssl: ('Connection aborted.', BadStatusLine('SSH-2.0-OpenSSH_9.2'))", "not_winrm"),
    (ALERT, "http_to_https"),
    (NO_RECORD, "https_to_http"),
    (UNTRUSTED, "certificate_refused"),
    ("ntlm: (Caused by ProxyError('Unable to connect to proxy', OSError('403')))", "proxy_in_the_way"),
    (f"{KINIT} Clock skew too great while getting initial credentials", "clock_skew"),
    (f"{KINIT} Cannot contact any KDC for realm 'B'", "no_kdc"),
    (f"{KINIT} Cannot find KDC for realm 'B'", "no_kdc"),
    ("Kerberos auth failure when calling kinit cmd 'kinit': [Errno 2] No such file", "no_kdc"),
    (f"{KINIT} Preauthentication failed", "login_refused"),
    (f"{KINIT} Client 'a@B' not found in Kerberos database", "login_refused"),
    (gss(-1765328377), "wrong_principal"),
    (gss(2529639053), "no_ticket"),
    (gss(-1765328230), "no_kdc"),
    ("kerberos: requested auth method is kerberos, but pykerberos is not installed", "kerberos_missing"),
    ("credssp: requests auth method is credssp, but requests-credssp is not installed", "credssp_missing"),
    ("The installed version of WinRM does not support transport(s) ['credssp']", "credssp_missing"),
    ("winrm or requests is not installed: No module named 'winrm'", "library_missing"),
    ("pypsrp or dependencies are not installed: No module named 'pypsrp'", "library_missing"),
    ("credssp: Received error status from the server: (3221225581) STATUS_LOGON_FAILURE 0xc000006d", "login_refused"),
    ("credssp: The server did not response CredSSP being an available authentication method", "credssp_disabled"),
    ("the connection attempt timed out", "host_unreachable"),
    ("ntlm: [Errno -2] Name or service not known", "host_unreachable"),
]


@pytest.mark.parametrize(("text", "code"), TEXTS)
def test_texts(text: str, code: str) -> None:
    assert cause_of(signs_of_text(text)) == code
    assert cause_of(signs_of(AnsibleConnectionFailure(text))) == code


@pytest.mark.parametrize(
    "host",
    ["ex401", "401.example.com", "quota1", "credssp", "kerberos-5", "code-500", "krb5.permission-denied.example"],
)
@pytest.mark.parametrize("why", [REFUSED, TIMED_OUT])
def test_the_name_of_a_host_decides_nothing(host: str, why: str) -> None:
    text = AWAY.format(host=host, why=why.format(host=host))
    way = {"address": host, "port": 5985, "scheme": "http"}
    assert cause_of(signs_of_text(text, way), way) == "host_unreachable"


@pytest.mark.parametrize("host", ["e", "error", "ssl", "ex"])
def test_a_short_name_takes_nothing_out_of_other_words(host: str) -> None:
    text = f"ntlm: HTTPSConnectionPool(host='{host}', port=5986): {UNTRUSTED}"
    assert cause_of(signs_of_text(text, {"address": host})) == "certificate_refused"


def wrapped(error: Exception) -> Exception:
    """An error as psrp's plugin raises it, while it handles the library's."""
    outer = AnsibleConnectionFailure(f"psrp connection failure during runspace open: {error}")
    outer.__context__ = error
    return outer


def not_parsed() -> Exception:
    """pypsrp's error for a page that is XML and no fault: the status is only in what it came from."""
    error = psrp.WSManFaultError(None, None, None, None, None, None)
    error.__context__ = psrp.WinRMTransportError("http", 404, "<html/>")
    return error


class GssError(Exception):
    """Shaped like python-gssapi's."""

    maj_code, min_code = 851968, 2529638949  # unsigned -1765328347


TYPES: list[tuple[Exception, str]] = [
    (psrp.AuthenticationError("Anmeldung"), "login_refused"),
    (psrp.WSManFaultError(5, "EX", "Zugriff verweigert", None, None, None), "not_administrator"),
    (psrp.WSManFaultError("w:AccessDenied", "EX", "Zugriff", None, None, None), "not_administrator"),
    (psrp.WSManFaultError(2150859174, "EX", "Kontingent", None, None, None), "quota_reached"),
    (psrp.WinRMTransportError("http", 400, "x"), "header_too_large"),
    (not_parsed(), "not_winrm"),
    (requests.SSLError(ssl.SSLCertVerificationError(1, "x")), "certificate_refused"),
    (requests.ProxyError("x"), "proxy_in_the_way"),
    (winrm.InvalidCredentialsError("x"), "login_refused"),
    (winrm.WSManFaultError(500, "m", "r", "Kontingent", wmierror_code=0x803381A6), "quota_reached"),
    (winrm.WinRMTransportError("http", 404, "x"), "not_winrm"),
    (spnego.NoCredentialError(context_msg="x"), "no_ticket"),
    (ImportError("GSSAPIProxy requires the Python gssapi library: No module named 'gssapi'"), "kerberos_missing"),
    (ImportError("No module named 'requests_credssp'"), "credssp_missing"),
    (GssError("Zeit"), "clock_skew"),
]


@pytest.mark.parametrize(("error", "code"), TYPES)
def test_types_and_codes(error: Exception, code: str) -> None:
    assert cause_of(signs_of(error)) == code
    assert cause_of(signs_of(wrapped(error))) == code


def test_an_error_that_came_from_itself_ends() -> None:
    error, other = ValueError("x"), KeyError("y")
    error.__context__, other.__context__ = other, error
    assert {"ValueError", "KeyError"} <= signs_of(error).kinds


@pytest.mark.parametrize(
    ("text", "way", "code"),
    [
        (DROPPED, {"scheme": "http", "port": 5986}, "http_to_https"),
        (DROPPED, {"scheme": "http", "port": 5985}, "host_unreachable"),
        (DROPPED, {"scheme": "https", "port": 5986}, "host_unreachable"),
        (DROPPED, {}, "host_unreachable"),
        (DROPPED, {"scheme": "http", "port": 5986, "proxy": "http://gate"}, "proxy_in_the_way"),
        (f"{BAD} 503", {"proxy": "http://gate"}, "proxy_in_the_way"),
        (f"{BAD} 404", {"proxy": "http://gate"}, "not_winrm"),
        (f"{BAD} 407", {}, "proxy_in_the_way"),
        ("ntlm: the specified credentials were rejected by the server", {"proxy": "http://gate"}, "login_refused"),
    ],
)
def test_how_it_was_connected_to_counts(text: str, way: dict[str, t.Any], code: str) -> None:
    assert cause_of(signs_of_text(text, way), way) == code


def test_every_cause_is_tested_and_has_its_advice() -> None:
    codes = {rule.code for rule in unreached._RULES}
    assert codes <= set(ADVICE)
    assert codes <= {code for dummy, code in TEXTS} | {code for dummy, code in TYPES}


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr", "missing"),
    [
        (1, "", "'powershell' is not recognized as an internal or external command,\r\n", True),
        (9009, "", "'powershell' n'est pas reconnu en tant que commande interne\r\n", True),
        (1, "", 'Der Befehl "powershell" ist entweder falsch geschrieben oder', True),
        (0, "", "'powershell'", False),
        (1, "", "#< CLIXML <S>'powershell' is blocked</S>", False),
        (1, "out", "'powershell' is not recognized", False),
        (1, "", "Access is denied.", False),
    ],
)
def test_what_cmd_says_of_a_missing_powershell(rc: int, stdout: str, stderr: str, missing: bool) -> None:
    assert is_powershell_missing(rc, stdout, stderr) is missing


LIMITED = "+ FullyQualifiedErrorId : MethodInvocationNotSupportedInConstrained\r\n   Language"


@pytest.mark.parametrize(
    ("rc", "stdout", "stderr", "code"),
    [
        (1, "", LIMITED, "constrained_language"),
        (1, "", "<S>CannotCreateTypeConstrained_x000D__x000A_Language</S>", "constrained_language"),
        (1, "", "+ FullyQualifiedErrorId : ScriptsNotAllowed", "constrained_language"),
        (0, "Welcome\r\n", "", "printed_instead"),
        (0, " \r\n", "", "no_answer"),
        (1, "Welcome\r\n", "broken", "no_answer"),
    ],
)
def test_why_a_command_left_no_answer(rc: int, stdout: str, stderr: str, code: str) -> None:
    assert silence_of(rc, stdout, stderr) == code
