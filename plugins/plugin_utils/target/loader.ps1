$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue'
$n,$t,$s,$x=[string]::Join([string][char]10,@($input)).Split([char]10)
if($PSVersionTable.PSVersion.Major -lt 3){"---msexchange.winsock_proxy begin $n---"
'{"version":1,"error":{"code":"powershell_too_old","message":"PowerShell 3.0 or later is needed","detail":{"hresult":null,"native":null,"found":"'+$PSVersionTable.PSVersion+'"}}}'
"---msexchange.winsock_proxy end $n---"}
else{$j=ConvertFrom-Json $t;&([scriptblock]::Create($j.script)) $j.request $t $n $s}
