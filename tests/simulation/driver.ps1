# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Loads the simulated Windows, hides the cmdlets that reach the real one, and plays the scenarios of a file.
param($World, $From, $To)
$ErrorActionPreference = 'Stop'
Add-Type -TypeDefinition ([IO.File]::ReadAllText($World)) -IgnoreWarnings -WarningAction SilentlyContinue

function global:Start-Sleep($Milliseconds) { [Sim.Here]::Sleep($Milliseconds) }
function global:Add-Type($AssemblyName) { }
function global:Start-Process($FilePath, $ArgumentList, $WindowStyle) { [Sim.Here]::Effect('process.start', $FilePath, { param($code) New-Object ComponentModel.Win32Exception $code }, { [Sim.Here]::Launch($ArgumentList) }) }
function global:Invoke-CimMethod($ClassName, $MethodName, $Arguments) {
    if ([Sim.Here]::W.NoCim) { throw 'Invoke-CimMethod is not there' }
    [Sim.Here]::Effect('process.start', '', { param($code) New-Object ComponentModel.Win32Exception $code }, { [Sim.Here]::Launch($Arguments.CommandLine) })
    [pscustomobject]@{ ReturnValue = 0 }
}
function global:ConvertTo-Json($InputObject, [switch]$Compress, $Depth) { [Sim.Json]::Text($InputObject) }
function global:ConvertFrom-Json($InputObject) { [Sim.Json]::Read($InputObject) }
function global:Set-Acl($LiteralPath, $AclObject) { }
function global:Get-Acl($LiteralPath) { New-Object Sim.Rights }

[Sim.Theatre]::Play($From, $To)

'{0:0.0} s of processor time' -f [Diagnostics.Process]::GetCurrentProcess().TotalProcessorTime.TotalSeconds
