# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
# The Windows lane on a Windows machine that is there for it: it makes and removes services and files of its own.
# Administrator, Python with pip, and gcc for Windows on the PATH are needed.
param([ValidateSet('powershell', 'pwsh')][string]$Shell = 'powershell')
$ErrorActionPreference = 'Stop'

$env:WSP_SHELL = $Shell
Set-Location (Join-Path $PSScriptRoot '../..')
python -m pip install --quiet --disable-pip-version-check PyYAML
if ($LASTEXITCODE) { exit $LASTEXITCODE }
python -m tests.windows
exit $LASTEXITCODE
