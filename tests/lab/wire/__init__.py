# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab's wire: WS-Management, WinRS shells and PSRP over HTTP and HTTPS on loopback addresses.

It speaks to unmodified clients (pywinrm, pypsrp, Ansible's winrm and psrp connections, testinfra) and hands each
command to a :class:`tests.lab.wire.api.CommandHandler`. **It executes no PowerShell and no other command**: it decodes
what arrived, and what is answered is the handler's business.

Guesses, never compared with a real server: the fault for an unknown CommandId, that MaxProcessesPerShell is answered
like MaxConcurrentOperationsPerUser, the fault for input that was not announced, and that every signal ends a command.
Not served: Kerberos, certificate logins, Disconnect and Reconnect of shells, enumeration, event subscriptions, and
input to a command that already runs.
"""
