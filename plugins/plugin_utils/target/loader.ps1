$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue'
if($PSVersionTable.PSVersion.Major -lt 3){'---msexchange.winsock_proxy begin---'
'{"version":1,"error":{"code":"powershell_too_old","message":"PowerShell 3.0 or later is needed","detail":{"hresult":null,"native":null,"found":"'+$PSVersionTable.PSVersion+'"}}}'
'---msexchange.winsock_proxy end---'}
else{$t=[string]::Join([string][char]10,@($input));$j=ConvertFrom-Json $t;&([scriptblock]::Create($j.script)) $j.request $t}
