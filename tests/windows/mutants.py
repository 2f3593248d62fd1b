# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Whether the cases are complete: the target script is changed in one place at a time, and some case must fail.

``python -m tests.windows.mutants [--only REGEX] [--machines N]``, or ``make windows-mutants``: on a real PowerShell,
some ten minutes. Each change names the cases that ought to notice it, so that it costs a request or two; a case that
notices must pass on the script as it is. The list is kept by hand; ``mutants.md`` is its table.
"""

from __future__ import annotations

import argparse
import functools
import importlib
import re
import sys
import threading
import typing as t
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

importlib.import_module("tests.conftest")  # puts the collection on the path
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script  # noqa: E402
from tests.conformance.schema import Case  # noqa: E402
from tests.windows import lane  # noqa: E402
from tests.windows.machine import Unavailable  # noqa: E402

TABLE: t.Final = Path(__file__).with_name("mutants.md")
SECONDS: t.Final = 120.0


@dataclass(frozen=True)
class Mutant:
    """The script with one place changed.

    Attributes:
        function: where.
        old: what stands there, once.
        new: what stands there instead.
        cases: which of them ought to notice, in direct mode unless a name ends with ``@computer``.
    """

    function: str
    old: str
    new: str
    cases: tuple[str, ...]

    def __str__(self) -> str:
        return f"{self.function}: {self.old} -> {self.new or '(nothing)'}"

    def apply(self, text: str) -> str:
        """Return the script's text with this change.

        Raises:
            ValueError: what it changes is not there, or there more than once.
        """
        found = re.search(rf"^function {re.escape(self.function)}\b(?!-).*?^(?=function |#)", text, re.M | re.S)
        if found is None or found[0].count(self.old) != 1:
            raise ValueError(f"{self}: is there {found[0].count(self.old) if found else 0} times")
        return text[: found.start()] + found[0].replace(self.old, self.new) + text[found.end() :]


def change(function: str, old: str, new: str, *cases: str) -> Mutant:
    return Mutant(function, old, new, cases)


MUTANTS: t.Final = (
    # --- what every request has ---
    change("Get-Cause", "while ($cause.InnerException)", "if ($false)", "inspect-file-locked"),
    change("Get-Cause", "-eq 0x70000", "-eq 0x80000", "inspect-file-locked"),
    change("Get-Cause", "{ $native = 123 }", "{ $native = 2 }", "inspect-path-not-supported"),
    change("Get-Failure", "$detail[$item.Key] = $item.Value", "$null", "inspect-file-locked"),
    change("Get-Failure", "{ $code = $item.Key }", "{ $null }", "inspect-file-access-denied"),
    change(
        "Assert-Shape",
        "$type.EndsWith('?')",
        "$true",
        "request-key-null",
    ),
    change("Assert-Shape", "$value -isnot [bool]", "$true", "request-boolean-is-no-number"),
    change("ConvertTo-Ascii", "-Depth 20", "-Depth 2", "inspect-state-records", "restart-one"),
    change(
        "ConvertTo-Ascii", r"'[^\x20-\x7e]'", r"'[^\x00-\xff]'", "inspect-file-unicode", "inspect-file-umlaut-in-name"
    ),
    change(
        "Get-Text",
        "'DoNotExpandEnvironmentNames'",
        "'None'",
        "inspect-service-image-variable@computer",
    ),
    change("Get-Time", "3)", "0)", "inspect-file-modified-fraction"),
    change("Invoke-Patiently", "$try -eq 5", "$try -eq 4", "apply-reader-lets-go"),
    change("Invoke-Patiently", "-notcontains", "-contains", "apply-reader-lets-go"),
    change("Open-File", "if ([IO.Directory]::Exists($real))", "if ($false)", "inspect-file-is-directory"),
    change("Read-File", "'ReadWrite, Delete'", "'Read'", "inspect-file-while-written"),
    change("Read-Journal", "corrupt = $true", "run = $null", "inspect-state-journal-corrupt"),
    change("Get-LockHolder", "$native -in 2, 3, 5", "$native -in 3, 5", "inspect-state-nothing"),
    change("Get-LockHolder", "if ($holder) { return $holder }", "", "inspect-state-lock"),
    # --- what is looked at ---
    change("Skip-Missing", "-notin 2, 3", "-notin 2", "inspect-file-directory-missing"),
    change("Get-List", "if ($value) { $value }", "$null", "inspect-services-graph"),
    change("Get-Hash", ".ToLowerInvariant()", "", "inspect-file"),
    change("Get-State", "'(?<!^)[A-Z]', '_$0'", "'(?<!^)[A-Z]', '$0'", "inspect-service-states"),
    change("Get-Image", "Split('\"')[1]", "Split('\"')[0]", "inspect-service-image-quoted"),
    change("Get-Image", r"'^(.+?\.exe)(\s|$)'", r"'^(.+\.exe)(\s|$)'", "inspect-service-image-two-programs"),
    change("Get-Image", r"'^(.+?\.exe)(\s|$)'", r"'^(.+?\.exe)'", "inspect-service-image-two-programs"),
    change("Get-Image", r"|(?=system32\\)", "", "inspect-service-image-below-root"),
    change("Get-Image", r" -replace '^\\\?\?\\'", "", "inspect-service-image-below-root"),
    change(
        "Get-ServiceProcess",
        "$State -eq 'stopped'",
        "$false",
        "inspect-service-process-stopped",
    ),
    change("Get-ServiceProcess", "$found.Count -eq 1", "$found.Count -ge 1", "inspect-service-process-shared"),
    # --- inspect ---
    change("Get-RegistryItem", "'DoNotExpandEnvironmentNames'", "'None'", "inspect-registry-not-expanded"),
    change("Get-RegistryItem", "-is [byte[]]", "-is [int]", "inspect-registry-binary"),
    change(
        "Get-Sorted",
        "[StringComparer]::OrdinalIgnoreCase",
        "[StringComparer]::Ordinal",
        "inspect-file-lookalikes",
        "inspect-file-executables",
        "inspect-state-records",
    ),
    change("Get-Services", "-contains $group", "-notcontains $group", "inspect-service-group-dependency"),
    change("Get-Services", "{ $needs += $member.name }", "{ $null }", "inspect-service-group-members"),
    change(
        "Get-Services", "{ if ($names -notcontains $name) { $names += $name } }", "{ $null }", "inspect-services-graph"
    ),
    change("Get-ServiceEntry", "'auto', 'manual'", "'manual', 'auto'", "inspect-service-start-types"),
    change(
        "Get-ServiceEntry",
        "foreach ($group in Get-Once $Entry Group) { $out.group = $group }",
        "",
        "inspect-service-group-members",
        "inspect-service-group-dependency",
    ),
    change(
        "Read-Pointer",
        "$section -eq $Pointer.section -and ",
        "",
        "inspect-pointer",
        "inspect-pointer-key-missing",
        "inspect-pointer-no-default",
    ),
    change("Read-Pointer", "$value.Trim(' \"'.ToCharArray())", "$value", "inspect-pointer-quoted"),
    change("Find-File", "[IO.Directory]::Exists((Get-RealPath $directory))", "$true", "inspect-locate-directory-gone"),
    change("Find-File", "if ($Item.path) {", "if ($false) {", "inspect-locate-path-first"),
    change("Find-File", "$root.id -ne $Item.root -or ", "", "inspect-locate-second-root"),
    change(
        "Read-Entry",
        "$info.Length -gt $Item.max_bytes",
        "$info.Length -ge $Item.max_bytes",
        "inspect-file-at-the-limit",
    ),
    change("Read-Entry", "$_ -ne $name -and ", "", "inspect-file-without-extension"),
    change("Read-Entry", ".ToLowerInvariant()", "", "inspect-file-executables"),
    change(
        "Read-Entry", "if ($Item.content) { $Out.content", "if ($true) { $Out.content", "inspect-file-without-content"
    ),
    change("Get-FileEntry", "if ($out.error.code -eq 'bad_request') { throw }", "", "request-pointer-key-missing"),
    change("Get-Content64", "(Get-Hash $bytes) -eq $Hash", "$true", "inspect-backup-damaged-real"),
    change("Get-Records", "-not $out.loaded -and ", "", "inspect-state-loaded-content-known"),
    change("Get-Backups", "$line -cmatch '^", "$line -cmatch '", "inspect-state-backups-malformed"),
    change("Invoke-Inspect", "if ($Request.state)", "if ($true)", "inspect-state-not-asked"),
    change("Get-Port", "if ($Item.send)", "if ($false)", "inspect-port-client-first"),
    # --- apply ---
    change("Enter-Lock", "-ge $Wait)", "-ge 0)", "apply-lock-waits"),
    change("Stop-Busy", "$detail[$key] =", "$null =", "apply-busy"),
    change("Get-BootToken", "if (-not $token)", "if ($true)", "apply-boot-token-kept"),
    change(
        "Write-Stream", "$Stream.SetLength($Bytes.Length)\n    $Stream.Flush", "$Stream.Flush", "apply-in-place-shorter"
    ),
    change("Save-Old", "$Change.old CreateNew", "$Change.old Create", "apply-backup-beside-exists"),
    change("Save-Copy", "(Get-Hash (Read-File $Path)) -ne (Get-Hash $Bytes)", "$false", "apply-backup-reads-otherwise"),
    change("Save-Backup", "if (-not $same)", "if ($false)", "apply-replace"),
    change("Add-Backup", "-gt 11", "-gt 10", "apply-backup-limit-reached"),
    change("Add-Backup", "$of[1..", "$of[0..", "apply-backup-limit"),
    change("Add-Backup", "-eq $Path })", "-ne '' })", "apply-backup-limit-per-path"),
    change("Add-Backup", "if ($of.Count -and", "if ($false -and", "apply-backup-same-again"),
    change("Read-Present", "-ne 2)", "-notin 2, 3)", "apply-parent-missing-expected"),
    change("Assert-Hash", "if ($null -eq $found) { Stop-Run not_found @{ path = $Path } }", "", "apply-not-found"),
    change("Get-NewBytes", "(Get-Hash $bytes) -ne $File.from_backup", "$false", "apply-backup-damaged-real"),
    change("Assert-File", "-and -not $File.backup_path", "-and $false", "apply-backup-path-missing"),
    change("Assert-File", "$File.from_backup -cnotmatch $Digest", "$false", "apply-from-backup-malformed"),
    change("Clear-Leftovers", "-not [IO.File]::Exists($real)", "$false", "apply-healed"),
    change("Clear-Leftovers", "{ $Answer.left += $leftover }", "{ $null }", "apply-leftovers-held"),
    change("Restore-Torn", "$torn -in $was, $new -or ", "", "apply-torn-whole"),
    change(
        "Get-Change", "-band [IO.FileAttributes]::ReadOnly)", "-band [IO.FileAttributes]::Hidden)", "apply-read-only"
    ),
    change("Save-Old", "-eq 'none'", "-eq 'never'", "apply-backup-none"),
    change("Save-Old", "if (-not (Test-Copied $Change))", "if ($true)", "apply-backup-beside-again"),
    change("Remove-File", "Assert-Hash $path (Read-Stream $held) $Found", "", "apply-writer-between-real"),
    change("Set-LocalFile", "if ([IO.File]::Exists($path)) { Remove-Quietly $aside }", "", "apply-replace"),
    change("Set-InPlace", "{ Write-Stream $stream $old; $sound", "{ $sound", "apply-in-place-undone"),
    change("Set-LocalFile", "Assert-Hash $path (Read-Stream $held) $Found", "", "apply-writer-between-real"),
    change("Set-InPlace", "Assert-Hash $path $old $Found", "", "apply-writer-between-real"),
    change("Set-File", "-eq 'NTFS'", "-eq 'FAT'", "apply-in-place-undone", "apply-reader-lets-go"),
    change("Set-Record", "file = '';", "", "apply-record-loaded"),
    change("Undo-Record", "if ($null -eq $Old.was)", "if ($false)", "apply-record-taken-back"),
    change("Undo-Change", "$Answer.restored += $Change.path", "$null", "apply-second-locked"),
    change("Invoke-Apply", "[array]::Reverse($changes)", "", "apply-third-locked"),
    change("Invoke-Apply", "if ($change.begun)", "if ($false)", "apply-second-locked"),
    # --- restart ---
    change("Get-CurrentState", "-eq 1060", "-eq 1061", "restart-service-missing"),
    change(
        "Assert-Journal",
        "catch { Stop-Run journal_corrupt",
        "catch { $null = ",
        "restart-journal-corrupt",
        "status-corrupt",
    ),
    change("Assert-Window", "$late -or $early", "$late -and $early", "restart-window-over-midnight-real"),
    change("Assert-Window", "-lt $Window.to\n", "-le $Window.to\n", "restart-window-end-real"),
    change("Assert-Restart", "Stop-Bad role", "$null", "restart-role-unknown"),
    change("Set-Outcome", "$Answer.down = $down", "$Answer.down = @()", "status-interrupted"),
    change("Find-Journal", "$journal.run -ne $Run", "$false", "status-other-run", "status-unknown"),
    change("Wait-Outcome", "$Answer.outcome = 'unknown'", "$Answer.outcome = 'interrupted'", "status-unknown"),
    change("Test-Disabled", "-eq '4'", "-eq '3'", "restart-disabled"),
    change("Assert-Ready", "Stop-Run service_missing", "$null =", "restart-service-missing"),
    change("Assert-Plan", "$Request.dependents -eq 'fail'", "$false", "restart-dependents-fail"),
    change(
        "Assert-Plan",
        "if ($state -eq 'running') { continue }",
        "",
        "restart-dependents",
        "restart-two-roots",
        "restart-one",
    ),
    change("Set-Plan", "$Request.start -contains $_.name", "$true", "restart-dependent-was-stopped"),
    change("Stop-All", "[array]::Reverse($list)", "", "restart-dependents"),
    change(
        "Get-Returning",
        "-not (Test-StaysDown $service.name)",
        "$true",
        "restart-disabled-left-stopped",
        "restart-disabled-allowed",
    ),
    change("Set-Loaded", "$loaded = [string]$Service.loaded", "$loaded = ''", "restart-record"),
    change("Complete-Journal", "elseif ($changed) { 'restarted' }", "elseif ($false) { 'restarted' }", "restart-one"),
    change("Invoke-Restart", "Stop-Busy (", "$null = (", "restart-busy-launching"),
    change("Close-Controller", "$Controllers.Remove($Name)", "", "restart-handle-dies"),
    change("Add-Dependency", "$entry.role = 'dependency'", "$entry.role = 'root'", "restart-start-dependencies"),
    change("Add-Previous", "$row.ran = $true", "$row.ran = $false", "restart-finish-stopped"),
    change("Assert-Alone", "-ne 'Stopped'", "-eq 'Stopped'", "restart-graph-changed-replaced"),
    change("Assert-Same", "$state -ne 'running' -or ", "", "restart-died"),
    change("Assert-Settled", "Start-Sleep -Milliseconds ([int](1000 * $Request.settle))", "", "restart-died"),
    change("Complete-Previous", "if (-not (Test-StaysDown $service.name))", "if ($true)", "restart-finish-disabled"),
    change("Format-Process", "0.000", "0", "apply-record-process"),
    change("Get-OwedStep", "if ($Row.step -in $Finishable) { return $Row.step }", "", "restart-finish-stopped"),
    change("Get-SectionHash", "return 'unreadable'", "return ''", "restart-record-file-unreadable"),
    change(
        "Get-StartOrder",
        "if ($next.Count) { $next[0] } else { $Rows[0] }",
        "$Rows[0]",
        "restart-finish-before-its-dependency",
        "restart-finish-order",
    ),
    change("Save-Step", "$journal.timeline += ", "$null = ", "restart-one"),
    change("Send-Control", "return $native", "return 0", "restart-start-refused"),
    change("Set-Failure", "if ($null -eq $Work.Journal.error)", "if ($true)", "restart-dependency-failed"),
    change("Start-All", "if ($down.Count)", "if ($false)", "restart-dependency-failed"),
    change("Start-One", "if ($state -eq 'stopped') { Stop-Run", "if ($false) { Stop-Run", "restart-start-failed"),
    change("Stop-One", "$Service.stop_ms = ", "$null = ", "restart-one"),
    change("New-Journal", "$Old.phase -ne 'done'", "$true", "restart-after-done-stopped"),
    change("Test-Ran", "$Row.before -eq 'running'", "$false", "status-interrupted", "restart-finish-stopped"),
    change("Get-Applied", "$out.size = ", "$null = ", "apply-create"),
    change("Get-OldRecord", "$was[$name] = ", "$null = ", "apply-record-put-back"),
    change("Stop-Run", "$failure.Data['detail'] = $Detail", "$failure.Data['detail'] = @{}", "apply-not-found"),
    change("Expand-Path", "[Environment]::ExpandEnvironmentVariables($Path)", "$Path", "apply-path-expanded"),
    change("Get-RealPath", r"'^[a-z]:\\'", "'^'", "inspect-file-relative", "apply-path-relative"),
    change(
        "Get-FileSystem",
        "return (New-Object IO.DriveInfo $Path).get_DriveFormat()",
        "return $null",
        "inspect-file-system",
    ),
    change("Get-BackupPath", "backup\\$Hash", "store\\$Hash", "apply-replace"),
)
# Places that no case can tell from what stands there, with the reason: changes of these are not worth a line above.
EQUIVALENT: t.Final[Mapping[str, str]] = {
    "Get-Once": "asks the registry again for what it knows; the lane's measures count that, no case does",
    "Read-Stream": "goes on where a read brought less than was asked for; a local file comes at once, SMB may cut it",
    "Get-BootToken, volatile": "only a boot tells; the lab has one (`cut-reboot`)",
    "Get-Port, timeout": "nothing on one machine swallows a connection",
    "Get-ServiceEntry, boot and system": "start types of drivers, which cannot be installed for a test",
}


def mutated(mutant: Mutant) -> Mapping[str, str]:
    """Return the script's regions with one place changed."""
    return script.regions_of(mutant.apply(script.source()))


@dataclass(frozen=True)
class Verdict:
    """What came of a change.

    Attributes:
        mutant: the change.
        by: the case that noticed; None: it survived.
        why: what the case saw, or why nothing is known.
    """

    mutant: Mutant
    by: str | None
    why: str


class Judge:
    """Plays the cases of a change until one notices; remembers which cases pass without a change."""

    def __init__(self, known: Mapping[str, Case]) -> None:
        self._known = known
        self._sound: dict[str, bool] = {}
        self._lock = threading.Lock()

    def judge(self, mutant: Mutant, server: lane.StageServer) -> Verdict:
        """Return what came of a change on a server."""
        regions, why = mutated(mutant), "no case noticed"
        for name in mutant.cases:
            case, mode = self._of(name)
            result = lane.play(case, mode, server, regions)
            if result.verdict == "unproven":
                why = f"{name}: {result.why[0]}"
            elif result.verdict == "failed" and self._passes(name, server):
                return Verdict(mutant, name, result.why[0])
            elif result.verdict == "failed":
                why = f"{name} fails on the script as it is"
        return Verdict(mutant, None, why)

    def _of(self, name: str) -> tuple[Case, str]:
        case, dummy, mode = name.partition("@")
        return self._known[case], mode or "direct"

    def _passes(self, name: str, server: lane.StageServer) -> bool:
        if name not in self._sound:
            sound = lane.play(*self._of(name), server).verdict == "proven"
            with self._lock:
                self._sound[name] = sound
        return self._sound[name]


def table(mutants: Sequence[Mutant] = MUTANTS) -> str:
    """Return the page that lists the changes."""
    rows = [f"| `{m.function}` | {_cell(m.old)} | {_cell(m.new)} | {', '.join(m.cases)} |" for m in mutants]
    same = [f"| `{name}` | {reason} |" for name, reason in EQUIVALENT.items()]
    return "\n".join(
        [
            "# Changes of the target script that a case notices",
            "",
            "`make windows-mutants` makes each of them on a real PowerShell, and fails for one that no case notices.",
            "This page is written by `python -m tests.windows.mutants --write`; the list is in `mutants.py`.",
            "",
            "| function | what stands there | instead | noticed by one of |",
            "| --- | --- | --- | --- |",
            *rows,
            "",
            "Not worth a change, for no case can tell the two apart:",
            "",
            "| function | why |",
            "| --- | --- |",
            *same,
            "",
        ]
    )


def _cell(text: str) -> str:
    plain = text.replace("|", "\\|").replace("\n    ", " ⏎ ")
    return f"`{plain}`" if plain else "nothing"


def main(arguments: list[str] | None = None) -> int:
    """Do what the command line says; 1 when a change survived."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.windows.mutants", description=(__doc__ or "").splitlines()[0]
    )
    parser.add_argument("--only", default="", help="regular expression that a change's line must contain")
    parser.add_argument("--machines", type=int, default=2, help="how many Wine prefixes side by side (%(default)s)")
    parser.add_argument("--write", action="store_true", help="write the table, and make no change")
    options = parser.parse_args(arguments)
    if options.write:
        TABLE.write_text(table(), encoding="utf-8")
        return 0
    chosen = [mutant for mutant in MUTANTS if re.search(options.only, str(mutant))]
    judge = Judge({case.id: case for case in lane.cases()})
    verdicts: list[Verdict] = []
    waiting = iter(chosen)
    lock = threading.Lock()

    def work(server: lane.StageServer) -> None:
        while True:
            with lock:
                mutant = next(waiting, None)
            if mutant is None:
                return
            verdict = judge.judge(mutant, server)
            with lock:
                verdicts.append(verdict)
                word = f"noticed by {verdict.by}" if verdict.by else "SURVIVED"
                print(f"{word}: {mutant}\n    {verdict.why[:200]}", flush=True)

    try:
        with lane.servers(options.machines, seconds=SECONDS) as servers:
            lane.side_by_side([functools.partial(work, server) for server in servers])
    except Unavailable as reason:
        print(f"SKIPPED: no change was tried on a PowerShell: {reason}")
        return 0
    survivors = [verdict for verdict in verdicts if verdict.by is None]
    for verdict in survivors:
        print(f"SURVIVED: {verdict.mutant}\n    {verdict.why[:200]}")
    print(f"{len(verdicts)} changes, {len(survivors)} survived")
    return int(bool(survivors))


if __name__ == "__main__":
    sys.exit(main())
