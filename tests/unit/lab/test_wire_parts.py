# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The parts of the lab's wire on their own: message encryption, logins, command lines, durations, certificates."""

from __future__ import annotations

import base64
import hashlib
import os
import ssl
import struct
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from pathlib import Path

import pytest
import spnego
from hypothesis import given
from hypothesis import strategies as st
from spnego.channel_bindings import GssChannelBindings

from tests.lab.wire import wsman
from tests.lab.wire.api import POINTS, Action, Binding, Call, Emit, Fault
from tests.lab.wire.auth import Accounts, Continue, Granted, Identity, Login, LoginError
from tests.lab.wire.certificates import CertificateAuthority
from tests.lab.wire.execution import encoded_script
from tests.lab.wire.sealing import CREDSSP_CHUNK, SealError, is_sealed, seal, unseal
from tests.lab.wire.server import WireServer
from tests.lab.wire.threaded import running
from tests.unit.lab.wire_support import raw_request

ENVELOPE = """<s:Envelope xmlns:s="http://www.w3.org/2003/05/soap-envelope"
 xmlns:a="http://schemas.xmlsoap.org/ws/2004/08/addressing" xmlns:w="http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd">
<s:Header><a:Action>{action}</a:Action><a:MessageID>uuid:1</a:MessageID><w:ResourceURI>r</w:ResourceURI>
<w:OperationTimeout>PT1M2.5S</w:OperationTimeout><w:MaxEnvelopeSize>512000</w:MaxEnvelopeSize>
<w:SelectorSet><w:Selector Name="ShellId">ABC</w:Selector></w:SelectorSet>
<w:OptionSet><w:Option Name="X">TRUE</w:Option><w:Option Name="EMPTY"/></w:OptionSet>
</s:Header><s:Body/></s:Envelope>"""


class XorSealer:
    """A sealer with a header of its own length, so that framing is tested apart from cryptography."""

    def __init__(self, header: bytes) -> None:
        self.header = header

    def wrap_winrm(self, data: bytes) -> tuple[bytes, bytes, int]:
        return self.header, bytes(byte ^ 0x55 for byte in data), 0

    def unwrap_winrm(self, header: bytes, data: bytes) -> bytes:
        assert header == self.header
        return bytes(byte ^ 0x55 for byte in data)


class TestSealing:
    @given(
        message=st.binary(min_size=1, max_size=3 * CREDSSP_CHUNK),
        header=st.binary(max_size=40),
        credssp=st.booleans(),
    )
    def test_what_is_sealed_can_be_opened(self, message: bytes, header: bytes, credssp: bool) -> None:
        sealer = XorSealer(header)
        content_type, body = seal(message, sealer, credssp=credssp)
        assert is_sealed(content_type)
        assert ("x-multi" in content_type) == (credssp and len(message) > CREDSSP_CHUNK)
        assert unseal(body, sealer) == message

    @given(st.binary(max_size=300))
    def test_anything_else_is_an_error(self, body: bytes) -> None:
        with pytest.raises(SealError):
            unseal(body, XorSealer(b""))

    def test_announced_length_is_checked(self) -> None:
        body = seal(b"message", XorSealer(b"sig"), credssp=False)[1]
        with pytest.raises(SealError, match="7 bytes where 8 were announced"):
            unseal(body.replace(b"Length=7", b"Length=8"), XorSealer(b"sig"))

    def test_truncated_parts(self) -> None:
        body = seal(b"message", XorSealer(b"sig"), credssp=False)[1]
        with pytest.raises(SealError, match="no end"):
            unseal(body.removesuffix(b"--Encrypted Boundary--\r\n"), XorSealer(b"sig"))
        head = body.partition(b"octet-stream\r\n")[0] + b"octet-stream\r\n"
        with pytest.raises(SealError, match="shorter"):
            unseal(head + b"ab--Encrypted Boundary--\r\n", XorSealer(b"sig"))


@pytest.fixture
def accounts(tmp_path: Path) -> Accounts:
    """Three spellings of accounts."""
    return Accounts({"admin": "pässword", "LAB\\operator": "two", "me@lab.test": "three"}, tmp_path)


def ntlm_login(login: Login, user: str, password: str, bindings: GssChannelBindings | None = None) -> Granted:
    """Log in as an NTLM client does, over as many steps as it takes."""
    options = spnego.NegotiateOptions.use_ntlm
    client = spnego.client(user, password, protocol="ntlm", channel_bindings=bindings, options=options)
    token = client.step()
    while token is not None:
        step = login.step(f"Negotiate {base64.b64encode(token).decode()}")
        if isinstance(step, Granted):
            return step
        assert isinstance(step, Continue)
        token = client.step(base64.b64decode(step.challenge.partition(" ")[2]))
    raise AssertionError("the client was done before the server")


class TestLogin:
    @pytest.mark.parametrize(
        ("user", "password", "known"),
        [
            ("ADMIN", "pässword", "admin"),
            ("lab\\Operator", "two", "LAB\\operator"),
            ("me@lab.test", "three", "me@lab.test"),
        ],
    )
    def test_ntlm(self, accounts: Accounts, user: str, password: str, known: str) -> None:
        login = Login(accounts, tls=False)
        ntlm_login(login, user, password)
        assert login.identity == Identity(known, "ntlm")
        assert login.sealer is not None

    def test_environment_is_left_as_it_was(self, accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("NTLM_USER_FILE", "/of/somebody/else")
        ntlm_login(Login(accounts, tls=False), "admin", "pässword")
        assert os.environ["NTLM_USER_FILE"] == "/of/somebody/else"
        monkeypatch.delenv("NTLM_USER_FILE")
        ntlm_login(Login(accounts, tls=False), "admin", "pässword")
        assert "NTLM_USER_FILE" not in os.environ

    def test_accounts_are_for_their_owner_only(self, accounts: Accounts, tmp_path: Path) -> None:
        assert [path.stat().st_mode & 0o777 for path in tmp_path.iterdir()] == [0o600]

    def test_channel_binding(self, accounts: Accounts) -> None:
        login = Login(accounts, tls=True, endpoint_hash=b"h" * 32)
        right = GssChannelBindings(application_data=b"tls-server-end-point:" + b"h" * 32)
        ntlm_login(login, "admin", "pässword", right)
        assert login.identity is not None
        wrong = GssChannelBindings(application_data=b"tls-server-end-point:" + b"x" * 32)
        with pytest.raises(LoginError, match="bindings do not match"):
            ntlm_login(login, "admin", "pässword", wrong)
        assert login.identity is None

    def test_basic_proves_itself_with_every_request(self, accounts: Accounts) -> None:
        login = Login(accounts, tls=True)
        good, bad = (base64.b64encode(f"admin:{word}".encode()).decode() for word in ("pässword", "no"))
        assert login.step(f"Basic {good}") == Granted("")
        assert login.identity == Identity("admin", "basic")
        assert login.sealer is None
        with pytest.raises(LoginError, match="wrong password for 'admin'"):
            login.step(f"Basic {bad}")
        assert login.identity is None

    def test_a_login_may_start_over(self, accounts: Accounts) -> None:
        login = Login(accounts, tls=False)
        with pytest.raises(LoginError):
            ntlm_login(login, "admin", "wrong")
        ntlm_login(login, "admin", "pässword")
        ntlm_login(login, "lab\\operator", "two")
        assert login.identity == Identity("LAB\\operator", "ntlm")

    @pytest.mark.parametrize("password", ["a:b", "a\nb"])
    def test_passwords_that_the_file_cannot_hold(self, tmp_path: Path, password: str) -> None:
        with pytest.raises(ValueError, match="'admin'"):
            Accounts({"admin": password}, tmp_path)


def encoded(text: str) -> str:
    """What stands behind -EncodedCommand."""
    return base64.b64encode(text.encode("utf-16-le")).decode()


class TestEncodedScript:
    @pytest.mark.parametrize(
        "line",
        [
            "powershell -encodedcommand {}",
            "PowerShell -NoProfile -NonInteractive -ExecutionPolicy Unrestricted -EncodedCommand {}",
            "powershell.exe -enc {}",
            "pwsh -e {}",
            "pwsh -EC {}",
            '"C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe" -NoProfile -EncodedCommand "{}"',
            "C:\\Windows\\System32\\WindowsPowerShell\\v1.0\\powershell.exe  -EncodedComm  {} ",
        ],
    )
    def test_is_found(self, line: str) -> None:
        assert encoded_script(line.format(encoded("Get-Date \u20ac"))) == "Get-Date \u20ac"

    @pytest.mark.parametrize(
        "line",
        [
            "hostname",
            "powershell Get-Date",
            "powershell -EncodedCommand",
            "powershell -EncodedCommand !!!",
            "powershell -EncodedCommand QUI=QQ==",
            "notpowershell -enc QQBB",
            "powershell -executionpolicy QQBB",
            "powershell -EncodedCommand QUJD",
            "",
        ],
    )
    def test_is_not_seen_elsewhere(self, line: str) -> None:
        assert encoded_script(line) is None

    @given(st.text(max_size=2000))
    def test_any_script(self, script: str) -> None:
        if script:
            assert encoded_script(f"powershell -NoProfile -EncodedCommand {encoded(script)}") == script


class TestMessages:
    def test_header_is_read(self) -> None:
        message = wsman.parse(ENVELOPE.format(action=f"{wsman.SHELL}/Receive").encode())
        assert (message.operation, message.message_id, message.resource) == ("receive", "uuid:1", "r")
        assert (message.timeout_s, message.envelope_bytes) == (62.5, 512000)
        assert (message.selectors, message.options) == ({"ShellId": "ABC"}, {"X": "TRUE", "EMPTY": ""})
        assert wsman.parse(ENVELOPE.format(action="unknown").encode()).operation == ""

    @pytest.mark.parametrize("data", [b"", b"<a/>", b"\xff", ENVELOPE.replace("s:Body", "s:Other").encode()])
    def test_what_is_no_envelope(self, data: bytes) -> None:
        with pytest.raises(wsman.FaultError) as raised:
            wsman.parse(data)
        assert raised.value.fault.code == wsman.SCHEMA_VALIDATION

    @pytest.mark.parametrize(
        ("text", "seconds"),
        [("PT20S", 20), ("PT1H", 3600), ("P1DT1M", 86460), ("PT0.5S", 0.5), ("180", 180), ("", 7), ("soon", 7)],
    )
    def test_durations(self, text: str, seconds: float) -> None:
        assert wsman.seconds(text, default=7) == seconds

    @given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "S", "Zs"))))
    def test_faults_are_well_formed_whatever_they_say(self, text: str) -> None:
        for code in (5, wsman.QUOTA_MAX_OPERATIONS):
            root = ET.fromstring(wsman.fault_answer(text, Fault(code, text)))
            reason = root.find(f".//{{{wsman.SOAP}}}Text")
            assert reason is not None
            assert (reason.text or "") == text


class TestCertificates:
    def test_an_address_has_one_certificate_of_its_own(self, tmp_path: Path) -> None:
        authority = CertificateAuthority(tmp_path)
        identity = authority.identity("127.0.3.1")
        assert authority.identity("127.0.3.1") is identity
        assert identity.endpoint_hash != authority.identity("127.0.3.2").endpoint_hash

    def test_a_strict_client_trusts_the_authority(self, tmp_path: Path) -> None:
        authority = CertificateAuthority(tmp_path)
        client = ssl.create_default_context(cafile=str(authority.ca_file))
        client.verify_flags |= ssl.VERIFY_X509_STRICT
        there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
        server_side = authority.identity("127.0.3.1").context.wrap_bio(there, back, server_side=True)
        client_side = client.wrap_bio(back, there, server_hostname="127.0.3.1")
        for dummy in range(4):
            for side in (client_side, server_side):
                try:
                    side.do_handshake()
                except ssl.SSLWantReadError:
                    continue
        certificate = client_side.getpeercert(binary_form=True)
        assert certificate is not None
        assert hashlib.sha256(certificate).digest() == authority.identity("127.0.3.1").endpoint_hash
        assert (client_side.getpeercert() or {})["subjectAltName"] == (("IP Address", "127.0.3.1"),)


class Silent:
    """Prints nothing."""

    async def run(self, call: Call, emit: Emit) -> int:
        return 0


class BrokenGate:
    """Fails where it is asked."""

    async def at(self, point: str, host: str, detail: Mapping[str, str]) -> Action:
        raise LookupError(point)


class TestServer:
    def test_a_mistake_of_the_gate_is_kept(self) -> None:
        server = WireServer(Silent(), {}, BrokenGate())
        with running(server, [Binding("127.0.0.1", 0, None)]):
            port = server.endpoints["127.0.0.1"].http_port
            assert raw_request(port or 0, b"") == b""
            assert [(failure.host, str(failure.error)) for failure in server.failures] == [("127.0.0.1", "connect")]

    @pytest.mark.parametrize(
        ("bindings", "error"),
        [
            ([Binding("192.0.2.1", 0, 0)], "192.0.2.1 is not a loopback address"),
            ([Binding("127.0.0.1", 0, 0), Binding("127.0.0.1", 0, 0)], "127.0.0.1 is bound twice"),
        ],
    )
    def test_bindings_that_are_refused(self, bindings: list[Binding], error: str) -> None:
        server = WireServer(Silent(), {})
        with pytest.raises(ValueError, match=error), running(server, bindings):
            pass

    def test_a_port_that_is_taken_leaves_nothing_behind(self) -> None:
        first = WireServer(Silent(), {})
        with running(first, [Binding("127.0.0.1", 0, None)]):
            taken = first.endpoints["127.0.0.1"].http_port
            second = WireServer(Silent(), {})
            with pytest.raises(OSError), running(second, [Binding("127.0.0.2", 0, 0), Binding("127.0.0.1", taken)]):
                pass
            assert second.endpoints == {}
            with pytest.raises(RuntimeError, match="has not been started"):
                second.ca_file.exists()

    def test_schemes_that_are_not_wanted_are_not_served(self, tmp_path: Path) -> None:
        server = WireServer(Silent(), {}, directory=tmp_path)
        with running(server, [Binding("127.0.0.1", 0, None), Binding("127.0.0.2", None, 0)]):
            assert server.endpoints["127.0.0.1"].https_port is None
            assert server.endpoints["127.0.0.2"].http_port is None
            folder = server.ca_file.parent
            assert folder.parent == tmp_path
        assert list(tmp_path.iterdir()) == []

    def test_points_are_the_operations_that_change_something(self) -> None:
        operations = {point.partition(".")[0] for point in POINTS if "." in point}
        assert operations == set(wsman.ACTIONS.values()) - {"get"}

    def test_struct_of_a_part(self) -> None:
        body = seal(b"m", XorSealer(b"12345"), credssp=False)[1]
        assert body.partition(b"octet-stream\r\n")[2][:4] == struct.pack("<i", 5)
