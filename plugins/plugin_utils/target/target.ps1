#region common
param($Request, $Text, $Nonce, $Secret)
Set-StrictMode -Version 2
$ErrorActionPreference = 'Stop'
# Under a Turkish culture 'FILE' is not like 'file'.
[Threading.Thread]::CurrentThread.CurrentCulture = [Globalization.CultureInfo]::InvariantCulture
$Own = 'SOFTWARE\msexchange.winsock_proxy'
$Target = @{ Machine = '.'; Root = $env:SystemRoot; Hive = $null; Lock = $null; At = @{}; Session = $false }
$Answer = [ordered]@{ version = 1; op = $null; run = $null; computer = $null; clock = $null }
$Shapes = @{ s = [string]; b = [bool]; l = [array]; o = [Management.Automation.PSCustomObject]; n = [ValueType] }
# A server that is busy or has dropped a connection answers the next try. Only what changes nothing is tried again.
$Passing = 54, 55, 59, 64, 71, 240, 1236, 1723, 1726, 1727
# 67: there is no such share. 1224: somebody has mapped the file.
$Codes = @{
    not_found = 2; parent_missing = 3, 15, 21, 67; access_denied = 5, 19; locked = 32, 33, 1224; bad_name = 87, 123, 161, 206
    computer_unreachable = $Passing + 51, 53, 58, 121, 1222, 1225, 1231, 1232, 1707, 1722, 1753
}

function Stop-Run([string]$Code, [hashtable]$Detail = @{}, [string]$Message = $Code) {
    $failure = New-Object Exception $Message
    $failure.Data['code'] = $Code
    $failure.Data['detail'] = $Detail
    throw $failure
}

function Stop-Bad($Key) { Stop-Run bad_request @{ key = $Key } }

function Get-Cause($Record) {
    $cause = $Record.Exception
    while ($cause.InnerException) { $cause = $cause.InnerException }
    # Not public before .NET 4.5; from then on it needs no COM.
    try { $hr = $cause.HResult } catch { $hr = [Runtime.InteropServices.Marshal]::GetHRForException($cause) }
    $native = $null
    if ($cause -is [ComponentModel.Win32Exception]) { $native = $cause.NativeErrorCode }
    elseif (($hr -band 0x7FFF0000) -eq 0x70000) { $native = $hr -band 0xFFFF }
    # RegistryKey puts the bare Win32 code there.
    elseif ($hr -gt 0 -and $hr -lt 65536) { $native = $hr }
    elseif ($cause -is [Security.SecurityException]) { $native = 5 }
    elseif ($cause -is [NotSupportedException]) { $native = 123 }
    @{ cause = $cause; hresult = $hr; native = $native }
}

function Get-Failure($Record) {
    $of = Get-Cause $Record
    $detail = @{ hresult = $of.hresult; native = $of.native; computer = $Answer.computer }
    $code = $of.cause.Data['code']
    if ($code) { $detail = @{ hresult = $null; native = $null }; $more = $of.cause.Data['detail'] }
    else {
        $more = $Target.At
        $code = 'internal'
        foreach ($item in $Codes.GetEnumerator()) { if ($item.Value -contains $of.native) { $code = $item.Key } }
        if ($code -eq 'internal') { $detail += @{ type = $of.cause.GetType().FullName; line = if ($Record.InvocationInfo) { $Record.InvocationInfo.ScriptLineNumber } } }
    }
    foreach ($item in $more.GetEnumerator()) { $detail[$item.Key] = $item.Value }
    @{ code = $code; message = $of.cause.Message; detail = $detail }
}

function Assert-Shape($Object, [string]$Shape) {
    foreach ($item in $Shape.Split(' ')) {
        $key, $type = $item.Split(':')
        $property = if ($Object -is $Shapes.o) { $Object.PSObject.Properties[$key] }
        if ($property) {
            $value = $property.Value
            if ($null -eq $value -and $type.EndsWith('?')) { continue }
            if ($value -is $Shapes[$type.Substring(0, 1)] -and ($type -ne 'n' -or $value -isnot [bool])) { continue }
        }
        Stop-Bad $key
    }
}

function New-Entry([string]$Keys) {
    $entry = [ordered]@{}
    foreach ($key in $Keys.Split(' ')) { $entry[$key] = $null }
    $entry
}

function ConvertTo-Ascii($Value) {
    [regex]::Replace((ConvertTo-Json -InputObject $Value -Compress -Depth 20), '[^\x20-\x7e]', { param($m) '\u{0:x4}' -f [int][char]$m.Value })
}

function Open-Key([string]$Name) {
    $Target.At = @{ key = $Name }
    $key = $Target.Hive.OpenSubKey($Name)
    if (-not $key -and (Test-Reopened)) { $key = $Target.Hive.OpenSubKey($Name) }
    $key
}

# $null also for an empty text.
function Get-Text($Key, [string]$Name) {
    if ($Key) {
        $read = [string]$Key.GetValue($Name, $null, 'DoNotExpandEnvironmentNames')
        if ($read) { return $read }
        # Raises where the handle is dead.
        $Key.get_ValueCount() | Out-Null
    }
    return $null
}

function Get-Time([datetime]$Time) { [math]::Round(($Time.ToUniversalTime() - [datetime]'1970-01-01').TotalSeconds, 3) }

function Invoke-Patiently([scriptblock]$Do, $For = $Codes.locked) {
    for ($try = 1; ; $try++) {
        try { return & $Do } catch { if ($For -notcontains (Get-Cause $_).native -or $try -eq 5) { throw } }
        Start-Sleep -Milliseconds 200
    }
}

function Open-File([string]$Path, [string]$Access, [string]$Share, [string]$Mode = 'Open') {
    $Target.At = @{ path = $Path }
    $real = Get-RealPath $Path
    if ([IO.Directory]::Exists($real)) { Stop-Run is_directory @{ path = $Path } }
    Invoke-Patiently { [IO.File]::Open($real, $Mode, $Access, $Share) }
}

function Read-Stream($Stream) {
    $bytes = New-Object byte[] ([int]$Stream.Length)
    $at = 0
    while ($at -lt $bytes.Length -and ($count = $Stream.Read($bytes, $at, $bytes.Length - $at))) { $at += $count }
    return , $bytes
}

function Read-File([string]$Path) {
    Invoke-Patiently {
        $stream = Open-File $Path Read 'ReadWrite, Delete'
        try { return , (Read-Stream $stream) } finally { $stream.Close() }
    } $Passing
}

function Read-Journal([string]$Name = 'journal') {
    $written = Get-Text (Open-Key $Own) $Name
    try { if ($written) { return ConvertFrom-Json $written } } catch { return [pscustomobject]@{ corrupt = $true } }
    return $null
}

# A lock file that a crash left behind is held by nobody; 5: its holder is just leaving.
function Get-LockHolder {
    $path = $Target.Root + '\msexchange.winsock_proxy.lock'
    try { [IO.File]::Open((Get-RealPath $path), 'Open', 'Read', 'Read, Delete').Close(); return $null }
    catch { $native = (Get-Cause $_).native; if ($native -in 2, 3, 5) { return $null } elseif ($native -ne 32) { throw } }
    try { $holder = ConvertFrom-Json ([Text.Encoding]::ASCII.GetString((Read-File $path))) } catch { $holder = $null }
    if ($holder) { return $holder }
    return New-Entry 'who run machine since'
}
#endregion
#region look
$ServiceKeys = 'SYSTEM\CurrentControlSet\Services'
$Digest = '^[0-9a-f]{64}$'

function Skip-Missing($Record) { if ((Get-Cause $Record).native -notin 2, 3) { throw $Record } }

function Get-List($Key, [string]$Name) { if ($Key) { foreach ($value in @($Key.GetValue($Name))) { if ($value) { $value } } } }

function Get-Hash([byte[]]$Bytes) {
    # SHA256Managed is refused where FIPS is enforced.
    $hash = (New-Object Security.Cryptography.SHA256CryptoServiceProvider).ComputeHash($Bytes)
    [BitConverter]::ToString($hash).Replace('-', '').ToLowerInvariant()
}

function Get-BackupPath([string]$Hash) { "$($Target.Root)\msexchange.winsock_proxy\backup\$Hash.ini" }

# PowerShell swallows what a property raises, not what its getter raises.
function Get-State([string]$Name) {
    $Target.At = @{ service = $Name }
    Invoke-Patiently {
        $controller = New-Object ServiceProcess.ServiceController $Name, $Target.Machine
        try { [regex]::Replace([string]$controller.get_Status(), '(?<!^)[A-Z]', '_$0').ToLowerInvariant() }
        catch { if ((Get-Cause $_).native -ne 1060) { throw }; 'missing' }
        finally { $controller.Close() }
    } $Passing
}

# Without arguments: the Key Management server may have its password there (Q235418).
function Get-Image([string]$Name) {
    $image = Get-Text (Open-Key "$ServiceKeys\$Name") ImagePath
    if (-not $image) { return $null }
    $image = (Expand-Path $image).Trim()
    if ($image.StartsWith('"')) { $image = $image.Split('"')[1] }
    elseif ($image -match '^(.+?\.exe)(\s|$)') { $image = $Matches[1] }
    else { $image = $image.Split(' ')[0] }
    if ($image -match '^\\?(SystemRoot\\|(?=system32\\))(.+)$') { $image = $Target.Root + '\' + $Matches[2] }
    return $image -replace '^\\\?\?\\'
}
#endregion
#region direct
function Test-Reopened { }

function Get-RealPath([string]$Path) {
    if ($Path -notmatch '^[a-z]:\\') { Stop-Run bad_name @{ path = $Path } }
    $Path
}

function Expand-Path([string]$Path) { [Environment]::ExpandEnvironmentVariables($Path) }

function Get-FileSystem([string]$Path) { try { return (New-Object IO.DriveInfo $Path).get_DriveFormat() } catch { return $null } }

# Only where exactly one process has that path is it known to be the service's.
function Get-ServiceProcess([string]$Image, [string]$State) {
    if (-not $Image -or $State -eq 'stopped') { return $null }
    $found = @(foreach ($process in [Diagnostics.Process]::GetProcessesByName([IO.Path]::GetFileNameWithoutExtension($Image))) {
            try { if ($process.get_MainModule().get_FileName() -eq $Image) { [ordered]@{ id = $process.get_Id(); started = Get-Time $process.get_StartTime() } } } catch { continue }
        })
    if ($found.Count -eq 1) { return $found[0] }
    return $null
}

function Connect-Target { $Target.Hive = [Microsoft.Win32.Registry]::LocalMachine }
#endregion
#region computer
# Through a handle whose other end has died everything looks as if it were not there: only a getter tells.
function Test-Reopened {
    try { $Target.Hive.get_SubKeyCount() | Out-Null }
    catch {
        $Target.Hive = [Microsoft.Win32.RegistryKey]::OpenRemoteBaseKey('LocalMachine', $Target.Machine)
        $true
    }
}

# The path by which this machine reaches a path of the server.
function Get-RealPath([string]$Path) {
    if ($Path -notmatch '^[a-z]:\\') { Stop-Run bad_name @{ path = $Path } }
    '\\{0}\{1}$\{2}' -f $Target.Machine, $Path[0], $Path.Substring(3)
}

function Expand-Path([string]$Path) {
    $Path = [regex]::Replace($Path, '%(SystemRoot|windir)%', $Target.Root.Replace('$', '$$'), 'IgnoreCase')
    [regex]::Replace($Path, '%SystemDrive%', $Target.Root.Substring(0, 2), 'IgnoreCase')
}

function Get-FileSystem { return $null }

# NT 4.0 does not tell another machine which process is a service's.
function Get-ServiceProcess { return $null }

function Connect-Target {
    $computer = $Request.computer
    if ($computer -notmatch '^[^\\/:*?"<>|\s]+$') { Stop-Bad computer }
    $Target.Machine = $computer
    # Of a dead handle.
    $Codes.computer_unreachable += 6
    try {
        if ($Request.credential) { Open-Session $computer $Request.credential }
        Test-Reopened | Out-Null
        $Target.Root = Get-Text (Open-Key 'SOFTWARE\Microsoft\Windows NT\CurrentVersion') SystemRoot
        if (-not $Target.Root) { Stop-Run access_denied $Target.At }
    }
    catch {
        $failure = Get-Failure $_
        if ($failure.detail.native -in 5, 86, 1219, 1385, 1396, 1907, 1909 + 1311..1331) { $failure.code = if ($Request.credential) { 'credential_refused' } else { 'second_hop_denied' } }
        Stop-Run $failure.code $failure.detail $failure.message
    }
}
#endregion
#region credential
function Open-Session([string]$Computer, $Given) {
    Assert-Shape $Given 'username:s'
    if (-not $Secret) { Stop-Bad password }
    # A run whose worker may live has left its own open: it is used, and stays, for closing it would cut the worker's lock.
    $root = "\\$Computer\ADMIN$"
    $Target.At = @{ path = $root }
    if (Get-PSDrive | Where-Object { $_.Root -eq $root }) { return }
    # What a cmdlet gets as a parameter is in the log where Module Logging is on: the password is never one.
    $password = New-Object Security.SecureString
    foreach ($letter in [Text.Encoding]::UTF8.GetString([Convert]::FromBase64String($Secret)).ToCharArray()) { $password.AppendChar($letter) }
    # The SMB session of this drive is what authenticates registry and service manager as well.
    New-PSDrive -Name "wsp$Nonce" -PSProvider FileSystem -Root $root -Credential (New-Object Management.Automation.PSCredential $Given.username, $password) -Scope Global | Out-Null
    $Target.Session = { Remove-PSDrive -Name "wsp$Nonce" -Scope Global }
}
#endregion
#region inspect
function Get-RegistryItem($Item) {
    Assert-Shape $Item 'id:s key:s value:s'
    $key = Open-Key $Item.key
    $value = $null
    if ($key) { $value = $key.GetValue($Item.value, $null, 'DoNotExpandEnvironmentNames') }
    if ($value -is [byte[]]) { $value = $null }
    [ordered]@{ id = $Item.id; value = $value }
}

function Get-Sorted([string[]]$Names) {
    [Array]::Sort($Names, [StringComparer]::OrdinalIgnoreCase)
    $Names
}

# Only what somebody asks for: each value is a round trip where the registry is another machine's.
function Get-Once($Entry, $Value) {
    if ($null -eq $Entry[$Value]) { $Entry[$Value] = @(Get-List $Entry.key $Value) }
    $Entry[$Value]
}

function Get-Services {
    $names = @($Request.services)
    if (-not $names) { return }
    # From the registry: .NET Core cannot enumerate the services of NT 4.0.
    $all = New-Object Collections.Hashtable ([StringComparer]::OrdinalIgnoreCase)
    $root = Open-Key $ServiceKeys
    foreach ($name in $root.GetSubKeyNames()) {
        # A key that administrators may not read is no service of ours.
        try { $all[$name] = @{ name = $name; key = $root.OpenSubKey($name) } } catch { if ((Get-Cause $_).native -ne 5) { throw } }
    }
    $entries = $all.psbase.Values
    for ($i = 0; $i -lt $names.Length; $i++) {
        $name = $names[$i]
        $group = if ($all[$name]) { Get-Once $all[$name] Group }
        foreach ($entry in $entries) { if ($names -notcontains $entry.name -and (@(Get-Once $entry DependOnService) -contains $name -or ($group -and @(Get-Once $entry DependOnGroup) -contains $group))) { $names += $entry.name } }
    }
    for ($i = 0; $i -lt $names.Length; $i++) {
        $entry = $all[$names[$i]]
        if (-not $entry) { continue }
        $needs = @(Get-Once $entry DependOnService)
        foreach ($group in Get-Once $entry DependOnGroup) { foreach ($member in $entries) { if ((Get-Once $member Group) -eq $group) { $needs += $member.name } } }
        foreach ($name in $needs) { if ($names -notcontains $name) { $names += $name } }
    }
    foreach ($name in @($Request.services) + @(Get-Sorted @($names | Where-Object { $Request.services -notcontains $_ }))) { Get-ServiceEntry $name $all[$name] }
}

function Get-ServiceEntry($Name, $Entry) {
    $out = New-Entry 'name exists named state start_type account image depends_on depends_on_groups group process process_source'
    $out.name = $Name
    $out.named = $Request.services -contains $Name
    $out.depends_on = $out.depends_on_groups = @()
    $driver = $Entry -and $Entry.key.GetValue('Type') -in 1, 2, 4, 8
    $state = if ($driver) { 'unknown' } elseif ($Entry) { Get-State $Name } else { 'missing' }
    $out.exists = $state -ne 'missing'
    if (-not $out.exists) { return $out }
    $out.state = $state
    $start = $Entry.key.GetValue('Start')
    if ($start -in 0..4) { $out.start_type = ('boot', 'system', 'auto', 'manual', 'disabled')[$start] }
    if ($driver) { return $out }
    $out.account = Get-Text $Entry.key ObjectName
    $out.image = Get-Image $Name
    $out.depends_on = @(Get-Once $Entry DependOnService)
    $out.depends_on_groups = @(Get-Once $Entry DependOnGroup)
    foreach ($group in Get-Once $Entry Group) { $out.group = $group }
    $out.process = Get-ServiceProcess $out.image $state
    $out.process_source = if ($out.process) { 'path' } else { 'unknowable' }
    $out
}

function Read-Pointer($Pointer) {
    Assert-Shape $Pointer 'file:s section:s key:s default:s?'
    try { $bytes = Read-File (Expand-Path $Pointer.file) } catch { Skip-Missing $_; return $Pointer.default }
    $section = ''
    foreach ($line in [Text.Encoding]::GetEncoding(28591).GetString($bytes).Split([char[]]"`r`n")) {
        if ($line.Trim().StartsWith('[')) { $section = $line.Trim(' []'.ToCharArray()) }
        $key, $value = $line.Split([char[]]'=', 2)
        if ($section -eq $Pointer.section -and $value -and $key.Trim() -eq $Pointer.key) { return $value.Trim(' "'.ToCharArray()) }
    }
    return $Pointer.default
}

function Find-File($Item, $Out) {
    if ($Item.path) { $Out.path = Expand-Path $Item.path; $Out.source = 'path'; return }
    foreach ($name in $Item.beside) {
        $image = Get-Image $name
        if ($image -notmatch '^[a-z]:\\') { continue }
        $directory = $image.Substring(0, $image.LastIndexOf('\') + 1)
        if ([IO.Directory]::Exists((Get-RealPath $directory))) { $Out.path = $directory + $Item.name; $Out.source = 'service'; return }
    }
    foreach ($root in $Answer.registry) {
        if ($root.id -ne $Item.root -or $root.value -isnot [string] -or -not $root.value) { continue }
        $Out.path = ((Expand-Path $root.value).TrimEnd('\'), $Item.below, $Item.name | Where-Object { $_ }) -join '\'
        $Out.source = 'registry'
        return
    }
    $found = if ($Item.pointer) { Read-Pointer $Item.pointer }
    if ($found) { $Out.path = Expand-Path $found; $Out.source = 'pointer' }
}

function Read-Entry($Item, $Out) {
    $info = New-Object IO.FileInfo (Get-RealPath $Out.path)
    $Out.directory_exists = $info.Directory.Exists
    if ($Out.directory_exists) {
        $name = $info.Name
        $stem = [IO.Path]::GetFileNameWithoutExtension($name)
        $near = @($info.Directory.GetFiles() | ForEach-Object { $_.Name })
        $Out.lookalikes = @(Get-Sorted @($near | Where-Object { $_ -ne $name -and ($_ -in $stem, "$stem.txt" -or $_.StartsWith("$name.", 'OrdinalIgnoreCase')) }))
        if ($Item.executables) { $Out.executables = @(Get-Sorted @($near | Where-Object { $_ -like '*.exe' } | ForEach-Object { $_.ToLowerInvariant() })) }
        $Out.file_system = Get-FileSystem $Out.path
    }
    if ($info.Exists) {
        $Out.exists = $true
        $Out.size = $info.Length
        $Out.modified = Get-Time $info.LastWriteTimeUtc
        $Out.read_only = $info.IsReadOnly
        if ($Item.content -and $info.Length -gt $Item.max_bytes) { Stop-Run too_large @{ path = $Out.path; size = $info.Length; max_bytes = $Item.max_bytes } }
    }
    # Exists is false for much that is there: only an attempt to open proves absence.
    try { $bytes = Read-File $Out.path } catch { Skip-Missing $_; return }
    $Out.exists = $true
    $Out.size = $bytes.Length
    $Out.sha256 = Get-Hash $bytes
    if ($Item.content) { $Out.content = [Convert]::ToBase64String($bytes) }
}

function Get-FileEntry($Item) {
    Assert-Shape $Item 'id:s name:s? path:s? beside:l root:s? below:s? pointer:o? content:b executables:b max_bytes:n'
    $out = New-Entry 'id path source directory_exists exists size sha256 content modified read_only file_system lookalikes executables error'
    $out.id = $Item.id
    $out.directory_exists = $out.exists = $false
    $out.lookalikes = $out.executables = @()
    try {
        Find-File $Item $out
        $Target.At = @{ path = $out.path }
        if ($out.path) { Read-Entry $Item $out }
    }
    catch {
        $out.error = Get-Failure $_
        if ($out.error.code -eq 'bad_request') { throw }
    }
    $out
}

function Get-Content64($Hash) {
    try { $bytes = Read-File (Get-BackupPath $Hash) } catch { Skip-Missing $_; return $null }
    if ((Get-Hash $bytes) -eq $Hash) { return [Convert]::ToBase64String($bytes) }
    return $null
}

function Get-Records {
    $root = Open-Key "$Own\records"
    if (-not $root) { return }
    foreach ($name in Get-Sorted $root.GetSubKeyNames()) {
        $out = New-Entry 'service loaded wanted file owned process loaded_content'
        $key = $root.OpenSubKey($name)
        foreach ($value in 'loaded', 'wanted', 'file', 'owned') { $out[$value] = Get-Text $key $value }
        $out.service = $name
        if ((Get-Text $key process) -match '^(\d{1,9})@(\d+\.?\d*)$') { $out.process = [ordered]@{ id = [int]$Matches[1]; started = [double]$Matches[2] } }
        if (-not $out.loaded -and $out.file -cmatch $Digest) { $out.loaded_content = Get-Content64 $out.file }
        $out
    }
}

function Get-Backups {
    foreach ($line in Get-List (Open-Key $Own) backups) {
        if ($line -cmatch '^(\d+\.?\d*)\|([0-9a-f]{64})\|(.+)') { [ordered]@{ saved = [double]$Matches[1]; sha256 = $Matches[2]; path = $Matches[3] } }
    }
}

function Invoke-Inspect($Anew) {
    Assert-Shape $Request 'registry:l services:l files:l state:b backup:s? events:o? ports:l'
    $was = $Target.Hive
    foreach ($key in 'journal', 'boot', 'lock', 'backup', 'events', 'events_error') { $Answer[$key] = $null }
    $Answer.machine = [ordered]@{ name = [Environment]::MachineName; powershell = [string]$PSVersionTable.PSVersion; os = [Environment]::OSVersion.VersionString; system_root = $Target.Root }
    $Answer.registry = @(foreach ($item in $Request.registry) { Get-RegistryItem $item })
    $Answer.services = @(Get-Services)
    $Answer.files = @(foreach ($item in $Request.files) { Get-FileEntry $item })
    $Answer.records = $Answer.backups = @()
    if ($Request.state) {
        $Answer.records = @(Get-Records)
        $Answer.backups = @(Get-Backups)
        $Answer.journal = Read-Journal
        $Answer.boot = Get-Text (Open-Key "$Own\boot") token
        $Answer.lock = Get-LockHolder
    }
    if ($null -ne $Request.backup) {
        if ($Request.backup -cnotmatch $Digest) { Stop-Bad backup }
        $content = Get-Content64 $Request.backup
        if ($null -ne $content) { $Answer.backup = [ordered]@{ sha256 = $Request.backup; content = $content } }
    }
    if ($Request.events) { $Answer.events = @(Get-Events $Request.events) }
    $Answer.ports = @(foreach ($item in $Request.ports) { Get-Port $item })
    # What was read through a handle that has died meanwhile may not be true: all is read again, once.
    if ((Test-Reopened) -or $was -ne $Target.Hive) {
        if ($Anew) { Stop-Run computer_unreachable @{ computer = $Answer.computer } }
        Invoke-Inspect 1
    }
}
#endregion
#region outlook
# Not unrolled: each entry is a round trip.
function Get-Log([string]$Name) { return , (New-Object Diagnostics.EventLog $Name, $Target.Machine).get_Entries() }

function Get-Events($Wish) {
    Assert-Shape $Wish 'since:n logs:l sources:l ids:l limit:n scan:n'
    $found = @()
    foreach ($name in $Wish.logs) {
        try {
            $entries = Get-Log $name
            $mine = $looked = 0
            $clock = [Diagnostics.Stopwatch]::StartNew()
            for ($i = $entries.get_Count() - 1; $i -ge 0; $i--) {
                $entry = $entries.get_Item($i)
                $at = Get-Time $entry.TimeGenerated
                if ($at -lt $Wish.since -or $mine -ge $Wish.limit) { break }
                # A log may hold 100,000 entries of others, each of them a round trip.
                if (++$looked -gt $Wish.scan -or $clock.Elapsed.TotalSeconds -gt 20) { Stop-Run internal @{} "only the newest $($looked - 1) entries were looked at" }
                # The message of one that is not wanted is not made: its parts may lie on the server.
                if ($Wish.sources -and $Wish.sources -notcontains $entry.Source) { continue }
                if ($Wish.ids -and $Wish.ids -notcontains ($entry.InstanceId -band 0xFFFF)) { continue }
                # 0 has no name: EVENTLOG_SUCCESS, which the event viewer shows as information.
                $type = if ([int]$entry.EntryType) { ([string]$entry.EntryType).ToLowerInvariant() } else { 'information' }
                $mine++
                $found += [ordered]@{ log = $name; at = $at; source = $entry.Source; id = $entry.InstanceId -band 0xFFFF; type = $type; message = $entry.Message; strings = @($entry.ReplacementStrings) }
            }
        }
        catch { $Answer.events_error = '{0}: {1}' -f $name, (Get-Cause $_).cause.Message }
    }
    $found | Sort-Object -Property { $_.at } -Descending | Select-Object -First $Wish.limit
}

function Get-Port($Item) {
    Assert-Shape $Item 'port:n send:s? read_ms:n'
    $out = [ordered]@{ port = $Item.port; listening = $null; connected = $false; greeting = $null; error = $null; native = $null }
    $client = New-Object Net.Sockets.TcpClient
    try {
        $to = $Request.computer
        if (-not $to) {
            $to = '127.0.0.1'
            $listeners = [Net.NetworkInformation.IPGlobalProperties]::GetIPGlobalProperties().GetActiveTcpListeners()
            $out.listening = @($listeners | Where-Object { $_.Port -eq $Item.port }).Count -gt 0
        }
        $pending = $client.BeginConnect($to, [int]$Item.port, $null, $null)
        if (-not $pending.AsyncWaitHandle.WaitOne([int]$Item.read_ms)) { $out.error = 'timeout'; return $out }
        $client.EndConnect($pending)
        $out.connected = $true
        $stream = $client.GetStream()
        $stream.ReadTimeout = [int]$Item.read_ms
        if ($Item.send) {
            $bytes = [Convert]::FromBase64String($Item.send)
            $stream.Write($bytes, 0, $bytes.Length)
        }
        $buffer = New-Object byte[] 512
        $count = $stream.Read($buffer, 0, 512)
        if ($count) { $out.greeting = [Convert]::ToBase64String($buffer, 0, $count) }
    }
    catch {
        $of = Get-Cause $_
        $out.error = $of.cause.Message
        $out.native = $of.native
    }
    finally { $client.Close() }
    $out
}
#endregion
#region change
# 1175, 1176: ReplaceFile could not rename, and both files are what they were.
$Codes.locked += 1175, 1176
$Codes += @{ disk_full = 39, 112; changed = 80, 183 }
$Answer.exposed = @()

function Get-OwnKey([string]$Name) {
    $Target.At = @{ key = "$Own\$Name" }
    $path = "$Own\$Name".TrimEnd('\')
    try { return $Target.Hive.CreateSubKey($path) } catch { if (-not (Test-Reopened)) { throw } }
    return $Target.Hive.CreateSubKey($path)
}

# SYSTEM and Administrators alone, and no owner who could change that.
function Test-Private($Acl) {
    $trusted = 'S-1-5-18', 'S-1-5-32-544'
    $sids = @($Acl.GetAccessRules($true, $true, [Security.Principal.SecurityIdentifier]) | ForEach-Object { $_.IdentityReference.Value }) + $Acl.GetOwner([Security.Principal.SecurityIdentifier]).Value
    -not @($sids | Where-Object { $trusted -notcontains $_ }).Count
}

# Who can write here decides what a later run believes. Where that cannot be had (FAT keeps no rights), the answer says so.
function Protect-Directory([string]$Real, [string]$Machine, [string]$Path) {
    [IO.Directory]::CreateDirectory($Real) | Out-Null
    try {
        if (Test-Private (Get-Acl -LiteralPath $Real)) { return }
        $wanted = New-Object Security.AccessControl.DirectorySecurity
        $wanted.SetSecurityDescriptorSddlForm('O:BAD:P(A;OICI;FA;;;SY)(A;OICI;FA;;;BA)', 'Access, Owner')
        Set-Acl -LiteralPath $Real -AclObject $wanted
        if (Test-Private (Get-Acl -LiteralPath $Real)) { return }
        Add-Exposed $Machine $Path $null
    }
    catch { Add-Exposed $Machine $Path $null }
}

# NT 4.0 lets Everyone write below SOFTWARE, and a forged journal would start services.
function Protect-Key {
    Get-OwnKey '' | Out-Null
    try {
        $key = $Target.Hive.OpenSubKey($Own, [Microsoft.Win32.RegistryKeyPermissionCheck]::ReadWriteSubTree, [Security.AccessControl.RegistryRights]'ReadPermissions, ChangePermissions, TakeOwnership')
        if (Test-Private $key.GetAccessControl()) { return }
        # All sections would be the audit list too, for which nobody has the right.
        $wanted = New-Object Security.AccessControl.RegistrySecurity
        $wanted.SetSecurityDescriptorSddlForm('O:BAD:P(A;CI;KA;;;SY)(A;CI;KA;;;BA)', 'Access, Owner')
        $key.SetAccessControl($wanted)
        if (Test-Private $key.GetAccessControl()) { return }
        Add-Exposed (Get-Server) $null $Own
    }
    catch { Add-Exposed (Get-Server) $null $Own }
}

function Get-Server { if ($Request.computer) { $Request.computer } else { [Environment]::MachineName } }

function Add-Exposed([string]$Machine, $Path, $Key) {
    if (@($Answer.exposed | Where-Object { $_.path -eq $Path -and $_.key -eq $Key }).Count) { return }
    $Answer.exposed += [ordered]@{ machine = $Machine; path = $Path; key = $Key }
}

function Enter-Lock([double]$Wait) {
    $path = $Target.Root + '\msexchange.winsock_proxy.lock'
    $clock = [Diagnostics.Stopwatch]::StartNew()
    while (-not $Target.Lock) {
        $Target.At = @{ path = $path }
        # Whoever dies loses it; that is why it is no mutex and no registry value.
        try { $Target.Lock = New-Object IO.FileStream (Get-RealPath $path), ([IO.FileMode]::OpenOrCreate), ([IO.FileAccess]::Write), ([IO.FileShare]::Read), 512, ([IO.FileOptions]::DeleteOnClose) }
        catch {
            $native = (Get-Cause $_).native
            # 5: its holder is just leaving.
            if ($native -notin 5, 32 -or ($native -eq 5 -and $clock.Elapsed.TotalSeconds -gt [math]::Max($Wait, 1.0))) { throw }
            if ($native -eq 32 -and $clock.Elapsed.TotalSeconds -ge $Wait) {
                $holder = Get-LockHolder
                # Let go between the two looks, or only looked at by another run.
                if ($holder -or $clock.Elapsed.TotalSeconds -ge $Wait + 5) { Stop-Busy $holder }
            }
            Start-Sleep -Milliseconds 200
        }
    }
    $holder = [ordered]@{ who = $Request.who; run = $Request.run; machine = [Environment]::MachineName; since = Get-Time ([datetime]::UtcNow) }
    $bytes = [Text.Encoding]::ASCII.GetBytes((ConvertTo-Ascii $holder))
    $Target.Lock.SetLength(0)
    $Target.Lock.Write($bytes, 0, $bytes.Length)
    $Target.Lock.Flush()
}

function Exit-Lock {
    $Target.Lock.Close()
    $Target.Lock = $null
}

function Stop-Busy($Holder) {
    $detail = @{}
    foreach ($key in 'who', 'run', 'machine', 'since') { $detail[$key] = if ($Holder -and $Holder.$key) { $Holder.$key } else { $null } }
    Stop-Run busy $detail
}

# The subkey is volatile: it is gone after a boot, and the token with it.
function Get-BootToken {
    # Its parent must not become volatile with it.
    Get-OwnKey '' | Out-Null
    $key = $Target.Hive.CreateSubKey("$Own\boot", [Microsoft.Win32.RegistryKeyPermissionCheck]::Default, [Microsoft.Win32.RegistryOptions]::Volatile)
    $token = Get-Text $key token
    if (-not $token) {
        $token = [guid]::NewGuid().ToString()
        $key.SetValue('token', $token)
    }
    return $token
}

function Write-Stream($Stream, [byte[]]$Bytes) {
    # Space first: a full disk must not leave half of a file.
    if ($Bytes.Length -gt $Stream.Length) { $Stream.SetLength($Bytes.Length) }
    $Stream.Position = 0
    $Stream.Write($Bytes, 0, $Bytes.Length)
    $Stream.SetLength($Bytes.Length)
    $Stream.Flush($true)
}

function Write-New([string]$Path, [byte[]]$Bytes, [string]$Mode = 'CreateNew') {
    $stream = Open-File $Path Write None $Mode
    $written = $false
    try {
        Write-Stream $stream $Bytes
        $written = $true
    }
    finally {
        $stream.Close()
        if (-not $written) { Remove-Quietly (Get-RealPath $Path) }
    }
}

function Save-Copy([string]$Path, [byte[]]$Bytes, [string]$Mode) {
    try {
        [IO.Directory]::CreateDirectory([IO.Path]::GetDirectoryName((Get-RealPath $Path))) | Out-Null
        Write-New $Path $Bytes $Mode
        if ((Get-Hash (Read-File $Path)) -ne (Get-Hash $Bytes)) { Stop-Run backup_failed @{ path = $Path } }
    }
    catch {
        $of = Get-Cause $_
        Stop-Run backup_failed @{ path = $Path; hresult = $of.hresult; native = $of.native } $of.cause.Message
    }
}

function Save-Backup([byte[]]$Bytes) {
    $hash = Get-Hash $Bytes
    $path = Get-BackupPath $hash
    # One that cannot be read is written anew, and where that cannot be done either it is said.
    $same = $false
    try { $same = (Get-Hash (Read-File $path)) -eq $hash } catch { $same = $false }
    if (-not $same) {
        $directory = $path.Substring(0, $path.LastIndexOf('\'))
        try { Protect-Directory (Get-RealPath $directory) (Get-Server) $directory } catch { $same = $false }
        Save-Copy $path $Bytes Create
    }
    $path
}

function Remove-Quietly([string]$Path) { try { Invoke-Patiently { [IO.File]::Delete($Path) } } catch { return } }

function Format-Process($Process) { if ($Process) { '{0}@{1:0.000}' -f $Process.id, $Process.started } else { '' } }
#endregion
#region apply
function Add-Backup([string]$Hash, [string]$Path) {
    $key = Get-OwnKey ''
    $lines = @(Get-List $key backups)
    $of = @($lines | Where-Object { $_.Split([char[]]'|', 3)[2] -eq $Path })
    if ($of.Count -and $of[-1].Split('|')[1] -eq $Hash) { return }
    $line = '{0:0.000}|{1}|{2}' -f (Get-Time ([datetime]::UtcNow)), $Hash, $Path
    $of += $line
    # The first original for ever, the last ten besides.
    $gone = @(if ($of.Count -gt 11) { $of[1..($of.Count - 11)] })
    $lines = @(@($lines) + $line | Where-Object { $gone -notcontains $_ })
    $key.SetValue('backups', [string[]]$lines, 'MultiString')
    foreach ($old in $gone) {
        $hash = $old.Split('|')[1]
        if ($hash -cnotmatch $Digest) { continue }
        if (-not @($lines | Where-Object { $_.Split('|')[1] -eq $hash }).Count) { Remove-Quietly (Get-RealPath (Get-BackupPath $hash)) }
    }
}

# The file's bytes, or $null when there is none.
function Read-Present([string]$Path) {
    try { return , (Read-File $Path) }
    catch {
        if ((Get-Cause $_).native -ne 2) { throw }
        return $null
    }
}

function Get-HashOrNull($Bytes) { if ($null -eq $Bytes) { return $null } else { return Get-Hash $Bytes } }

function Assert-Hash([string]$Path, $Bytes, $Expected) {
    $found = Get-HashOrNull $Bytes
    if ($found -eq $Expected) { return }
    if ($null -eq $found) { Stop-Run not_found @{ path = $Path } }
    Stop-Run changed @{ path = $Path; expected = $Expected; found = $found }
}

function Get-NewBytes($File) {
    if ($null -ne $File.content) {
        try { return , [Convert]::FromBase64String($File.content) } catch { Stop-Bad content }
    }
    if ($null -eq $File.from_backup) { return $null }
    try { $bytes = Read-File (Get-BackupPath $File.from_backup) }
    catch { Skip-Missing $_; Stop-Run backup_missing @{ sha256 = $File.from_backup } }
    if ((Get-Hash $bytes) -ne $File.from_backup) { Stop-Run backup_missing @{ sha256 = $File.from_backup } }
    return , $bytes
}

function Assert-File($File) {
    Assert-Shape $File 'path:s expect_sha256:s? content:s? from_backup:s? backup:s backup_path:s?'
    if ($null -ne $File.content -and $null -ne $File.from_backup) { Stop-Bad from_backup }
    if ($null -ne $File.from_backup -and $File.from_backup -cnotmatch $Digest) { Stop-Bad from_backup }
    if ($File.backup -notin 'store', 'beside', 'none') { Stop-Bad backup }
    if ($File.backup -eq 'beside' -and -not $File.backup_path) { Stop-Bad backup_path }
}

# The last copy of it in the store, for the old file itself cannot be moved.
function Restore-Stored([string]$Path) {
    $of = @(Get-List (Open-Key $Own) backups | Where-Object { $_.Split([char[]]'|', 3)[2] -eq $Path })
    if (-not $of.Count) { Stop-Run backup_missing @{ sha256 = $null } }
    Write-New $Path (Get-NewBytes @{ content = $null; from_backup = $of[-1].Split('|')[1] })
}

# What undoes an in-place write that is cut. A file that is neither the old nor the new one, and as long as one of them,
# is torn; any other is somebody's newer work.
function Save-Undo([string]$Path, $Old, [byte[]]$New) {
    $size = if ($null -ne $Old) { $Old.Length } else { 0 }
    $content = if ($size) { [Convert]::ToBase64String($Old) } else { '' }
    $line = '{0}|{1}|{2}|{3}|{4}' -f (Get-HashOrNull $Old), $size, (Get-Hash $New), $New.Length, $content
    Write-New $Path ([Text.Encoding]::ASCII.GetBytes($line)) Create
}

function Restore-Torn([string]$Path, [string]$Undo) {
    $was, $size, $new, $length, $content = [Text.Encoding]::ASCII.GetString((Read-File $Undo)).Split('|')
    $now = Read-Present $Path
    $torn = Get-HashOrNull $now
    # The last: it was cut itself, before the file was touched.
    if ($null -eq $torn -or $torn -in $was, $new -or [string]$now.Length -notin $size, $length -or $null -eq $content) { return }
    $old = [byte[]]@()
    if ($was) {
        try { $old = [Convert]::FromBase64String($content) } catch { $old = [byte[]]@() }
        if ((Get-Hash $old) -ne $was) { $old = Get-NewBytes @{ content = $null; from_backup = $was } }
    }
    $stream = Open-File $Path ReadWrite None
    try {
        Assert-Hash $Path (Read-Stream $stream) $torn
        if ($was) { Write-Stream $stream $old }
    }
    finally { $stream.Close() }
    if (-not $was) { [IO.File]::Delete((Get-RealPath $Path)) }
    $Answer.healed += $Path
}

# What a run that died in the middle of its work has left beside the file: the old one comes back, for it may be the
# only copy.
function Clear-Leftovers([string]$Path) {
    $real = Get-RealPath $Path
    $Target.At = @{ path = $Path }
    $directory = [IO.Path]::GetDirectoryName($real)
    if (-not [IO.Directory]::Exists($directory)) { return }
    $pattern = '^' + [regex]::Escape([IO.Path]::GetFileName($real)) + '\.[0-9a-f-]{8,36}\.(tmp~?|was)$'
    foreach ($file in [IO.Directory]::GetFiles($directory)) {
        if ([IO.Path]::GetFileName($file) -notmatch $pattern) { continue }
        $kind = $Matches[1]
        $leftover = $Path.Substring(0, $Path.LastIndexOf('\') + 1) + [IO.Path]::GetFileName($file)
        if ($kind -eq 'was') { Restore-Torn $Path $leftover }
        elseif ($kind -eq 'tmp~' -and -not [IO.File]::Exists($real)) {
            # Move never overwrites.
            try { Invoke-Patiently { [IO.File]::Move($file, $real) } }
            catch {
                $failure = $_
                try { Restore-Stored $Path } catch { throw $failure }
            }
            $Answer.healed += $Path
        }
        # A second old one is nobody's to judge.
        if ($kind -ne 'tmp~' -or $Answer.healed -notcontains $Path) { Remove-Quietly $file }
        if ([IO.File]::Exists($file)) { $Answer.left += $leftover }
    }
}

function Get-Change($File) {
    $path = Expand-Path $File.path
    $old = Read-Present $path
    Assert-Hash $path $old $File.expect_sha256
    if ($null -ne $old -and ([IO.File]::GetAttributes((Get-RealPath $path)) -band [IO.FileAttributes]::ReadOnly)) { Stop-Run read_only @{ path = $path } }
    $new = Get-NewBytes $File
    @{ path = $path; old = $old; new = $new; old_hash = Get-HashOrNull $old; new_hash = Get-HashOrNull $new; wish = $File; backup = $null; begun = $false; written = $false }
}

# A run that was cut off and asked again finds its own copy there.
function Test-Copied($Change) { try { $Change.backup -ne $Change.path -and (Get-HashOrNull (Read-Present $Change.backup)) -eq $Change.old_hash } catch { $false } }

function Save-Old($Change) {
    if ($null -eq $Change.old -or $Change.wish.backup -eq 'none') { return }
    if ($Change.wish.backup -eq 'beside') {
        $Change.backup = Expand-Path $Change.wish.backup_path
        if (-not (Test-Copied $Change)) { Save-Copy $Change.backup $Change.old CreateNew }
        return
    }
    $Change.backup = Save-Backup $Change.old
    Add-Backup $Change.old_hash $Change.path
}

# In what follows a change has begun from the first call that may alter its file: only then there is something to undo.
function Remove-File($Change, $Found) {
    $path = $Change.path
    $real = Get-RealPath $path
    $held = Open-File $path Read 'Read, Delete'
    try {
        Assert-Hash $path (Read-Stream $held) $Found
        # Also where it fails: a connection may break after the server has done it.
        $Change.begun = $true
        Invoke-Patiently { [IO.File]::Delete($real) }
    }
    finally { $held.Close() }
    # Where somebody else has it open too, it stays until he closes it; nobody can open it then (5).
    for ($try = 1; ; $try++) {
        try { Assert-Hash $path (Read-Present $path) $null; return } catch { if ((Get-Cause $_).native -ne 5 -or $try -eq 5) { throw } }
        Start-Sleep -Milliseconds 200
    }
}

function Set-LocalFile($Change, [byte[]]$New, $Found) {
    $path = $Change.path
    $temporary = "$path.$($Request.run).tmp"
    $aside = "$temporary~"
    try {
        # Create: a run that was cut off and asked again finds its own one there.
        Write-New $temporary $New Create
        $Target.At = @{ path = $path }
        if ($null -eq $Found) {
            # Move never overwrites.
            try { Invoke-Patiently { [IO.File]::Move($temporary, $path) } }
            finally { $Change.begun = -not [IO.File]::Exists($temporary) }
            return
        }
        # While this handle is open nobody can open the file for writing.
        $held = Open-File $path Read 'Read, Delete'
        try {
            Assert-Hash $path (Read-Stream $held) $Found
            $Change.begun = $true
            Invoke-Patiently { [IO.File]::Replace($temporary, $path, $aside, $true) }
        }
        finally { $held.Close() }
    }
    catch {
        $Target.At = @{ path = $path }
        $failure = $_
        # ReplaceFile's error 1177 leaves the old file under the other name.
        if ([IO.File]::Exists($aside) -and -not [IO.File]::Exists($path)) { try { Invoke-Patiently { [IO.File]::Move($aside, $path) } } catch { throw $failure } }
        throw $failure
    }
    finally {
        # A virus scanner may hold them for a moment; the file itself is right by now.
        Remove-Quietly $temporary
        # As long as there is no file this is the only copy of the old one.
        if ([IO.File]::Exists($path)) { Remove-Quietly $aside }
    }
}

# In place: rename over SMB1 is unproven, and FAT has no ReplaceFile.
function Set-InPlace($Change, [byte[]]$New, $Found) {
    $path = $Change.path
    $undo = "$path.$($Request.run).was"
    $stream = $null
    $sound = $true
    try {
        # A new file is recorded before it is there.
        if ($null -eq $Found) { Save-Undo $undo $null $New }
        $stream = Open-File $path ReadWrite None $(if ($null -eq $Found) { 'CreateNew' } else { 'Open' })
        $old = Read-Stream $stream
        if ($null -ne $Found) {
            Assert-Hash $path $old $Found
            Save-Undo $undo $old $New
        }
        $Change.begun = $true
        $sound = $false
        try { Write-Stream $stream $New } catch { Write-Stream $stream $old; $sound = $null -ne $Found; throw }
        $sound = $true
    }
    finally {
        if ($stream) { $stream.Close() }
        if ($null -eq $Found -and -not $sound) {
            Remove-Quietly (Get-RealPath $path)
            $sound = -not [IO.File]::Exists((Get-RealPath $path))
        }
        # Else it is for the next run.
        if ($sound) { Remove-Quietly (Get-RealPath $undo) }
    }
}

function Set-File($Change, $New, $Found) {
    $path = $Change.path
    if ($null -eq $New) { if ($null -ne $Found) { Remove-File $Change $Found }; return }
    try { if ((Get-FileSystem $path) -eq 'NTFS') { Set-LocalFile $Change $New $Found } else { Set-InPlace $Change $New $Found } }
    catch {
        # Somebody made it since it was compared.
        if ($null -eq $Found -and (Get-Cause $_).native -in 80, 183) { Assert-Hash $path (Read-Present $path) $null }
        throw
    }
    Assert-Hash $path (Read-Present $path) (Get-Hash $New)
}

function Get-Applied($Change) {
    $out = [ordered]@{ path = $Change.path; sha256 = $Change.new_hash; size = $null; modified = $null; backup = $Change.backup }
    if ($null -ne $Change.new) {
        $out.size = $Change.new.Length
        $out.modified = Get-Time ([IO.File]::GetLastWriteTimeUtc((Get-RealPath $Change.path)))
    }
    $out
}

function Set-Record($Record) {
    $key = Get-OwnKey "records\$($Record.service)"
    $values = @{ wanted = [string]$Record.wanted; owned = $Record.owned }
    if ($null -ne $Record.loaded) {
        $process = Get-ServiceProcess (Get-Image $Record.service) (Get-State $Record.service)
        $values += @{ loaded = $Record.loaded; file = ''; process = Format-Process $process }
    }
    foreach ($name in 'loaded', 'wanted', 'owned', 'process', 'file') {
        if (-not $values.ContainsKey($name)) { $values[$name] = [string]$key.GetValue($name) }
        $key.SetValue($name, $values[$name])
    }
}

# What undoes Set-Record.
function Get-OldRecord($Record) {
    $key = Open-Key "$Own\records\$($Record.service)"
    $was = $null
    if ($key) {
        $was = @{}
        foreach ($name in $key.GetValueNames()) { $was[$name] = $key.GetValue($name) }
    }
    @{ service = $Record.service; was = $was }
}

function Undo-Record($Old) {
    if ($null -eq $Old.was) { (Get-OwnKey records).DeleteSubKey($Old.service, $false); return }
    $key = Get-OwnKey "records\$($Old.service)"
    foreach ($item in $Old.was.GetEnumerator()) { $key.SetValue($item.Key, $item.Value) }
}

# Only what still is what this run wrote is put back: anything else is somebody's newer work. A file that is gone in the
# middle of its own swap is this run's work too.
function Undo-Change($Change) {
    try {
        $now = Get-HashOrNull (Read-Present $Change.path)
        if ($now -eq $Change.old_hash) { return }
        if ($now -ne $Change.new_hash -and ($null -ne $now -or $Change.written)) { $Answer.left += $Change.path; return }
        Set-File $Change $Change.old $now
        $Answer.restored += $Change.path
    }
    catch { $Answer.left += $Change.path }
}

function Invoke-Apply {
    Assert-Shape $Request 'files:l records:l lock_wait:n lock:b'
    foreach ($key in 'applied', 'restored', 'left', 'healed') { $Answer[$key] = @() }
    foreach ($file in $Request.files) { Assert-File $file }
    foreach ($record in $Request.records) {
        Assert-Shape $record 'service:s loaded:s? wanted:s? owned:s'
        if ($record.service -notmatch '^[^\\/]+$') { Stop-Bad service }
    }
    if ($Request.lock) {
        Enter-Lock $Request.lock_wait
        Protect-Key
        Get-BootToken | Out-Null
        foreach ($file in $Request.files) { Clear-Leftovers (Expand-Path $file.path) }
    }
    $changes = @(foreach ($file in $Request.files) { Get-Change $file })
    foreach ($change in $changes) { Save-Old $change }
    $records = @()
    try {
        foreach ($record in $Request.records) { $records += Get-OldRecord $record; Set-Record $record }
        foreach ($change in $changes) { Set-File $change $change.new $change.old_hash; $change.written = $true }
    }
    catch {
        $failure = Get-Failure $_
        [array]::Reverse($changes)
        foreach ($change in $changes) { if ($change.begun) { Undo-Change $change } }
        foreach ($old in $records) { try { Undo-Record $old } catch { $Answer.left += "$Own\records\$($old.service)" } }
        Stop-Run $failure.code $failure.detail $failure.message
    }
    $Answer.applied = @(foreach ($change in $changes) { Get-Applied $change })
}
#endregion
#region outcome
# One per service, kept between looks: opening one anew may cost a second hop seconds.
$Controllers = @{}

function Get-Controller([string]$Name) {
    $Target.At = @{ service = $Name }
    if (-not $Controllers.ContainsKey($Name)) { $Controllers[$Name] = New-Object ServiceProcess.ServiceController $Name, $Target.Machine }
    $Controllers[$Name]
}

# One whose connection has died never recovers.
function Close-Controller([string]$Name) {
    if (-not $Controllers.ContainsKey($Name)) { return }
    $Controllers[$Name].Close()
    $Controllers.Remove($Name)
}

function Get-CurrentState([string]$Name) {
    $kept = $Controllers.ContainsKey($Name)
    try {
        $controller = Get-Controller $Name
        $controller.Refresh()
        return [regex]::Replace([string]$controller.get_Status(), '(?<!^)[A-Z]', '_$0').ToLowerInvariant()
    }
    catch {
        if ((Get-Cause $_).native -eq 1060) { return 'missing' }
        Close-Controller $Name
        # An old one may be all that has died.
        if (-not $kept) { throw }
    }
    return Get-CurrentState $Name
}

function Get-StateQuietly([string]$Name) { try { return Get-CurrentState $Name } catch { return 'unknown' } }

function Assert-Journal($Journal) {
    try {
        Assert-Shape $Journal 'version:n run:s who:s machine:s boot:s? began:n updated:n phase:s outcome:s? error:o? services:l timeline:l left_alone:l finished:l previous:o?'
        foreach ($service in $Journal.services) { Assert-Shape $service 'name:s role:s step:s? before:s? after:s? depends_on:l file:s? file_sha256:s? loaded:s?' }
    }
    catch { Stop-Run journal_corrupt @{ key = "$Own\journal" } }
}

# $null also for a key that journals of earlier versions did not have.
function Get-Value($Of, [string]$Name) { if ($Of.PSObject.Properties[$Name]) { return $Of.$Name } else { return $null } }

# Whether it ran before the restart that stopped it, this one or one that this one finishes.
function Test-Ran($Row) { if ($Row.PSObject.Properties['ran']) { return $Row.ran } else { return $Row.before -eq 'running' } }

function Set-Outcome($Journal, $Outcome) {
    foreach ($key in 'services', 'timeline', 'left_alone', 'finished') { $Answer[$key] = @($Journal.$key) }
    $Answer.launched = Get-Value $Journal launched
    $Answer.exposed = @(Get-Value $Journal exposed | Where-Object { $_ })
    $Answer.done = $null -ne $Outcome
    if (-not $Answer.done) {
        foreach ($key in 'service', 'step', 'since', 'deadline') { $Answer[$key] = $Journal.$key }
        return
    }
    $Answer.outcome = $Outcome
    $Answer.previous = $null
    if ($Journal.previous) { $Answer.previous = [ordered]@{ run = $Journal.previous.run; who = $Journal.previous.who; began = $Journal.previous.began; down = @($Journal.previous.down) } }
    $down = @()
    foreach ($service in $Journal.services) {
        $state = Get-StateQuietly $service.name
        # A worker that died has not looked.
        if (-not $Journal.outcome -and $null -ne $service.before) { $service.after = $state }
        if ($state -ne 'running' -and (Test-Ran $service)) { $down += $service.name }
    }
    $Answer.down = $down
    if ($Journal.error) { $Answer.error = $Journal.error }
}

# What is known of a run: its journal, or the one that a later run kept when it began; $null when there is no trace.
function Find-Journal($Run) {
    foreach ($name in 'journal', 'replaced') {
        $journal = Read-Journal $name
        if (-not $journal -or ($name -eq 'replaced' -and -not $Run)) { continue }
        if ($Run -and $journal.PSObject.Properties['run'] -and $journal.run -ne $Run) { continue }
        if ($name -eq 'journal') { Assert-Journal $journal } elseif (-not $journal.PSObject.Properties['run']) { continue }
        if ($name -eq 'replaced' -and -not $journal.outcome) { $journal.outcome = 'interrupted' }
        return $journal
    }
    return $null
}

# A read that fails says nothing about the worker, which goes on: then what was known last is told.
function Wait-Outcome($Run, [double]$Seconds, $Known) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    $free = [Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        $late = $clock.Elapsed.TotalSeconds -ge $Seconds
        try {
            $journal = Find-Journal $Run
            if (-not $journal) {
                $Answer.done = $true
                $Answer.outcome = 'unknown'
                return
            }
            $Known = $journal
            if ($journal.outcome) { Set-Outcome $journal $journal.outcome; return }
            $patience = if ($journal.phase -eq 'launching') { 30 } else { 5 }
            if (Get-LockHolder) { $free = [Diagnostics.Stopwatch]::StartNew() }
            elseif ($free.Elapsed.TotalSeconds -ge $patience) { Set-Outcome $journal interrupted; return }
        }
        catch {
            if ((Get-Failure $_).code -eq 'journal_corrupt' -or ($late -and -not $Known)) { throw }
            $free = [Diagnostics.Stopwatch]::StartNew()
        }
        if ($late) { Set-Outcome $Known $null; return }
        Start-Sleep -Milliseconds 500
    }
}

function Invoke-Restart_Status {
    Assert-Shape $Request 'of:s? wait:n'
    # Another session's worker may live.
    $Target.Session = $false
    Wait-Outcome $Request.of $Request.wait $null
}
#endregion
#region restart
$Finishable = 'stopping', 'stopped', 'starting', 'hung', 'failed'
$EntryKeys = 'name role ran before after process_before process_after process_source stop_at stop_ms start_ms step error depends_on file file_sha256 loaded'

function Get-Stamp { Get-Time ([datetime]::UtcNow) }

function Test-Own($Journal) { $Journal -and $Journal.PSObject.Properties['run'] -and $Journal.run -eq $Request.run }

function Save-Journal {
    # With its connection a worker may have lost its lock; another run's journal is not written over.
    if (-not $Text -and -not (Test-Own (Read-Journal))) { Stop-Run journal_corrupt @{ key = "$Own\journal" } }
    $Work.Journal.updated = Get-Stamp
    (Get-OwnKey '').SetValue('journal', (ConvertTo-Ascii $Work.Journal))
}

function Set-Phase([string]$Phase) {
    $Work.Journal.phase = $Phase
    Save-Journal
}

function Save-Step($Service, [string]$Step, [double]$Timeout = 0) {
    $Service.step = $Step
    $journal = $Work.Journal
    $journal.service = $Service.name
    $journal.step = $Step
    $journal.since = Get-Stamp
    $journal.deadline = $journal.since + $Timeout
    $journal.timeline += [pscustomobject]@{ at = $journal.since; service = $Service.name; step = $Step }
    Save-Journal
}

# What is stopped comes back although the journal cannot be written any more.
function Save-StepQuietly($Service, [string]$Step, [double]$Timeout = 0) { try { Save-Step $Service $Step $Timeout } catch { return } }

# The first failure is the run's.
function Set-Failure($Service, $Failure, [string]$Step) {
    if ($null -eq $Work.Journal.error) { $Work.Journal.error = $Failure }
    if (-not $Service) { return }
    $Service.error = $Failure
    Save-StepQuietly $Service $Step
}

function Get-WallClock { [datetime]::Now.ToString('HH:mm') }

function Assert-Window($Window) {
    if (-not $Window) { return }
    $now = Get-WallClock
    $late = $now -ge $Window.from
    $early = $now -lt $Window.to
    $inside = if ($Window.from -lt $Window.to) { $late -and $early } else { $late -or $early }
    if (-not $inside) { Stop-Run outside_window @{ now = $Answer.clock.now; utc_offset_minutes = $Answer.clock.utc_offset_minutes; window = $Window } }
}

function New-Row($Of) {
    $row = New-Entry $EntryKeys
    $row.ran = $false
    foreach ($key in 'name', 'role', 'depends_on', 'file', 'file_sha256', 'loaded') { $row[$key] = $Of.$key }
    $row
}

function New-Journal($Old) {
    $now = Get-Stamp
    $journal = [ordered]@{
        version = 1; run = $Request.run; who = $Request.who; machine = [Environment]::MachineName; boot = Get-BootToken; began = $now; updated = $now; phase = 'launching'
        service = $null; step = $null; since = $now; deadline = $now + 30; outcome = $null; error = $null; services = @(); timeline = @(); left_alone = @(); finished = @(); previous = $null; launched = $null; exposed = @()
    }
    $journal.services = @(foreach ($item in $Request.services) { New-Row $item })
    if ($Old -and $Old.phase -ne 'done') { Add-Previous $journal $Old }
    $journal
}

# The step from which a later run goes on; $null: nothing is owed.
function Get-OwedStep($Row, $Outcome) {
    # Told to stop by a run before that, and it may still do so.
    if ($Row.step -eq 'recorded' -and (Get-Value $Row stop_at)) { return 'stopping' }
    # A worker that died has not seen that what it started stays up.
    if ($Row.step -eq 'running' -and -not $Outcome) { return 'starting' }
    if ($Row.step -in $Finishable) { return $Row.step }
    return $null
}

# What earlier runs stopped and nobody saw running again: either this run owes it now, or it is only told.
function Add-Previous($Journal, $Old) {
    $owed = @($Old.services | Where-Object { (Test-Ran $_) -and (Get-OwedStep $_ $Old.outcome) })
    $older = $Old.previous
    # It was only told then, by a run that came to no end itself.
    $told = @(if ($older -and $older.PSObject.Properties['services']) { $older.services })
    $any = $Request.finish -eq 'any'
    $fresh = $any -or ($Old.boot -eq $Journal.boot -and [math]::Abs($Journal.began - $Old.began) -lt 86400)
    if (-not $any -and ($told.Count -or -not $fresh)) {
        $of = if ($fresh) { $older } else { $Old }
        $rows = @($told) + @(if (-not $fresh) { $owed })
        $down = @($rows | ForEach-Object { $_.name } | Where-Object { (Get-CurrentState $_) -notin 'running', 'missing' })
        $Journal.previous = [pscustomobject]@{ run = $of.run; who = $of.who; began = $of.began; boot = $of.boot; down = $down; services = $rows }
    }
    if (-not $fresh) { return }
    $Journal.left_alone = @($Old.services | Where-Object { $_.step -eq 'recorded' -and (Test-Ran $_) -and -not (Get-OwedStep $_ $Old.outcome) } | ForEach-Object { $_.name } | Where-Object { (Get-CurrentState $_) -eq 'stopped' })
    $rows = @()
    foreach ($of in @(if ($any) { $told }) + $owed) {
        # This request knows better which file is right.
        $row = @(@($Journal.services) + $rows | Where-Object { $_.name -eq $of.name })[0]
        if (-not $row) { $row = New-Row $of; $rows += $row }
        $row.ran = $true
        $row.step = Get-OwedStep $of $Old.outcome
        $row.stop_at = Get-Value $of stop_at
        $row.process_before = Get-Value $of process_before
    }
    $Journal.services = @(Get-StartOrder ($rows + $Journal.services))
}

# As given, but dependencies first: rows of two runs know each other by name only.
function Get-StartOrder($Rows) {
    while ($Rows) {
        $names = @($Rows | ForEach-Object { $_.name })
        $next = @($Rows | Where-Object { -not @($_.depends_on | Where-Object { $names -contains $_ }).Count })
        $next = if ($next.Count) { $next[0] } else { $Rows[0] }
        $next
        $Rows = @($Rows | Where-Object { $_.name -ne $next.name })
    }
}

# Ansible's own way out of WinRM's job, which ends with the connection.
function Start-Worker([string]$File) {
    $shell = @('powershell.exe', 'pwsh.exe' | ForEach-Object { [IO.Path]::Combine($PSHOME, $_) } | Where-Object { [IO.File]::Exists($_) })[0]
    $run = '$ErrorActionPreference=''Stop'';$r=New-Object IO.StreamReader ([IO.File]::Open(''{0}'',''Open'',''Read'',''ReadWrite, Delete''));$n,$t,$s=$r.ReadToEnd().Split([char]10);$r.Close();$j=ConvertFrom-Json $t;&([scriptblock]::Create($j.script)) $j.request $null $n $s' -f $File.Replace("'", "''")
    $options = '-NoProfile -NonInteractive -ExecutionPolicy Bypass -EncodedCommand ' + [Convert]::ToBase64String([Text.Encoding]::Unicode.GetBytes($run))
    try { $made = Invoke-CimMethod -ClassName Win32_Process -MethodName Create -Arguments @{ CommandLine = '"{0}" {1}' -f $shell, $options } }
    catch {
        # It stays in the job, and may end with the connection.
        Start-Process -FilePath $shell -ArgumentList $options -WindowStyle Hidden
        return 'process'
    }
    # Its own numbers, no Win32 codes.
    if ($made.ReturnValue -ne 0) { Stop-Run worker_failed @{ returned = [int]$made.ReturnValue } "Create returned $($made.ReturnValue)" }
    return 'wmi'
}

# What the worker is to do, and the password: gone with the launcher, however that ends, and soon after the worker has read it.
function Open-Handover([string]$File) {
    $stream = New-Object IO.FileStream $File, ([IO.FileMode]::Create), ([IO.FileAccess]::Write), ([IO.FileShare]'Read, Delete'), 4096, ([IO.FileOptions]::DeleteOnClose)
    $bytes = [Text.Encoding]::ASCII.GetBytes("$Nonce`n$Text`n$Secret")
    $stream.Write($bytes, 0, $bytes.Length)
    $stream.Flush()
    $stream
}

# A hand-over stays only where the machine itself went down; no worker takes it that late.
function Remove-Abandoned([string]$Directory) {
    foreach ($file in [IO.Directory]::GetFiles($Directory, '*.json')) {
        $age = (Get-Stamp) - (Get-Time ([IO.File]::GetLastWriteTimeUtc($file)))
        if ([math]::Abs($age) -gt 45) { try { [IO.File]::Delete($file) } catch { continue } }
    }
}

function Test-Launching($Journal) { (Test-Own $Journal) -and $Journal.phase -eq 'launching' }

function Invoke-Launch($Before) {
    $directory = $env:SystemRoot + '\msexchange.winsock_proxy\run'
    $file = "$directory\$($Request.run).json"
    $stream = $failure = $null
    # From here on a worker may live, and share its connection to the server, which closing this one would cut.
    $Target.Session = $false
    try {
        try {
            Protect-Directory $directory ([Environment]::MachineName) $directory
            if ($Request.credential -and @($Answer.exposed | Where-Object { $_.path -eq $directory }).Count) { Stop-Run access_denied @{ path = $directory } }
            Remove-Abandoned $directory
            $stream = Open-Handover $file
            # The worker waits for the lock before it takes the journal.
            $Work.Journal.launched = Start-Worker $file
            $Work.Journal.exposed = $Answer.exposed
            Save-Journal
        }
        catch { $failure = Get-Failure $_ }
        Exit-Lock
        $clock = [Diagnostics.Stopwatch]::StartNew()
        while (-not $failure -and (Test-Launching (Read-Journal)) -and $clock.Elapsed.TotalSeconds -lt 30) { Start-Sleep -Milliseconds 200 }
    }
    finally {
        if ($stream) { $stream.Close() }
        Remove-Quietly $file
    }
    if (-not (Test-Launching (Read-Journal))) { return }
    # With the lock in hand the journal can be taken back: a worker that comes late finds another one and leaves.
    try { Enter-Lock 5 } catch { return }
    if (-not (Test-Launching (Read-Journal))) {
        Exit-Lock
        return
    }
    $key = Get-OwnKey ''
    if ($Before) { $key.SetValue('journal', $Before) } else { $key.DeleteValue('journal', $false) }
    if ($failure) { Stop-Run worker_failed $failure.detail $failure.message }
    Stop-Run worker_failed
}

# A connection that fails for a moment tells nothing about the service.
function Wait-State([string]$Name, [string[]]$Until, [double]$Seconds) {
    $clock = [Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        $late = $clock.Elapsed.TotalSeconds -ge $Seconds
        try {
            $state = Get-CurrentState $Name
            if ($late -or $Until -contains $state) { return $state }
        }
        catch { if ($late) { throw } }
        Start-Sleep -Milliseconds 200
    }
}

# A step's own limit, cut by what is left of the whole run. What comes back has its own limit whole.
function Get-Limit([double]$Seconds) { [math]::Max(0.0, [math]::Min($Seconds, [double]$Request.deadline - $Work.Clock.Elapsed.TotalSeconds)) }

# A controller keeps the list, and the states of those in it, until it looks at its own service anew.
function Get-Dependents([string]$Name) {
    Get-CurrentState $Name | Out-Null
    (Get-Controller $Name).get_DependentServices()
}

# A stop of .NET Framework takes running dependents with it, unasked; that of .NET 5 and later can be told not to.
function Assert-Alone([string]$Name) {
    foreach ($dependent in Get-Dependents $Name) {
        if ([string]$dependent.get_Status() -ne 'Stopped') { Stop-Run graph_changed @{ service = $Name; dependent = $dependent.get_ServiceName() } }
    }
}

# 0, or the Win32 code with which the service manager refused.
function Send-Control([string]$Name, [string]$Control) {
    $controller = Get-Controller $Name
    try {
        if ($Control -eq 'start') { $controller.Start() }
        elseif (@($controller.Stop.OverloadDefinitions).Count -gt 1) { $controller.Stop($false) }
        else { $controller.Stop() }
        return 0
    }
    catch {
        $native = (Get-Cause $_).native
        Close-Controller $Name
        if ($null -eq $native) { throw }
        return $native
    }
}

# Which process it is, is no reason to leave a service down.
function Find-Process($Service, [string]$State) {
    $process = $null
    try { $process = Get-ServiceProcess (Get-Image $Service.name) $State } catch { $process = $null }
    $Service.process_source = if ($process) { 'path' } else { 'unknowable' }
    return $process
}

function Stop-One($Service) {
    $limit = Get-Limit $Request.stop_timeout
    if ($limit -le 0) { Stop-Run stop_timeout @{ service = $Service.name; state = Get-StateQuietly $Service.name; waited_ms = 0 } }
    Assert-Alone $Service.name
    # From here on, until it is known to be refused, it may have been taken, whatever goes wrong.
    $earlier = $Service.stop_at
    $Service.stop_at = Get-Stamp
    try { Save-Step $Service stopping $limit } catch { $Service.stop_at = $earlier; throw }
    $clock = $Work.Told[$Service.name] = [Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        $native = Send-Control $Service.name stop
        # 1052, 1061: it takes no control now, perhaps in a moment.
        if ($native -notin 1052, 1061 -or $clock.Elapsed.TotalSeconds -ge $limit) { break }
        if ((Get-StateQuietly $Service.name) -in 'stopped', 'stop_pending') { $native = 0; break }
        Start-Sleep -Milliseconds 500
        $Service.stop_at = $earlier
        Assert-Alone $Service.name
        $Service.stop_at = Get-Stamp
    }
    # 1053, and what tells that the connection failed: nobody knows whether the service has it. Looking will tell.
    $unsure = $native -eq 1053 -or ($native -ge 1700 -and $native -lt 1800) -or $Codes.computer_unreachable -contains $native
    if ($native -notin 0, 1062 -and -not $unsure) {
        $Service.stop_at = $earlier
        Stop-Run stop_refused @{ service = $Service.name; native = $native }
    }
    $state = Wait-State $Service.name stopped ($limit - $clock.Elapsed.TotalSeconds)
    $Service.stop_ms = [long]$clock.ElapsedMilliseconds
    if ($state -ne 'stopped') { Stop-Run stop_timeout @{ service = $Service.name; state = $state; waited_ms = $Service.stop_ms; native = if ($unsure) { $native } else { $null } } }
    Save-StepQuietly $Service stopped
}

# Empty without a file. A file that cannot be read is no reason to leave a service down.
function Get-SectionHash($Service) {
    if (-not $Service.file) { return '' }
    try { return Get-Hash (Read-File (Expand-Path $Service.file)) } catch { if ((Get-Cause $_).native -in 2, 3) { return '' } }
    return 'unreadable'
}

function Set-Loaded($Service, [string]$Before) {
    if (-not $Service.file) { return }
    $hash = Get-SectionHash $Service
    $loaded = ''
    # Written while the service started: nobody knows what it read.
    if ($hash -ne $Before -or $hash -eq 'unreadable') { $hash = '' }
    elseif ($hash -eq [string]$Service.file_sha256) { $loaded = [string]$Service.loaded }
    elseif (-not $hash) { $loaded = Get-Hash (New-Object byte[] 0) }
    # Another file than the controller knew: it works the section's hash out from the copy.
    else { Save-Backup (Read-File (Expand-Path $Service.file)) | Out-Null }
    $key = Get-OwnKey "records\$($Service.name)"
    $key.SetValue('process', (Format-Process $Service.process_after))
    $key.SetValue('file', $hash)
    $key.SetValue('loaded', $loaded)
    foreach ($name in 'wanted', 'owned') { if ($null -eq $key.GetValue($name)) { $key.SetValue($name, '') } }
}

function Start-One($Service) {
    $limit = [double]$Request.start_timeout
    # One that is looked at a second time has read its file long ago.
    $first = $Work.Begun[$Service.name]
    if (-not $first) { $first = $Work.Begun[$Service.name] = @{ was = Get-SectionHash $Service; clock = [Diagnostics.Stopwatch]::StartNew() } }
    Save-StepQuietly $Service starting $limit
    $clock = [Diagnostics.Stopwatch]::StartNew()
    while ($true) {
        $native = Send-Control $Service.name start
        # 1056: somebody else starts it, or it has not finished stopping. 1055: the service manager's data is locked for a moment.
        if (($native -notin 1055, 1056 -and $Codes.computer_unreachable -notcontains $native) -or $clock.Elapsed.TotalSeconds -ge $limit) { break }
        if ((Wait-State $Service.name 'running', 'start_pending', 'stopped' ($limit - $clock.Elapsed.TotalSeconds)) -ne 'stopped') { $native = 0; break }
        Start-Sleep -Milliseconds 200
    }
    if ($native -notin 0, 1056) { Stop-Run start_failed @{ service = $Service.name; native = $native } }
    $state = Wait-State $Service.name 'running', 'stopped' ($limit - $clock.Elapsed.TotalSeconds)
    $Service.start_ms = [long]$first.clock.ElapsedMilliseconds
    if ($state -eq 'stopped') { Stop-Run start_failed @{ service = $Service.name } }
    if ($state -ne 'running') { Stop-Run start_timeout @{ service = $Service.name; state = $state; waited_ms = $Service.start_ms } }
    $Service.process_after = Find-Process $Service $state
    try { Set-Loaded $Service $first.was } catch { Set-Failure $null (Get-Failure $_) '' }
    Save-StepQuietly $Service running
}

function Test-Disabled([string]$Name) { (Get-Text (Open-Key "$ServiceKeys\$Name") Start) -eq '4' }

# Where that cannot be read now it is no reason to leave a service down.
function Test-StaysDown([string]$Name) { try { return Test-Disabled $Name } catch { return $false } }

# In order; what depends on a failure is not tried.
function Start-All($List) {
    foreach ($service in $List) {
        $down = @($service.depends_on | Where-Object { $Work.Failed -contains $_ })
        try {
            if ($down.Count) { Stop-Run dependency_failed @{ service = $service.name; dependency = $down[0] } }
            Start-One $service
        }
        catch {
            $failure = Get-Failure $_
            $Work.Failed += $service.name
            $step = 'failed'
            if ($failure.code -eq 'start_timeout') {
                $step = 'hung'
                $Work.Late += $service
            }
            Set-Failure $service $failure $step
        }
    }
}

# Nothing is stopped for an earlier run, and only what is stopped is started, once it has come to rest.
function Complete-Previous {
    $journal = $Work.Journal
    $asked = @($Request.services | ForEach-Object { $_.name })
    $start = @()
    $rested = $false
    $Work.Earlier = @($journal.services | Where-Object { $_.ran } | ForEach-Object { $_.name })
    foreach ($service in $journal.services) {
        if (-not $service.ran) { continue }
        # One that was told to stop may still be on its way down.
        $state = Wait-State $service.name 'running', 'stopped', 'missing' (Get-Limit $Request.stop_timeout)
        # Nobody has seen yet that it stays up.
        if ($state -eq 'running' -and $service.step -eq 'starting') {
            if (-not $rested) { Start-Sleep -Milliseconds ([int](1000 * $Request.settle)) }
            $rested = $true
            $state = Wait-State $service.name 'running', 'stopped', 'missing' (Get-Limit $Request.stop_timeout)
        }
        if (Test-Told $service $state) {
            $service.before = $service.after = $state
            $service.process_source = 'unknowable'
            continue
        }
        $service.stop_at = $service.process_before = $null
        # Somebody else has ended that.
        if ($state -in 'running', 'missing') { $service.ran = $false; $service.step = $null; continue }
        $service.before = $service.after = $state
        $service.process_source = 'unknowable'
        if ($state -eq 'stopped') { if (-not (Test-StaysDown $service.name)) { $start += $service }; continue }
        $Work.Failed += $service.name
        $Work.Late += $service
        try { Stop-Run service_pending @{ service = $service.name; state = $state } } catch { $service.error = Get-Failure $_ }
        Set-Failure $null $service.error ''
    }
    $journal.services = @($journal.services | Where-Object { $_.ran -or $asked -contains $_.name })
    Start-All $start
    $journal.finished = @($start | Where-Object { $Work.Failed -notcontains $_.name } | ForEach-Object { $_.name })
    Save-Journal
}

function Assert-Ready {
    foreach ($item in $Request.services) { if ((Get-CurrentState $item.name) -eq 'missing') { Stop-Run service_missing @{ service = $item.name } } }
    $asked = @($Request.services | ForEach-Object { $_.name })
    foreach ($service in $Work.Journal.services) {
        # Of an earlier run: it has just been looked at. Where its stop may still come it is told again, if that is asked.
        if ($service.ran -and ($service.before -ne 'running' -or $asked -notcontains $service.name)) { continue }
        $service.before = $service.after = Wait-State $service.name 'running', 'stopped' (Get-Limit $Request.stop_timeout)
        if ($service.before -notin 'running', 'stopped') { Stop-Run service_pending @{ service = $service.name; state = $service.before } }
        $service.ran = $service.ran -or $service.before -eq 'running'
        $service.process_before = Find-Process $service $service.before
    }
}

# What is stopped and what is started: running roots, and what runs and depends on them.
function Set-Plan {
    $list = $Work.Journal.services
    $new = @($Work.Journal.finished)
    $asked = @($Request.services | ForEach-Object { $_.name })
    $up = @($list | Where-Object { ($_.before -eq 'running' -and $asked -contains $_.name) -or $new -contains $_.name })
    # A root that was started a moment ago, to finish an earlier run, has read its file.
    $reached = @($up | Where-Object { $_.role -eq 'root' -and $new -notcontains $_.name } | ForEach-Object { $_.name })
    foreach ($service in $list) { if ($reached -notcontains $service.name -and @($service.depends_on | Where-Object { $reached -contains $_ }).Count) { $reached += $service.name } }
    $Work.Stop = @($up | Where-Object { $reached -contains $_.name })
    $Work.Start = @($list | Where-Object { $_.before -eq 'stopped' -and $new -notcontains $_.name -and $Request.start -contains $_.name })
}

function Assert-Plan {
    $touched = @($Work.Stop) + $Work.Start
    $names = @($touched | ForEach-Object { $_.name })
    foreach ($name in $names) { if (-not $Request.allow_disabled -and (Test-Disabled $name)) { Stop-Run service_disabled @{ service = $name } } }
    foreach ($service in $Work.Stop) {
        if ($service.role -ne 'root' -and $Request.dependents -eq 'fail') { Stop-Run graph_changed @{ service = @($service.depends_on | Where-Object { $names -contains $_ })[0]; dependent = $service.name } }
        foreach ($dependent in Get-Dependents $service.name) {
            $name = $dependent.get_ServiceName()
            if ($names -notcontains $name -and (Get-CurrentState $name) -ne 'stopped') { Stop-Run graph_changed @{ service = $service.name; dependent = $name } }
        }
    }
    foreach ($service in $touched) {
        foreach ($name in $service.depends_on) {
            if ($names -contains $name) { continue }
            $state = Get-CurrentState $name
            if ($state -eq 'running') { continue }
            if ($state -eq 'missing' -or -not $Request.start_dependencies) { Stop-Run dependency_down @{ service = $service.name; dependency = $name; state = $state } }
            $names += $name
            Add-Dependency $name $state
        }
    }
}

# The service manager would start it unasked; here the result tells.
function Add-Dependency([string]$Name, [string]$State) {
    if (-not $Request.allow_disabled -and (Test-Disabled $Name)) { Stop-Run service_disabled @{ service = $Name } }
    $entry = [pscustomobject](New-Entry $EntryKeys)
    $entry.ran = $false
    $entry.name = $Name
    $entry.role = 'dependency'
    $entry.before = $entry.after = $State
    $entry.depends_on = @()
    $Work.Need += $entry
    $Work.Journal.services = @($entry) + $Work.Journal.services
}

function Stop-All {
    $list = @($Work.Stop)
    [array]::Reverse($list)
    foreach ($service in $list) {
        try { Stop-One $service }
        catch {
            $failure = Get-Failure $_
            $step = 'failed'
            if ($null -ne $service.stop_at) {
                $step = 'stopping'
                $Work.Late += $service
                # One that does not stop but runs is no loss for what depends on it.
                if ((Get-StateQuietly $service.name) -ne 'running') { $Work.Failed += $service.name }
            }
            Set-Failure $service $failure $step
            return
        }
    }
}

# What is started again. After a failure everything that was stopped, whatever was wished.
function Get-Returning {
    $whole = $null -eq $Work.Journal.error
    if ($whole -and $Request.dependents -eq 'leave_stopped') { foreach ($service in $Work.Stop) { if ($service.role -ne 'root') { Save-StepQuietly $service left } } }
    $asked = @($Work.Start | ForEach-Object { $_.name })
    foreach ($service in $Work.Journal.services) {
        $returns = $service.step -eq 'stopped' -or ($whole -and $asked -contains $service.name)
        if ($returns -and -not (Test-StaysDown $service.name)) { $service }
    }
}

# A stop that was taken may come late, as long as it is the process that was told; after a day nobody waits for it.
function Test-Told($Service, [string]$State) {
    $at = Get-Value $Service stop_at
    if ($State -ne 'running' -or (Get-OwedStep $Service $true) -ne 'stopping' -or $null -eq $at -or [math]::Abs((Get-Stamp) - $at) -ge 86400) { return $false }
    try { return -not (Test-Other (Get-ServiceProcess (Get-Image $Service.name) $State) $Service.process_before) } catch { return $true }
}

# What was told to stop or to start, and had not done so when its limit passed, is this run's until the deadline: once
# it has come to rest it is started, and what had to wait for it.
function Complete-Late {
    foreach ($service in $Work.Journal.services) {
        # One that an earlier run told to stop does so only now.
        $late = $service.ran -and (Get-OwedStep $service $true) -eq 'stopping' -and @($Work.Late | ForEach-Object { $_.name }) -notcontains $service.name
        if ($late -and (Get-StateQuietly $service.name) -notin 'running', 'unknown') { $Work.Late += $service }
    }
    $told = $null
    while ($Work.Late -and -not (Test-TakenOver)) {
        $left = Get-Limit $Request.deadline
        foreach ($service in $Work.Late) {
            $state = Get-StateQuietly $service.name
            $waits = Test-Told $service $state
            if ($state -notin 'running', 'stopped', 'missing' -or ($waits -and $Work.Failed -notcontains $service.name)) { continue }
            if (-not $waits) { $Work.Late = @($Work.Late | Where-Object { $_.name -ne $service.name }) }
            Start-Late $service $state $waits
            $told = $null
        }
        if ($left -le 0 -or -not $Work.Late) { return }
        if (-not $told) {
            $told = @($Work.Late)[0]
            Save-Waiting $told $left
        }
        Start-Sleep -Milliseconds 500
    }
}

# Without its connection, and so without its lock, a worker is followed by another run, which owns all that is left.
function Test-TakenOver {
    try { $journal = Read-Journal } catch { return $false }
    return $journal -and -not (Test-Own $journal)
}

# For those who poll.
function Save-Waiting($Service, [double]$Seconds) {
    $journal = $Work.Journal
    $journal.service = $Service.name
    $journal.step = $Service.step
    $journal.since = Get-Stamp
    $journal.deadline = $journal.since + $Seconds
    try { Save-Journal } catch { return }
}

function Start-Late($Service, [string]$State, [bool]$Waits) {
    $start = @()
    if ($State -eq 'stopped') {
        $Work.Begun.Remove($Service.name)
        if ($Service.step -eq 'stopping' -and $Work.Told.ContainsKey($Service.name)) {
            $Service.stop_ms = [long]$Work.Told[$Service.name].ElapsedMilliseconds
            Save-StepQuietly $Service stopped
        }
        if (-not (Test-StaysDown $Service.name)) { $start += $Service }
    }
    elseif ($State -eq 'running' -and $Service.step -eq 'hung') { $start += $Service }
    # Somebody else has restarted it, or started what an earlier run had stopped.
    elseif ($State -eq 'running' -and -not $Waits) { $Service.step = 'failed' }
    $Work.Failed = @($Work.Failed | Where-Object { $_ -ne $Service.name })
    foreach ($other in $Work.Journal.services) {
        if (-not $other.error -or $other.error.code -ne 'dependency_failed' -or @($other.depends_on | Where-Object { $Work.Failed -contains $_ }).Count) { continue }
        $Work.Failed = @($Work.Failed | Where-Object { $_ -ne $other.name })
        $other.error = $null
        $start += $other
    }
    try { Set-Phase starting } catch { $Work.Journal.phase = 'starting' }
    Start-All $start
    $names = @($start | Where-Object { $_.step -eq 'running' -and $Work.Earlier -contains $_.name } | ForEach-Object { $_.name })
    $Work.Journal.finished = @($Work.Journal.finished) + $names
}

function Assert-Settled {
    $running = @($Work.Journal.services | Where-Object { $_.step -eq 'running' -and $null -ne $_.start_ms })
    if (-not $running.Count) { return }
    try { Set-Phase settling } catch { $Work.Journal.phase = 'settling' }
    Start-Sleep -Milliseconds ([int](1000 * $Request.settle))
    foreach ($service in $running) {
        try { Assert-Same $service }
        catch {
            $failure = Get-Failure $_
            if ($failure.code -ne 'died') { Set-Failure $null $failure ''; continue }
            $Work.Journal.finished = @($Work.Journal.finished | Where-Object { $_ -ne $service.name })
            Set-Failure $service $failure failed
        }
    }
}

# Where only one of the two is known nothing can be told from them.
function Test-Other($Process, $Known) { [bool]($Process -and $Known -and (Format-Process $Process) -ne (Format-Process $Known)) }

function Assert-Same($Service) {
    $state = Wait-State $Service.name 'running', 'stopped', 'missing' 5
    $process = Get-ServiceProcess (Get-Image $Service.name) $state
    if ($state -ne 'running' -or (Test-Other $process $Service.process_after)) { Stop-Run died @{ service = $Service.name; state = $state } }
}

function Invoke-Work {
    Set-Phase finishing
    Complete-Previous
    if ($Work.Journal.error) { return }
    Assert-Ready
    Set-Plan
    Assert-Plan
    foreach ($service in @($Work.Stop) + $Work.Start) { Save-Step $service recorded }
    if ($Work.Need) {
        Set-Phase starting
        Start-All $Work.Need
        if ($Work.Journal.error) { return }
    }
    if ($Work.Stop) {
        Set-Phase stopping
        Stop-All
    }
    $back = @(Get-Returning)
    if ($back.Count) {
        try { Set-Phase starting } catch { $Work.Journal.phase = 'starting' }
        Start-All $back
    }
}

# The journal is done when nothing is down through this run or those before it.
function Complete-Journal {
    $journal = $Work.Journal
    $changed = $journal.finished.Length -gt 0
    foreach ($service in $journal.services) {
        if ($null -ne $service.before) { $service.after = Get-StateQuietly $service.name }
        if ($null -ne $service.stop_ms -or $null -ne $service.start_ms) { $changed = $true }
        # It has died since it was looked at, or nobody could look.
        if ($service.step -eq 'running' -and $service.after -ne 'running') { $service.step = 'failed' }
    }
    $owed = @($journal.services | Where-Object {
            $_.ran -and (Get-OwedStep $_ $true) -and -not (Test-StaysDown $_.name) -and ($_.after -notin 'running', 'missing' -or (Test-Told $_ $_.after))
        })
    if (-not $owed.Count) { $journal.phase = 'done' }
    $journal.service = $journal.step = $journal.deadline = $null
    $journal.outcome = if ($journal.error) { 'failed' } elseif ($changed) { 'restarted' } else { 'nothing' }
    # Without this nobody hears how it ended.
    for ($try = 1; ; $try++) {
        try { Save-Journal; return } catch { if ($try -eq 20) { throw } }
        Start-Sleep -Milliseconds 500
    }
}

function Invoke-Worker {
    Enter-Lock 30
    $journal = Read-Journal
    if (-not (Test-Launching $journal)) { return }
    $Work.Journal = $journal
    try { Invoke-Work } catch { Set-Failure $null (Get-Failure $_) '' }
    Complete-Late
    # After a failure as well: what was started has to stay up.
    Assert-Settled
    Complete-Journal
}

function Assert-Restart {
    Assert-Shape $Request 'services:l start:l dependents:s stop_timeout:n start_timeout:n deadline:n settle:n wait:n lock_wait:n allow_disabled:b start_dependencies:b window:o? finish:s'
    foreach ($item in $Request.services) {
        Assert-Shape $item 'name:s role:s depends_on:l file:s? file_sha256:s? loaded:s?'
        if ($item.role -notin 'root', 'dependent') { Stop-Bad role }
    }
    if ($Request.dependents -notin 'restore', 'leave_stopped', 'fail') { Stop-Bad dependents }
    if ($Request.finish -notin 'same_boot', 'any') { Stop-Bad finish }
    if (-not $Request.window) { return }
    Assert-Shape $Request.window 'from:s to:s'
    foreach ($key in 'from', 'to') { if ($Request.window.$key -notmatch '^([01]\d|2[0-3]):[0-5]\d$') { Stop-Bad $key } }
}

function Invoke-Restart {
    Assert-Restart
    $Work = @{ Journal = $null; Clock = [Diagnostics.Stopwatch]::StartNew(); Failed = @(); Stop = @(); Start = @(); Need = @(); Late = @(); Earlier = @(); Told = @{}; Begun = @{} }
    # Only the one who was asked has the text; it starts the worker, which has not.
    if (-not $Text) { Invoke-Worker; return }
    Enter-Lock $Request.lock_wait
    Protect-Key
    $journal = Read-Journal
    if ($journal) {
        Assert-Journal $journal
        $young = [math]::Abs((Get-Stamp) - $journal.updated) -lt 60
        if ($journal.phase -eq 'launching' -and $young) { Stop-Busy ([pscustomobject]@{ who = $journal.who; run = $journal.run; machine = $journal.machine; since = $journal.began }) }
    }
    Assert-Window $Request.window
    $before = Get-Text (Open-Key $Own) journal
    $Work.Journal = New-Journal $journal
    if ($journal) { (Get-OwnKey '').SetValue('replaced', $before) }
    Save-Journal
    Invoke-Launch $before
    Wait-Outcome $Request.run $Request.wait $Work.Journal
}
#endregion
#region main
try {
    $now = [DateTimeOffset]::Now
    $Answer.clock = [ordered]@{ now = Get-Time $now.UtcDateTime; utc_offset_minutes = [int]$now.Offset.TotalMinutes }
    # Windows PowerShell does not load it by itself, PowerShell 7 has it elsewhere.
    try { Add-Type -AssemblyName System.ServiceProcess } catch { $now = $null }
    Assert-Shape $Request 'version:n op:s computer:s? credential:o? run:s who:s'
    foreach ($key in 'op', 'run', 'computer') { $Answer[$key] = $Request.$key }
    if ($Request.version -ne 1) { Stop-Bad version }
    if ($Request.run -cnotmatch '^[0-9a-f-]{8,36}$') { Stop-Bad run }
    if ('inspect', 'apply', 'restart', 'restart_status' -cnotcontains $Request.op) { Stop-Bad op }
    Connect-Target
    & "Invoke-$($Request.op)"
}
catch { $Answer.error = Get-Failure $_ }
finally {
    if ($Target.Lock) { $Target.Lock.Close() }
    if ($Target.Session) { try { & $Target.Session } catch { $now = $null } }
}
"---msexchange.winsock_proxy begin $Nonce---"
ConvertTo-Ascii $Answer
"---msexchange.winsock_proxy end $Nonce---"
#endregion
