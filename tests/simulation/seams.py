# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Where the target script touches Windows, and what stands there in the simulation.

Nothing of the script is left out or rewritten: only the names of types are other ones (``world.cs`` has them), and a
few cmdlets are hidden by functions (``driver.ps1``). ``test_seams.py`` shows that there is no other contact.
"""

from __future__ import annotations

import importlib
import re
import typing as t
from collections.abc import Mapping

importlib.import_module("tests.conftest")  # puts the collection on the path
from ansible_collections.msexchange.winsock_proxy.plugins.plugin_utils.target import script  # noqa: E402

#: .NET's types that reach Windows, and the model's.
TYPES: t.Final[Mapping[str, str]] = {
    "Diagnostics.Process": "Sim.Process",
    "Diagnostics.Stopwatch": "Sim.Stopwatch",
    "guid": "Sim.Guid",
    "IO.Directory": "Sim.Directory",
    "IO.DriveInfo": "Sim.DriveInfo",
    "IO.File": "Sim.File",
    "IO.FileInfo": "Sim.FileInfo",
    "IO.FileStream": "Sim.FileStream",
    "Microsoft.Win32.Registry": "Sim.Registry",
    "Microsoft.Win32.RegistryKey": "Sim.RegistryKey",
    "Security.AccessControl.DirectorySecurity": "Sim.Rights",
    "Security.AccessControl.RegistrySecurity": "Sim.Rights",
    "ServiceProcess.ServiceController": "Sim.ServiceController",
}
#: Static members of types that are else left alone.
MEMBERS: t.Final[Mapping[str, str]] = {
    "[datetime]::Now": "[Sim.Clock]::Now",
    "[datetime]::UtcNow": "[Sim.Clock]::UtcNow",
    "[DateTimeOffset]::Now": "[Sim.Clock]::Moment",
    "[Environment]::ExpandEnvironmentVariables": "[Sim.Machine]::ExpandEnvironmentVariables",
    "[Environment]::MachineName": "[Sim.Machine]::MachineName",
    "[Environment]::OSVersion": "[Sim.Machine]::OSVersion",
    "[scriptblock]::Create": "[Sim.Script]::Create",
}
VARIABLES: t.Final[Mapping[str, str]] = {
    "$env:SystemRoot": "[Sim.Machine]::SystemRoot",
    "$PSHOME": "[Sim.Machine]::PSHome",
}
#: Cmdlets that `driver.ps1` hides; those of JSON for their price alone.
CMDLETS: t.Final = (
    *("Add-Type", "ConvertFrom-Json", "ConvertTo-Json", "Get-Acl"),
    *("Invoke-CimMethod", "Set-Acl", "Start-Process", "Start-Sleep"),
)
#: What is sent, by the name under which scenarios ask for it.
SCRIPTS: t.Final[Mapping[str, Mapping[str, t.Any]]] = {
    "apply": {"op": "apply", "computer": None},
    "apply remote": {"op": "apply", "computer": "EXCH1"},
    "restart": {"op": "restart", "computer": None},
    "restart remote": {"op": "restart", "computer": "EXCH1"},
}


def rules() -> list[tuple[str, str]]:
    """Return regular expressions and replacements, in the order in which they are applied."""
    found = [(rf"\[{re.escape(name)}\]", f"[{model}]") for name, model in TYPES.items()]
    found += [(rf"\bNew-Object {re.escape(name)}(?![\w.])", f"New-Object {model}") for name, model in TYPES.items()]
    found += [(re.escape(name) + r"(?!\w)", model) for name, model in MEMBERS.items()]
    found += [(re.escape(name) + r"(?!\w)", f"({model})") for name, model in VARIABLES.items()]
    return found


def through(text: str) -> str:
    """Return PowerShell text as it runs in the simulation."""
    for pattern, replacement in rules():
        text = re.sub(pattern, replacement, text)
    return text


def scripts(instead: str = "", changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return the texts that scenarios ask for.

    Args:
        instead: PowerShell that stands before ``main``: functions of its own hide those of the same name.
        changes: text that the script has, and what stands there instead.

    Raises:
        LookupError: the script does not have such a text.
    """
    made = {}
    wanted = set(changes or ())
    for name, request in SCRIPTS.items():
        parts = script.regions()
        *before, main = (parts[region] for region in script.regions_for(request))
        text = "".join(before) + instead + "\n" + main
        for old, new in (changes or {}).items():
            if old in text:
                wanted.discard(old)
            text = text.replace(old, new)
        made[name] = through(text)
    if wanted:
        raise LookupError(f"the script has no such text: {sorted(wanted)}")
    return made
