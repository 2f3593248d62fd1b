# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What every code of an error means for the user: the cause in plain words, and the remedy."""

from __future__ import annotations

import string
import typing as t
from collections.abc import Mapping
from dataclasses import dataclass

from ...module_utils.listeners import DSAMAIN, EMSMTA, STORE
from .problem import Problem
from .window import wall_time


@dataclass(frozen=True)
class Advice:
    """What a code means for the user; ``{name}`` is filled from the error's detail."""

    cause: str
    remedy: str
    option: str | None = None


_LOOK = "Look at the server before you run it again."
START_ORDER_HINT = "for Exchange in the order SA, DS, IS, MTA, then the others (Q168739)"
_IMC_EVENTS = "for MSExchangeIMC 4007 and 4020 mean a taken port 25 on the proxy (Q222553)"

# One row per code of docs/target_protocol.md; a test compares the two lists.
ADVICE: t.Mapping[str, Advice] = {
    "bad_request": Advice(
        "the target script did not accept the request (key {key})",
        "This is a defect of the collection, or two versions of it are mixed; install one version and report it.",
    ),
    "powershell_too_old": Advice(
        "its Windows PowerShell is {found}, 3.0 is needed",
        "Install Windows Management Framework 3.0 or newer there, or reach the Exchange server through a management "
        "host with option computer.",
        "ansible_host",
    ),
    "computer_unreachable": Advice(
        "the management host could not reach {computer}",
        "Check the name, that the server is up, and that the management host may use SMB (TCP 139 or 445) to it.",
        "computer",
    ),
    "second_hop_denied": Advice(
        "{computer} refused the management host's credentials (the second hop)",
        "Use CredSSP (ansible_winrm_transport: credssp), Kerberos delegation (Windows 2000 in Active Directory), or "
        "computer_username and computer_password; the account must be an administrator of {computer}.",
        "computer",
    ),
    "credential_refused": Advice(
        "{computer} refused this account",
        "Check computer_username (DOMAIN\\user) and computer_password, whether the account is locked, and that the "
        "management host has no other session to the same server open.",
        "computer_username",
    ),
    "not_found": Advice("{path} does not exist", "Check the path."),
    "parent_missing": Advice(
        "the directory of {path} does not exist, or the share by which it is reached",
        "Check the path, or make the directory first (ansible.windows.win_file). Through a management host the server "
        "must have its administrative shares (ADMIN$, C$, D$: net share).",
    ),
    "is_directory": Advice("{path} is a directory", "Remove or rename the directory."),
    "read_only": Advice("{path} has the read-only attribute", "Clear it with: attrib -r {path}"),
    "access_denied": Advice(
        "access to {path}{key} was denied",
        "Use an account that is an administrator of the server and look at the permissions of that object.",
    ),
    "locked": Advice(
        "another program holds {path} open",
        "Close the editor or the program that holds it, and run again; nothing was lost.",
    ),
    "disk_full": Advice("the disk of {path} is full", "Free space on it and run again; the old file is in place."),
    "bad_name": Advice("Windows does not accept the name {path}", "Correct the path."),
    "too_large": Advice(
        "{path} has {size} bytes, more than the {max_bytes} that are taken: the limit keeps what is no INI file, such "
        "as a log, from being read whole into one answer (64 KB is Windows' own limit for INI files, Q74602)",
        "Look at the file on the server; split it, or move it away if it is not what it should be.",
    ),
    "changed": Advice(
        "{path} was changed by somebody else between reading and writing; nothing was written",
        "Run again; the change of the other side is then seen and shown.",
    ),
    "backup_missing": Advice(
        "there is no intact backup {sha256} on the server",
        "wspcfg_info lists the backups that exist (key backups).",
        "restore",
    ),
    "backup_failed": Advice(
        "the backup {path} could not be written or did not read back equal{why}; nothing was changed",
        "Check free space and permissions of that directory on the server.",
    ),
    "busy": Advice(
        "{who} is at work on this server (run {run}, from {machine})",
        "Wait for it to end, or set lock_wait to the seconds that you are ready to wait.",
        "lock_wait",
    ),
    "outside_window": Advice(
        "the clock of {told_by} says {local}, outside the restart window",
        "Run again inside the window, or change option window; nothing was restarted.",
        "window",
    ),
    "service_missing": Advice(
        "the service {service} does not exist", "Check the spelling: the service's name, not its display name.", "names"
    ),
    "service_disabled": Advice(
        "{service} is disabled and would have to start",
        "Enable it, or set allow_disabled if it is meant to stay down once stopped.",
        "allow_disabled",
    ),
    "service_pending": Advice(
        "{service} is in state {state} and did not settle",
        "Look at its event log; Q193040, Q180001 and Q168739 describe services that cannot be controlled.",
        "stop_timeout",
    ),
    "dependency_down": Advice(
        "{service} depends on {dependency}, which is {state}",
        f"Start it first, {START_ORDER_HINT}, or set start_dependencies.",
        "start_dependencies",
    ),
    "graph_changed": Advice(
        "{dependent} runs, depends on {service}, and was not part of the plan",
        "Run again; the plan is then made from what runs now.",
        "dependents",
    ),
    "stop_refused": Advice(
        "{service} refused to stop", "Look at its event log; Q193040 and Q180001 describe the known causes."
    ),
    "stop_timeout": Advice(
        "{service} did not stop in time (it is {state} after {waited_ms} ms)",
        "Nothing is killed. Exchange may need more than ten minutes (Q246287, Q231275 for the MTA); raise "
        "stop_timeout, or end the process by hand as Q241152 and Q231275 describe; the next run starts what is down.",
        "stop_timeout",
    ),
    "start_failed": Advice(
        "{service} did not start",
        f"Look at the event log; {_IMC_EVENTS}, and 7000 or 7001 a service below that failed (Q260698).",
    ),
    "start_timeout": Advice(
        "{service} was not running in time (it is {state} after {waited_ms} ms)",
        "It may still come up: the information store replays its logs after an unclean stop (Q262041, Q272234). "
        "Wait, or raise start_timeout.",
        "start_timeout",
    ),
    "died": Advice(
        "{service} ran, and did not run any more (or as another process) seconds later",
        f"Look at the event log: {_IMC_EVENTS}, 4003 a damaged TCP/IP (Q268643), and after an unclean stop the "
        "information store may end over its logs (Q262041). The next run starts it again.",
    ),
    "dependency_failed": Advice(
        "{service} was not started because {dependency} failed",
        f"Mend {{dependency}}; the next run then starts both, {START_ORDER_HINT}. Q260698 shows such a chain (events "
        "7000 and 7001).",
    ),
    "journal_corrupt": Advice(
        "the journal of an earlier restart cannot be read; nothing was stopped",
        "Look at the services, start what is down, then delete the value journal of "
        "HKLM\\SOFTWARE\\msexchange.winsock_proxy.",
    ),
    "worker_failed": Advice(
        "the worker that restarts the services could not be started, or did not take over{why}",
        "Check that the account is an administrator of the machine that runs the script and that WMI answers there.",
    ),
    "internal": Advice("the target script failed ({type}, line {line})", "Please report it with the message."),
    "no_answer": Advice(
        "the host ran the command but did not answer as Windows PowerShell would",
        "Check that it is a Windows host (or set ansible_connection to winrm or psrp) and that PowerShell may run "
        "there (AppLocker, Constrained Language Mode).",
        "ansible_connection",
    ),
    "wrong_answer": Advice(
        "the answer does not have the shape that this version of the collection expects",
        "Install one version of the collection on the controller and report it.",
    ),
    "connection_lost": Advice(
        "the connection was lost after the request was sent, and what became of it could not be learned in time",
        _LOOK + " A restart under way goes on without the controller.",
        "target_deadline",
    ),
    "interrupted": Advice(
        "the restart's worker ended before its work (the machine that ran it was restarted, or it was killed)",
        "What it had stopped was started again where possible; run again to restart what is still owed. By hand, start "
        f"first what a service depends on, {START_ORDER_HINT}.",
    ),
    "login_refused": Advice(
        "the host refused the login",
        "Check ansible_user and ansible_password (or the Kerberos ticket), whether the account is locked, and that the "
        "host allows this {auth_option}.",
        "ansible_user",
    ),
    "certificate_refused": Advice(
        "the host's certificate is not trusted",
        "Name the file of the authority that signed it ({ca_option}), and connect by a name that stands in the "
        "certificate. Only where nobody can be in between: {validation_option}: ignore.",
        "{validation_option}",
    ),
    "https_to_http": Advice(
        "HTTPS was spoken to a port that speaks HTTP",
        "Use the port for HTTPS (5986 as a rule), or set {scheme_option}: http; the words are encrypted then with "
        "NTLM, Kerberos or CredSSP.",
        "{scheme_option}",
    ),
    "http_to_https": Advice(
        "HTTP was spoken to a port that does not speak it; one for HTTPS hangs up like this",
        "Set {scheme_option}: https, or use the port for HTTP (5985 as a rule).",
        "{scheme_option}",
    ),
    "credssp_disabled": Advice(
        "the host does not offer CredSSP",
        "Enable it there, as an administrator: Enable-WSManCredSSP -Role Server -Force. Or choose another "
        "{auth_option}, and computer_username and computer_password for the second hop.",
        "{auth_option}",
    ),
    "credssp_missing": Advice(
        "the controller has no library for CredSSP",
        "Install it into the Python that runs Ansible: pip install requests-credssp.",
        "{auth_option}",
    ),
    "kerberos_missing": Advice(
        "the controller has no library for Kerberos",
        "Install it into the Python that runs Ansible: pip install pywinrm[kerberos] for winrm, pypsrp[kerberos] for "
        "psrp. Or choose another {auth_option}, such as ntlm.",
        "{auth_option}",
    ),
    "library_missing": Advice(
        "the controller lacks a library that this connection needs",
        "Install it into the Python that runs Ansible: pip install pywinrm for winrm, pypsrp for psrp.",
        "ansible_connection",
    ),
    "no_ticket": Advice(
        "there is no valid Kerberos ticket",
        "Get one as the user that runs Ansible (kinit USER@REALM, klist shows it), or give ansible_password.",
        "ansible_user",
    ),
    "wrong_principal": Advice(
        "Kerberos knows no service of this name",
        "Use the full DNS name by which the host is in the domain as ansible_host, not an address or an alias; setspn "
        "-Q HTTP/NAME shows the names that exist.",
        "ansible_host",
    ),
    "clock_skew": Advice(
        "the clocks of the controller and of the domain differ by more than Kerberos allows (5 minutes)",
        "Set the controller's clock by the domain's (chrony or ntpd with a domain controller as its source).",
        "ansible_user",
    ),
    "no_kdc": Advice(
        "Kerberos on the controller finds no domain controller",
        "Check that kinit is installed, the realm (in capitals, behind the @ of ansible_user), krb5.conf and the "
        "controller's name server, and that TCP and UDP 88 are open to the domain controllers.",
        "ansible_user",
    ),
    "not_administrator": Advice(
        "the host knows the account, and does not let it use WinRM (access denied, 5)",
        "Make it an administrator of that host; a local account other than Administrator needs "
        "LocalAccountTokenFilterPolicy 1 there as well.",
        "ansible_user",
    ),
    "proxy_in_the_way": Advice(
        "the connection goes through the proxy {proxy}, which does not bring it to the host",
        "Add the host to no_proxy in the environment of Ansible, or unset http_proxy, https_proxy and all_proxy.",
        "ansible_host",
    ),
    "header_too_large": Advice(
        "the host refused the request as malformed (HTTP 400), as it does with a Kerberos ticket that is too large for "
        "a header",
        "Is the account a member of very many groups? Then raise MaxFieldLength and MaxRequestBytes of HTTP.sys there "
        "(Q820129), use an account of fewer groups, or NTLM. Otherwise check ansible_port: another server may answer.",
        "{auth_option}",
    ),
    "powershell_missing": Advice(
        "there is no Windows PowerShell on the host, or it is not registered there",
        "Install Windows Management Framework 3.0 or newer there and run Enable-PSRemoting, or reach the Exchange "
        "server through a management host with option computer.",
        "ansible_host",
    ),
    "constrained_language": Advice(
        "PowerShell on the host allows this account a restricted language only",
        "Let the account use the full language there: look at AppLocker, Windows Defender Application Control and "
        "__PSLockdownPolicy, or name an endpoint without such limits (ansible_psrp_configuration_name).",
        "ansible_user",
    ),
    "printed_instead": Advice(
        "the host printed something else instead of the answer",
        "Look for what prints and ends there: the start script of the endpoint, AutoRun of the command interpreter, or "
        "a profile.",
        "ansible_host",
    ),
    "not_winrm": Advice(
        "something else than WinRM answers there",
        "Check ansible_host and ansible_port (5985 for HTTP, 5986 for HTTPS), and that this is the host that is meant.",
        "ansible_port",
    ),
    "host_unreachable": Advice(
        "the host of the connection cannot be reached",
        "Check ansible_host and ansible_port, that the host is up, and that no firewall is in between.",
        "ansible_host",
    ),
    "quota_reached": Advice(
        "this account has used up its WinRM quota on the host of the connection",
        "Lower throttle (each server behind a management host needs one shell there), wait for old shells to end, or "
        "raise MaxShellsPerUser in its WinRM configuration.",
        "target_deadline",
    ),
    "become_refused": Advice(
        "become cannot give the second hop to the Exchange server, and is not supported",
        "Connect as the right account instead: CredSSP (ansible_winrm_transport: credssp), Kerberos delegation, or "
        "computer_username and computer_password.",
        "become",
    ),
    "not_windows": Advice(
        "this is no Windows host: its connection does not speak PowerShell",
        "Set ansible_connection to winrm or psrp (or ansible_shell_type: powershell with ssh).",
        "ansible_connection",
    ),
}


# What is down although its service has no error of its own, and why.
_DOWN: t.Mapping[str, Advice] = {
    "stopped": Advice(
        "{service} ran before and does not run now",
        f"The next run starts it again. By hand, start first what it depends on, {START_ORDER_HINT}.",
    ),
    "earlier": Advice(
        "{service} is disabled, or was left stopped by a restart before the last boot or older than a day; it was not "
        "started",
        f"Enable it or set finish: any, and run again. By hand, start first what it depends on, {START_ORDER_HINT}.",
    ),
    "disabled": Advice(
        "{service} is disabled, so it was not started again",
        "Leave it so, or set its start type back (Start is 2 for automatic, 3 for manual, Q176566) and start it.",
    ),
    "wished": Advice(
        "{service} was stopped and not started again, as dependents: leave_stopped says",
        f"Start it when it may run; what it depends on first, {START_ORDER_HINT}.",
    ),
}


def down_advice(kind: str, service: str) -> str:
    """Say why a service is down that has no error of its own, and what to do.

    Args:
        kind: ``stopped``, ``earlier`` (an earlier restart left it so), ``disabled`` or ``wished``.
        service: Its name.
    """
    advice = _DOWN[kind]
    return f"{advice.cause.format(service=service)}. {advice.remedy}"


def slow_hint(service: str, step: str) -> str | None:
    """Say how long a service is known to take, None where no article tells.

    Args:
        service: Its name.
        step: ``stopping`` or ``starting``; anything else is never slow.
    """
    is_exchange = service.lower().startswith("msexchange")
    return _SLOW.get((service.lower(), step)) or (_SLOW_STOP if is_exchange and step == "stopping" else None)


_SLOW_STOP = "Q246287: over 10 minutes is possible"
_SLOW: t.Mapping[tuple[str, str], str] = {
    (EMSMTA.service.lower(), "stopping"): "Q231275: give it 5 minutes at least",
    (STORE.service.lower(), "starting"): "Q262041: after an unclean stop it replays its logs",
    (DSAMAIN.service.lower(), "starting"): "Q241152: slow while it cannot reach other servers",
}


class _Filled(dict[str, t.Any]):
    def __missing__(self, key: str) -> str:
        return ""


def _local_time(detail: Mapping[str, t.Any]) -> dict[str, str]:
    """Return the time of day that the machine shows, with its offset from UTC, and the window as the user wrote it."""
    told_by = str(detail.get("machine") or "the machine that runs the script")
    if "now" not in detail or "utc_offset_minutes" not in detail:
        return {"told_by": told_by}
    window = detail.get("window")
    text = f"{window['from']}-{window['to']}" if isinstance(window, Mapping) else ""
    return {"local": wall_time(detail), "window": text, "told_by": told_by}


# Why a file could not be written, where the code does not say it: Win32 error -> words (winerror.h).
_REASONS: t.Mapping[int, str] = {
    5: "access was denied",
    32: "another program holds it open",
    39: "the disk is full",
    80: "it exists already",
    112: "the disk is full",
    183: "it exists already",
}


# What Win32_Process.Create returns: numbers of its own, no Win32 codes (Windows SDK, class Win32_Process).
_CREATE: t.Mapping[int, str] = {
    2: "access denied",
    3: "a privilege is missing",
    8: "unknown failure",
    9: "there is no such path",
    21: "a parameter is wrong",
}


def _reason(detail: Mapping[str, t.Any]) -> dict[str, str]:
    returned = detail.get("returned")
    if returned is not None:
        return {"why": f" (Win32_Process.Create returned {returned}: {_CREATE.get(returned, 'a reason of its own')})"}
    reason = _REASONS.get(detail.get("native") or 0)
    return {"why": f" ({reason})"} if reason else {}


# Names of options where the connection's plugin is not known.
_ANY_PLUGIN: t.Mapping[str, str] = {
    "auth_option": "ansible_winrm_transport",
    "scheme_option": "ansible_winrm_scheme",
    "ca_option": "ansible_winrm_ca_trust_path",
    "validation_option": "ansible_winrm_server_cert_validation",
}

# Options whose value the detail of an error may carry, and under which key.
_VALUES: t.Mapping[str, str] = {
    "computer": "computer",
    "computer_username": "username",
    "ansible_host": "address",
    "ansible_port": "port",
    "ansible_user": "user",
    "ansible_connection": "connection",
    "{auth_option}": "auth",
    "{scheme_option}": "scheme",
    "restore": "sha256",
    "window": "window",
}


def problem_of(code: str, detail: Mapping[str, t.Any] | None = None, *, text: str = "") -> Problem:
    """Turn a code and its detail into a problem.

    Args:
        code: One of the protocol's codes; an unknown one is reported as it is.
        detail: Fills the placeholders of the advice.
        text: What the target said, added for people.
    """
    advice = ADVICE.get(code) or Advice(f"unknown error {code}", _LOOK)
    known = _Filled({key: value for key, value in (detail or {}).items() if value is not None})
    known.update(_local_time(known))
    known.update(_reason(known))
    known = _Filled({**_ANY_PLUGIN, **known})
    cause = string.Formatter().vformat(advice.cause, (), known)
    remedy = string.Formatter().vformat(advice.remedy, (), known)
    return Problem(
        code=code,
        cause=f"{cause} [{text.strip()}]" if text.strip() else cause,
        remedy=remedy,
        option=None if advice.option is None else string.Formatter().vformat(advice.option, (), known),
        value=known.get(_VALUES.get(advice.option or "", "")) or None,
        path=None if "{path}" in advice.cause else known.get("path"),
        service=known.get("service"),
    )
