# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# Looks at what a conformance case is given, with .NET's own eyes: for the self-test of what prepares it.
# Questions come as files ask-N.json in a folder, answers go to told-N.json there; a file "stop" ends it, so does silence.
param([string]$Folder, [int]$IdleSeconds = 120)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'

function Get-Native($Record) {
    $cause = $Record.Exception
    while ($cause.InnerException) { $cause = $cause.InnerException }
    if ($cause -is [ComponentModel.Win32Exception]) { return $cause.NativeErrorCode }
    return $cause.HResult -band 0xFFFF
}

# 0, or why a file cannot be opened like that.
function Test-Open([string]$Path, [string]$Access, [string]$Share) {
    try { [IO.File]::Open($Path, 'Open', $Access, $Share).Close(); return 0 } catch { return Get-Native $_ }
}

function Get-FileLook([string]$Path) {
    $look = @{ path = $Path; directory = [IO.Directory]::Exists($Path); there = [IO.File]::Exists($Path); content = $null; read_only = $null; modified = $null }
    $look.read = Test-Open $Path Read 'ReadWrite, Delete'
    $look.read_alone = Test-Open $Path Read Read
    $look.write = Test-Open $Path Write 'ReadWrite, Delete'
    if ($look.read -eq 0) {
        $stream = [IO.File]::Open($Path, 'Open', 'Read', 'ReadWrite, Delete')
        $bytes = New-Object byte[] ([int]$stream.Length)
        $stream.Read($bytes, 0, $bytes.Length) | Out-Null
        $stream.Close()
        $look.content = [Convert]::ToBase64String($bytes)
        $look.read_only = ([IO.File]::GetAttributes($Path) -band [IO.FileAttributes]::ReadOnly) -ne 0
        $look.modified = ([IO.File]::GetLastWriteTimeUtc($Path) - [datetime]'1970-01-01').TotalSeconds
    }
    $look
}

function Get-ValueLook($Item) {
    $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($Item.key)
    $look = @{ key = $Item.key; name = $Item.name; kind = $null; data = $null }
    if ($key -and $key.GetValueNames() -contains $Item.name) {
        $look.kind = [string]$key.GetValueKind($Item.name)
        $data = $key.GetValue($Item.name, $null, 'DoNotExpandEnvironmentNames')
        $look.data = if ($data -is [byte[]]) { [Convert]::ToBase64String($data) } elseif ($data -is [array]) { , @($data) } else { $data }
    }
    $look
}

# A lasting key below a volatile one cannot be made (1021).
function Test-Volatile([string]$Name) {
    try {
        $key = [Microsoft.Win32.Registry]::LocalMachine.OpenSubKey($Name, $true)
        $key.CreateSubKey('probe').Close()
        $key.DeleteSubKey('probe')
        return $false
    }
    catch { return (Get-Native $_) -eq 1021 }
}

function Get-ServiceLook([string]$Name) {
    $controller = New-Object ServiceProcess.ServiceController $Name
    try { $state = [string]$controller.get_Status() } catch { $state = "error $(Get-Native $_)" }
    $controller.Close()
    @{ name = $Name; state = $state }
}

# Paths of all processes: which service runs from where.
function Get-Images {
    @(foreach ($process in [Diagnostics.Process]::GetProcesses()) { try { $process.get_MainModule().get_FileName() } catch { continue } })
}

function Get-PortLook($Item) {
    $look = @{ port = $Item.port; greeting = $null; answer = $null }
    $client = New-Object Net.Sockets.TcpClient
    try {
        $client.Connect('127.0.0.1', $Item.port)
        $stream = $client.GetStream()
        $stream.ReadTimeout = 5000
        $buffer = New-Object byte[] 512
        if ($Item.greets) { $look.greeting = [Convert]::ToBase64String($buffer, 0, $stream.Read($buffer, 0, 512)) }
        if ($Item.answers) {
            $stream.WriteByte(33)
            $look.answer = [Convert]::ToBase64String($buffer, 0, $stream.Read($buffer, 0, 512))
        }
        $look.connected = $true
    }
    catch { $look.connected = $false }
    finally { $client.Close() }
    $look
}

function Get-Look($Ask) {
    @{
        files = @(foreach ($path in $Ask.files) { Get-FileLook $path })
        values = @(foreach ($item in $Ask.values) { Get-ValueLook $item })
        volatile = @(foreach ($name in $Ask.volatile) { @{ key = $name; volatile = Test-Volatile $name } })
        services = @(foreach ($name in $Ask.services) { Get-ServiceLook $name })
        images = @(if ($Ask.services) { Get-Images })
        ports = @(foreach ($item in $Ask.ports) { Get-PortLook $item })
        drives = @(foreach ($letter in $Ask.drives) { @{ letter = $letter; format = (New-Object IO.DriveInfo $letter).get_DriveFormat() } })
    }
}

$idle = [Diagnostics.Stopwatch]::StartNew()
for ($number = 1; $idle.Elapsed.TotalSeconds -lt $IdleSeconds -and -not [IO.File]::Exists("$Folder\stop");) {
    if (-not [IO.File]::Exists("$Folder\ask-$number.json")) { Start-Sleep -Milliseconds 20; continue }
    $ask = ConvertFrom-Json ([IO.File]::ReadAllText("$Folder\ask-$number.json"))
    try { $told = Get-Look $ask } catch { $told = @{ error = "$_ ($($_.InvocationInfo.ScriptLineNumber))" } }
    [IO.File]::WriteAllText("$Folder\telling", (ConvertTo-Json -InputObject $told -Compress -Depth 8))
    [IO.File]::Move("$Folder\telling", "$Folder\told-$number.json")
    $number++
    $idle.Restart()
}
