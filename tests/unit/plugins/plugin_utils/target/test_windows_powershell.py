# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What Windows PowerShell 5.1 and .NET Framework do otherwise than PowerShell 7, as far as it can be held here.

Its texts are written down as it writes them; the script is looked at for what would differ there.
"""

from __future__ import annotations

import json
import re
import typing as t
from dataclasses import dataclass, field

import pytest

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.errors import TargetError
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.script import (
    begin_marker,
    end_marker,
    loader,
    parse_answer,
    payload,
    source,
)
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target.session import Execution
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.tasks.wspcfg import ask
from tests.support import inspections

NONCE = "0123456789abcdef"
CODE: t.Final = "\n".join(line for line in source().splitlines() if not line.strip().startswith("#"))


def heard(body: str) -> dict[str, t.Any]:
    return parse_answer(f"{begin_marker(NONCE)}\r\n{body}\r\n{end_marker(NONCE)}\r\n", NONCE)


# --- what it writes ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("written", "means"),
    [
        (r'{"a":"\u003cb\u003e \u0026 \u0027c\u0027"}', {"a": "<b> & 'c'"}),  # JavaScriptSerializer's escapes
        (r'{"a":"C:\\exchsrvr\\bin\/x"}', {"a": "C:\\exchsrvr\\bin/x"}),
        (r'{"a":"\ud83d\ude00 \u00fc"}', {"a": "\U0001f600 \u00fc"}),
        (r'{"a":"\ud83d"}', {"a": "\ud83d"}),  # half of a pair, as a file name may hold it
        (
            '{"a":946728000.5,"b":1E+15,"c":2147483648}',
            {"a": 946728000.5, "b": 1e15, "c": 2**31},
        ),
        ('{"a":[1],"b":[],"c":[[1]],"d":[null],"e":{}}', {"a": [1], "b": [], "c": [[1]], "d": [None], "e": {}}),
        ('{"a":null,"b":true,"c":""}', {"a": None, "b": True, "c": ""}),
        ('{\r\n    "a":  [\r\n              1\r\n          ]\r\n}', {"a": [1]}),  # without -Compress
    ],
)
def test_its_json_is_read(written: str, means: dict[str, t.Any]) -> None:
    assert heard(written) == means


@dataclass
class Odd(inspections.Replay):
    """A server that writes one part of its answer as Windows PowerShell would if the script let it."""

    part: dict[str, t.Any] = field(default_factory=dict)

    def execute(self, command: str, stdin: str) -> Execution:
        told = super().execute(command, stdin)
        nonce, dummy = inspections.sent_in(stdin)
        return inspections.spoken({**parse_answer(told.stdout, nonce), **self.part}, nonce)


@pytest.mark.parametrize(
    "part",
    [
        {"services": "System.Collections.Hashtable"},  # deeper than -Depth
        {"services": ["@{name=MSExchangeIS; exists=True}"]},
        {"services": {"value": [], "Count": 0}},  # an array with properties of its own
        {"services": {"name": "MSExchangeIS"}},  # a list of one that was unrolled
        {"records": [{"service": "MSExchangeIS", "process": "/Date(946684800000)/"}]},  # a date
        {"files": "System.Object[]"},
    ],
    ids=lambda part: str(part)[:40],
)
def test_what_it_writes_otherwise_is_a_wrong_answer_and_no_traceback(part: dict[str, t.Any]) -> None:
    with pytest.raises(TargetError) as caught:
        ask(inspections.session(Odd(part=part)), {})
    assert caught.value.code == "wrong_answer"


def test_an_error_that_repeats_its_input_is_cut() -> None:
    """ConvertFrom-Json of Windows PowerShell tells the whole text that it cannot read, up to 2 MiB of it."""
    repeated = "ConvertFrom-Json : Invalid object passed in, ':' or '}' expected. (1): " + "x" * 2_000_000

    class Broken(inspections.Replay):
        def execute(self, command: str, stdin: str) -> Execution:
            return Execution(1, "", repeated)

    with pytest.raises(TargetError) as caught:
        ask(inspections.session(Broken()), {})
    assert len(str(caught.value)) < 1000 and len(json.dumps(caught.value.detail)) < 2000


# --- what it reads ----------------------------------------------------------------------------------------------------


def test_every_request_of_a_restart_stays_below_what_it_reads_as_one_text() -> None:
    """JavaScriptSerializer takes 2,097,152 characters; the largest script with a hundred services is far below."""
    row = {"name": "x" * 256, "role": "dependent", "depends_on": ["y" * 256] * 10, "file": "z" * 260}
    request = {"op": "restart", "computer": None, "services": [{**row, "file_sha256": "0" * 64}] * 100}
    assert len(payload(request, NONCE)) < 2_097_152 / 2


def test_nothing_relies_on_what_only_one_of_them_does() -> None:
    for call in re.findall(r"ConvertTo-Json[^)]*", CODE):
        assert "-Compress" in call and "-Depth" in call and "-InputObject" in call, call
    assert "|ConvertTo-Json" not in CODE.replace(" ", ""), "a pipe unrolls a list of one"
    # The default of -Encoding differs from cmdlet to cmdlet, and between the two; files are bytes here.
    for cmdlet in ("Get-Content ", "Set-Content", "Out-File", "Add-Content", "Export-", "Import-"):
        assert cmdlet not in CODE + loader()
    # .NET Framework's encoding of that name is the machine's code page, that of .NET is UTF-8.
    assert "Encoding]::Default" not in CODE and "ReadAllText" not in CODE and "WriteAllText" not in CODE


_TIMES: t.Final = r"UtcNow|LastWriteTimeUtc|TimeGenerated|get_StartTime\(\)|GetLastWriteTimeUtc"


def test_no_date_is_left_for_json() -> None:
    """Windows PowerShell writes a date as /Date(...)/, PowerShell 7 as ISO 8601: here they are numbers before that."""
    for line in CODE.splitlines():
        if re.search(_TIMES, line):
            assert "Get-Time" in line, line
    assert re.findall(r"\[datetime\]::Now\S*", CODE) == ["[datetime]::Now.ToString('HH:mm')"]


def test_numbers_of_a_request_get_one_type_where_it_matters() -> None:
    """A whole number comes as Int32, Int64 or (5.1) Decimal, a fraction as Decimal (5.1) or Double."""
    for function, parameter in (
        ("Enter-Lock", "[double]$Wait"),
        ("Wait-Outcome", "[double]$Seconds"),
        ("Wait-State", "[double]$Seconds"),
        ("Get-Limit", "[double]$Seconds"),
        ("Save-Step", "[double]$Timeout"),
    ):
        head = re.search(rf"^function {function}\((.*)\) \{{", CODE, re.MULTILINE)
        assert head and parameter in head[1], function
    found = re.findall(r"(\S*)\$Item\.(?:read_ms|port)\)", CODE)
    assert found
    for before in found:
        assert before.endswith("[int]"), before


@pytest.mark.parametrize(
    ("method", "most"),
    # Overloads that .NET Framework 4.0 has: [IO.File]::Move with `overwrite` came with .NET Core 3.0.
    [("IO.File]::Move", 2), ("IO.File]::Replace", 4), ("IO.File]::Open", 4), ("IO.File]::Delete", 1)],
)
def test_only_overloads_of_the_old_framework_are_called(method: str, most: int) -> None:
    found = re.findall(re.escape(method) + r"\(((?:[^()]|\([^()]*\))*)\)", CODE)
    assert found
    for arguments in found:
        flat = re.sub(r"\([^()]*\)|'+[^']*'+", "x", arguments)
        assert flat.count(",") + 1 <= most, arguments
