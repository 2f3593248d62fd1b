# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What no single machine brings about: the script's regions on a real PowerShell with one function replaced.

Each check sends the regions that a request needs, then functions of its own, which hide those of the same name, then
the region ``main``; the answer is compared as a case's is. Part of the lane, in mode ``region``.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script
from tests.conformance import expand
from tests.conformance.compare import differences, state_differences
from tests.windows import lane
from tests.windows.report import Result

Json: t.TypeAlias = Mapping[str, t.Any]
MODE: t.Final = "region"


@dataclass(frozen=True)
class Check:
    """One behaviour.

    Attributes:
        name: what is shown, in one sentence.
        request: what is sent; what it leaves out is a case's default.
        instead: PowerShell that stands between the regions and ``main``.
        answer: what the answer must say, as in a case.
        given: state of the server before.
        then: state of the server afterwards, as in a case.
    """

    name: str
    request: Json
    instead: str
    answer: Json
    given: Json = field(default_factory=dict)
    then: Json = field(default_factory=dict)


# A registry handle of the script's own whose other end is taken away: what a server leaves that went down.
_DEAD = """
$Own = 'msexchange.winsock_proxy'
function New-Hive { [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey('SOFTWARE') }
function Stop-Hive($Key) {
    $raw = $Key.Handle.DangerousGetHandle()
    (New-Object Microsoft.Win32.SafeHandles.SafeRegistryHandle $raw, $true).Dispose()
}
function Connect-Target {
    $Codes.computer_unreachable += 6
    $Target.Hive = New-Hive
    BEGIN
}
"""
# As the script's own, but for the machine to which it connects.
_REOPEN = """
function Test-Reopened {
    try { $Target.Hive.get_SubKeyCount() | Out-Null; return $false } catch { $Target.Hive = New-Hive }
    return $true
}
"""
_RECORD = {"records": {"MSExchangeIS": {"loaded": "a" * 64}}, "journal": "{}"}
_STATE = {"op": "inspect", "state": True, "computer": "EXCH1"}
# Direct mode has no second hop; these tell what it would be asked for.
_DRIVES = """
function New-PSDrive($Name, $PSProvider, $Root, $Credential, $Scope) {
    $Answer.opened = $Root, $Credential.UserName, $Credential.GetNetworkCredential().Password
}
function Remove-PSDrive($Name, $Scope) { $Answer.closed = $Name }
function Get-PSDrive { [pscustomobject]@{ Root = 'C:\\' } }
function Connect-Target {
    $Answer.opened = $Answer.closed = $null
    $Target.Hive = [Microsoft.Win32.Registry]::LocalMachine
    Open-Session 'EXCH1' $Request.credential
}
"""
_ACCOUNT = {"credential": {"username": "EUROPE\\admin", "password": "p\u00e4\u65e5 \"'$x`n"}}
# A log whose entries are made when they are looked at.
_LOG = """
$Answer.looks = 0
function Get-Log {
    $log = New-Object PSObject
    $log | Add-Member -MemberType ScriptMethod -Name get_Count -Value { 100000 }
    $log | Add-Member -MemberType ScriptMethod -Name get_Item -Value {
        param($i)
        $Answer.looks++
        [pscustomobject]@{
            TimeGenerated = ([datetime]'2000-01-01').AddSeconds($i); Source = 'x'; EntryType = 4; InstanceId = $i
            Message = ''; ReplacementStrings = @()
        }
    }
    $log
}
"""
_FILE = "C:\\exchsrvr\\bin\\Wspcfg.ini"
# Access rights of directories as they are told, and what is made of them; the registry's are real.
_RIGHTS = """
$Answer.made = @()
$Target.Rights = 'O:BAD:(A;OICI;FA;;;WD)'
function Get-Acl($LiteralPath) {
    $acl = New-Object Security.AccessControl.DirectorySecurity
    $acl.SetSecurityDescriptorSddlForm($Target.Rights)
    $acl
}
function Set-Acl($LiteralPath, $AclObject) {
    $Answer.made += $LiteralPath + ' ' + $AclObject.GetSecurityDescriptorSddlForm('All')
    $Target.Rights = 'BECOMES'
}
"""
_OURS = "O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)"
_MADE = [r"/.*\\msexchange\.winsock_proxy\\backup O:BAD:P(AI)?\(A;OICI;FA;;;SY\)\(A;OICI;FA;;;BA\)/"]
_EXPOSED = [{"machine": "str", "path": r"/.*\\msexchange\.winsock_proxy\\backup/", "key": None}]
_SAVES: t.Final[Json] = {"op": "apply", "files": [{"path": _FILE}]}
_EVENTS: t.Final[Json] = {
    "op": "inspect",
    "events": {"since": 0, "logs": ["System"], "sources": ["W3SVC"], "ids": [], "limit": 3, "scan": 1000},
}
_QUOTED = r"/C:\\exchsrvr\\bin\\Wspcfg\.ini/"
_READS: t.Final[Json] = {"op": "inspect", "files": [{"path": _FILE}]}
# Fails as the redirector would; variables of callers are seen.
_FAILING = """
$Answer.tries = 0
function Get-RealPath($Path) {
    $opens = Get-PSCallStack | Where-Object { $_.Command -eq 'Open-File' }
    if ($opens -and $Access -eq 'Read' -and $Path -like '*.ini' -and (++$Answer.tries) -le TIMES) {
        throw (New-Object ComponentModel.Win32Exception CODE)
    }
    $Path
}
"""
_UNREACHABLE = {"error": {"code": "computer_unreachable", "detail": {"computer": "EXCH1"}}}

CHECKS: t.Final = (
    Check(
        "a registry handle that is dead and stays so is no empty server",
        _STATE,
        _DEAD.replace("BEGIN", "Stop-Hive $Target.Hive")
        + """
        function Test-Reopened {
            try { $Target.Hive.get_SubKeyCount() | Out-Null; return $false } catch { $Target.Hive = New-Hive }
            Stop-Hive $Target.Hive
            return $true
        }
        """,
        _UNREACHABLE,
        _RECORD,
    ),
    Check(
        "a dead registry handle is opened anew",
        _STATE,
        _DEAD.replace("BEGIN", "Stop-Hive $Target.Hive") + _REOPEN,
        {"records": [{"service": "MSExchangeIS", "loaded": "a" * 64}], "journal": {}},
        _RECORD,
    ),
    Check(
        "what was read through a handle that died meanwhile is read again",
        _STATE,
        _DEAD.replace("BEGIN", "")
        + _REOPEN
        + """
        $Target.Times = 0
        function Get-Backups { $Target.Times++; if ($Target.Times -eq 1) { Stop-Hive $Target.Hive } }
        """,
        {"records": [{"service": "MSExchangeIS"}], "journal": {}},
        _RECORD,
    ),
    Check(
        "a key whose handle died is not one without values",
        _STATE,
        _DEAD.replace("BEGIN", "")
        + _REOPEN
        + """
        function Get-Records { $key = Open-Key "$Own\\records\\MSExchangeIS"; Stop-Hive $key; Get-Text $key loaded }
        """,
        _UNREACHABLE,
        _RECORD,
    ),
    Check(
        "the password arrives whole, and a drive that the request opened is closed",
        {**_ACCOUNT, "op": "inspect"},
        _DRIVES,
        {"opened": ["\\\\EXCH1\\ADMIN$", "EUROPE\\admin", "p\u00e4\u65e5 \"'$x`n"], "closed": "/wsp[0-9a-f]{16}/"},
    ),
    Check(
        "a drive that is there already is used and stays",
        {**_ACCOUNT, "op": "inspect"},
        _DRIVES
        + "function Get-PSDrive { 'C:\\', '\\\\exch1\\ADMIN$' | ForEach-Object { [pscustomobject]@{ Root = $_ } } }",
        {"opened": None, "closed": None},
    ),
    Check(
        "nothing closes the connection once a worker may live, whatever happens afterwards",
        {**_ACCOUNT, "op": "restart", "wait": 0},
        _DRIVES
        + """
        function Start-Worker { $Target.Started = $true }
        function Test-Launching { if ($Target.Started) { Stop-Run internal }; return $true }
        """,
        {"opened": "list", "closed": None, "error": {"code": "internal"}},
        {"base": "store_alone"},
    ),
    Check(
        "a poll that cannot read the journal closes nothing either",
        {**_ACCOUNT, "op": "restart_status", "of": None, "wait": 0},
        _DRIVES + "function Find-Journal { Stop-Run access_denied }",
        {"closed": None, "error": {"code": "access_denied"}},
    ),
    Check(
        "a service that a dead connection cannot see is looked at through a fresh one",
        {"op": "restart_status", "of": None, "wait": 0},
        """
        $Answer.looks = 0
        $dead = New-Object PSObject
        $dead | Add-Member -MemberType ScriptMethod -Name Refresh -Value {
            throw (New-Object ComponentModel.Win32Exception 6)
        }
        $dead | Add-Member -MemberType ScriptMethod -Name Close -Value { }
        $Controllers['MSExchangeIS'] = $dead
        function Get-Controller([string]$Name) {
            $Answer.looks++
            if ($Controllers.ContainsKey($Name)) { return $Controllers[$Name] }
            New-Object ServiceProcess.ServiceController $Name, $Target.Machine
        }
        """,
        {"done": True, "outcome": "failed", "down": [], "looks": 2},
        {
            "base": "store_alone",
            "journal": {
                **dict.fromkeys(("began", "updated", "since", "deadline"), 1_800_000_000),
                "phase": "done",
                "outcome": "failed",
                "services": [{"name": "MSExchangeIS", "step": "running"}],
            },
        },
    ),
    Check(
        "a deletion that was done although it failed is undone",
        {
            "op": "apply",
            "files": [
                {
                    "path": "C:\\exchsrvr\\bin\\x.ini",
                    "expect_sha256": hashlib.sha256(b"x").hexdigest(),
                    "content": None,
                }
            ],
        },
        """
        function Invoke-Patiently([scriptblock]$Do) {
            & $Do
            if (-not $Target.Done -and "$Do".Contains('::Delete($real)')) {
                $Target.Done = $true
                throw (New-Object ComponentModel.Win32Exception 64)
            }
        }
        $Target.Done = $false
        """,
        {"error": {"code": "computer_unreachable"}, "restored": ["C:\\exchsrvr\\bin\\x.ini"], "left": []},
        {"files": {"C:\\exchsrvr\\bin\\x.ini": {"text": "x"}}},
    ),
    Check(
        "a log of 100,000 entries costs what is asked of it",
        {
            "op": "inspect",
            "events": {"since": 0, "logs": ["System"], "sources": [], "ids": [], "limit": 3, "scan": 1000},
        },
        _LOG,
        {"events": [{"id": 34463}, {"id": 34462}, {"id": 34461}], "events_error": None, "looks": 4},
    ),
    Check(
        "a log of 100,000 entries of others costs what one of 1,000 does",
        _EVENTS,
        _LOG,
        {"events": [], "events_error": "System: only the newest 1000 entries were looked at", "looks": 1001},
    ),
    Check(
        "a log that has nothing else is looked at to its end, and that is no error",
        {**_EVENTS, "events": {**_EVENTS["events"], "scan": 100000, "since": 946684800 + 99000}},
        _LOG,
        {"events": [], "events_error": None, "looks": 1001},
    ),
    Check(
        "events are chosen by their ids, and only of those the message is made",
        {**_EVENTS, "events": {**_EVENTS["events"], "sources": ["X"], "ids": [34462, 34460], "limit": 2}},
        _LOG,
        {"events": [{"id": 34462}, {"id": 34460}], "events_error": None, "looks": 5},
    ),
    Check(
        "a log is not read for ever",
        _EVENTS,
        _LOG.replace(
            "$Answer.looks++", "$Answer.looks++; if ($Answer.looks -eq 2) { Start-Sleep -Milliseconds 20500 }"
        ),
        {"events": [], "events_error": "System: only the newest 1 entries were looked at", "looks": 2},
    ),
    Check(
        "what Win32_Process.Create returns is told as what it is",
        {"op": "restart", "wait": 0},
        "function Invoke-CimMethod { [pscustomobject]@{ ReturnValue = 2 } }",
        {"error": {"code": "worker_failed", "detail": {"returned": 2, "native": None}}},
        {"base": "store_alone"},
        {"journal": None, "locked": False},
    ),
    Check(
        "a worker that WMI has started is told as such",
        {"op": "restart", "services": [{"name": "MSExchangeIS"}]},
        """
        function Invoke-CimMethod($ClassName, $MethodName, $Arguments) {
            $program, $rest = $Arguments.CommandLine.Substring(1).Split([char[]]'"', 2)
            Start-Process -FilePath $program -ArgumentList $rest -WindowStyle Hidden
            [pscustomobject]@{ ReturnValue = 0 }
        }
        """,
        {"done": True, "outcome": "restarted", "launched": "wmi"},
        {"base": "store_alone"},
        {"journal": {"launched": "wmi"}},
    ),
    Check(
        "a worker that WMI would not start is told as one that may end with the connection",
        {"op": "restart", "services": [{"name": "MSExchangeIS"}]},
        "function Invoke-CimMethod { throw 'no WMI' }",
        {"done": True, "outcome": "restarted", "launched": "process"},
        {"base": "store_alone"},
        {"journal": {"launched": "process"}},
    ),
    Check(
        "backups are for administrators only, and no finding once they are",
        _SAVES,
        _RIGHTS.replace("BECOMES", _OURS),
        {"exposed": [], "made": _MADE},
        {"base": "pop3_published"},
        {"access": {"HKLM\\SOFTWARE\\msexchange.winsock_proxy": ["S-1-5-18", "S-1-5-32-544"]}},
    ),
    Check(
        "what others may write although it was made for administrators only is a finding",
        _SAVES,
        _RIGHTS.replace("BECOMES", _OURS + "(A;OICI;FR;;;WD)"),
        {"applied": [{"path": _FILE}], "exposed": _EXPOSED, "made": _MADE},
        {"base": "pop3_published"},
    ),
    Check(
        "what another owner could open again is a finding too",
        _SAVES,
        _RIGHTS.replace("BECOMES", _OURS.replace("O:BA", "O:BU")),
        {"applied": [{"path": _FILE}], "exposed": _EXPOSED, "made": _MADE},
        {"base": "pop3_published"},
    ),
    Check(
        "rights that cannot be read or set are a finding, and no failure",
        {**_SAVES, "records": [{"service": "MSExchangeIS", "wanted": "a" * 64}]},
        "function Test-Private { throw (New-Object ComponentModel.Win32Exception 50) }",
        {
            "applied": [{"path": _FILE}],
            "exposed": [{"key": "SOFTWARE\\msexchange.winsock_proxy", "path": None, "machine": "str"}, *_EXPOSED],
        },
        {"base": "pop3_published"},
    ),
    Check(
        "a password is not left where others may read what the worker is to do",
        {**_ACCOUNT, "op": "restart", "wait": 0},
        _DRIVES
        + """
        function Test-Private { $false }
        function Start-Worker { throw 'the password was handed over' }
        """,
        {"error": {"code": "worker_failed", "message": "access_denied", "detail": {"path": "/.*run/"}}},
        {"base": "store_alone"},
    ),
    Check(
        "what is read over a connection that was dropped is read again",
        _READS,
        _FAILING.replace("CODE", "64").replace("TIMES", "2"),
        {"files": [{"exists": True, "sha256": "str", "error": None}], "tries": 3},
        {"base": "pop3_published"},
    ),
    Check(
        "a connection that stays away is no file that is missing",
        _READS,
        _FAILING.replace("CODE", "1236").replace("TIMES", "9"),
        {
            "files": [{"sha256": None, "error": {"code": "computer_unreachable", "detail": {"native": 1236}}}],
            "tries": 5,
        },
        {"base": "pop3_published"},
    ),
    Check(
        "what does not pass by itself is not waited for",
        _READS,
        _FAILING.replace("CODE", "53").replace("TIMES", "9"),
        {"files": [{"error": {"code": "computer_unreachable", "detail": {"native": 53}}}], "tries": 1},
        {"base": "pop3_published"},
    ),
    Check(
        "a share that is missing is not waited for, and is no server that is away",
        _READS,
        _FAILING.replace("CODE", "67").replace("TIMES", "9"),
        {"files": [{"error": {"code": "parent_missing", "detail": {"path": _QUOTED, "native": 67}}}], "tries": 1},
        {"base": "pop3_published"},
    ),
    Check(
        "a write is not sent again over a connection that was dropped",
        _SAVES,
        _FAILING.replace("CODE", "64").replace("TIMES", "9").replace("-eq 'Read'", "-eq 'Write'"),
        {"error": {"code": "backup_failed", "detail": {"native": 64}}, "applied": [], "tries": 1},
        {"base": "pop3_published"},
    ),
    Check(
        "a look at a service over a connection that was dropped is taken again",
        {"op": "inspect", "services": ["MSExchangeIS"]},
        """
        $Answer.tries = 0
        function New-Object($TypeName, $ArgumentList) {
            if ($TypeName -eq 'ServiceProcess.ServiceController' -and (++$Answer.tries) -le 2) {
                throw (Microsoft.PowerShell.Utility\\New-Object ComponentModel.Win32Exception 1726)
            }
            Microsoft.PowerShell.Utility\\New-Object $TypeName $ArgumentList
        }
        """,
        {"services": [{"name": "MSExchangeIS", "state": "running"}], "tries": 3},
        {"base": "store_alone"},
    ),
    Check(
        "an error record that nothing in the script raised is told as well",
        {"op": "inspect"},
        """
        function Connect-Target {
            $cause = New-Object Exception 'bare'
            $bare = New-Object Management.Automation.ErrorRecord $cause, 'id', 'NotSpecified', $null
            $Answer.told = Get-Failure $bare
        }
        """,
        {"told": {"code": "internal", "message": "bare", "detail": {"line": None, "type": "System.Exception"}}},
    ),
)


def ask(server: lane.StageServer, check: Check) -> Json:
    """Return what the script answers with the check's functions in it."""
    request = expand.request(check.request)
    *regions, main = (script.regions()[name] for name in script.regions_for(request))
    text = "".join(regions) + check.instead + "\n" + main
    encoded = base64.b64encode(script.loader().encode("utf-16-le")).decode()
    words = ["-NoProfile", "-NonInteractive", "-ExecutionPolicy", "Unrestricted", "-EncodedCommand", encoded]
    nonce = secrets.token_hex(8)
    return script.parse_answer(server.powershell(words, script.lines(text, request, nonce)), nonce)


def _differences(check: Check, server: lane.StageServer) -> list[str]:
    given = expand.given(check.given)
    server.prepare({"given": given, "change": False})
    answer = ask(server, check)
    found = list(differences(check.answer, answer))
    if answer.get("error") and "error" not in check.answer:
        found.append(f"error: nobody expected {answer['error']}")
    return found + list(state_differences(check.then, server.observe({"given": given, "then": check.then})))


def play(checks: Sequence[Check], among: Sequence[lane.StageServer], tell: lane.Tell) -> list[Result]:
    """Play checks, each server one at a time.

    Args:
        checks: in the order in which they are begun.
        among: where.
        tell: is told each result as it comes.
    """
    return lane.judge_all(checks, among, MODE, _differences, tell)
