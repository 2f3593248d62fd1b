$ErrorActionPreference='Stop';$ProgressPreference='SilentlyContinue'
$n,$t,$s,$x=@($input)-join"`n"-split"`n"
if($PSVersionTable.PSVersion.Major -lt 3){"---msexchange.winsock_proxy begin $n---"
'{"version":1,"error":{"code":"powershell_too_old","detail":{"found":"'+$PSVersionTable.PSVersion+'"}}}'
"---msexchange.winsock_proxy end $n---"}
else{$j=ConvertFrom-Json $t;&([scriptblock]::Create($j.script)) $j.request $t $n $s}
