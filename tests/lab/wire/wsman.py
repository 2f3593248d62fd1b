# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""WS-Management messages: what a request says, and how answers and faults are written ([MS-WSMV], DSP0226)."""

from __future__ import annotations

import base64
import binascii
import re
import typing as t
import uuid
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import dataclass
from xml.sax.saxutils import escape, quoteattr

from tests.lab.wire.api import Fault

SOAP: t.Final = "http://www.w3.org/2003/05/soap-envelope"
ADDRESSING: t.Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing"
WSMAN: t.Final = "http://schemas.dmtf.org/wbem/wsman/1/wsman.xsd"
TRANSFER: t.Final = "http://schemas.xmlsoap.org/ws/2004/09/transfer"
SHELL: t.Final = "http://schemas.microsoft.com/wbem/wsman/1/windows/shell"
POWERSHELL_RESOURCE: t.Final = "http://schemas.microsoft.com/powershell/"
POWERSHELL_XML: t.Final = "http://schemas.microsoft.com/powershell"
WSMAN_FAULT: t.Final = "http://schemas.microsoft.com/wbem/wsman/1/wsmanfault"
WMI_ERROR: t.Final = "http://schemas.dmtf.org/wbem/wscim/1/cim-schema/2/MSFT_WmiError"
ANONYMOUS: t.Final = "http://schemas.xmlsoap.org/ws/2004/08/addressing/role/anonymous"

# Operation name of every action that is served; interceptors and counters use these names.
ACTIONS: t.Final[Mapping[str, str]] = {
    f"{TRANSFER}/Create": "create",
    f"{TRANSFER}/Delete": "delete",
    f"{TRANSFER}/Get": "get",
    f"{SHELL}/Command": "command",
    f"{SHELL}/Send": "send",
    f"{SHELL}/Receive": "receive",
    f"{SHELL}/Signal": "signal",
}

# WSManFault codes, from winerror.h / wsmerror.h of the Windows SDK.
OPERATION_TIMED_OUT: t.Final = 2150858793
UNEXPECTED_SELECTORS: t.Final = 2150858843
QUOTA_MAX_SHELLS: t.Final = 2150859173
QUOTA_MAX_OPERATIONS: t.Final = 2150859174
TARGET_ALREADY_EXISTS: t.Final = 2150858851
UNSUPPORTED_FEATURE: t.Final = 2150858818
SCHEMA_VALIDATION: t.Final = 2150858817
OPERATION_ABORTED: t.Final = 995
INVALID_PARAMETER: t.Final = 87
INTERNAL_ERROR: t.Final = 1359

_DURATION = re.compile(r"-?P(?:(?P<d>[\d.]+)D)?(?:T(?:(?P<h>[\d.]+)H)?(?:(?P<m>[\d.]+)M)?(?:(?P<s>[\d.]+)S)?)?")
_SECONDS: t.Final[Mapping[str, int]] = {"d": 86400, "h": 3600, "m": 60, "s": 1}


class FaultError(Exception):
    """An operation that is answered with a SOAP fault."""

    def __init__(self, fault: Fault) -> None:
        super().__init__(fault.text)
        self.fault = fault


@dataclass(frozen=True)
class Message:
    """One request as it stands in its envelope.

    operation: value of :data:`ACTIONS`, or "" for an action that is not served. timeout_s: OperationTimeout in seconds.
    envelope_bytes: MaxEnvelopeSize that the client reads. body: the Body element.
    """

    operation: str
    action: str
    message_id: str
    resource: str
    timeout_s: float
    envelope_bytes: int
    selectors: Mapping[str, str]
    options: Mapping[str, str]
    body: ET.Element


def parse(data: bytes) -> Message:
    """Read an envelope.

    :raises FaultError: it is no SOAP envelope, or has no action.
    """
    try:
        root = ET.fromstring(data)
    except ET.ParseError as error:
        raise FaultError(schema_violation(str(error))) from error
    header, body = root.find(f"{{{SOAP}}}Header"), root.find(f"{{{SOAP}}}Body")
    if header is None or body is None:
        raise FaultError(schema_violation("the envelope needs Header and Body"))
    action = _text(header, ADDRESSING, "Action")
    return Message(
        operation=ACTIONS.get(action, ""),
        action=action,
        message_id=_text(header, ADDRESSING, "MessageID"),
        resource=_text(header, WSMAN, "ResourceURI"),
        timeout_s=seconds(_text(header, WSMAN, "OperationTimeout"), default=60.0),
        envelope_bytes=_size(_text(header, WSMAN, "MaxEnvelopeSize")),
        selectors=_named(header, "SelectorSet", "Selector"),
        options=_named(header, "OptionSet", "Option"),
        body=body,
    )


def _size(text: str) -> int:
    """MaxEnvelopeSize in bytes; the default is that of WinRM 2.0."""
    if text and not text.isdecimal():
        raise FaultError(schema_violation(f"MaxEnvelopeSize is no number: {text!r}"))
    return int(text or 153600)


def decoded(text: str | None) -> bytes:
    """Decode the base64 of a stream or of arguments.

    :raises FaultError: it is none.
    """
    try:
        return base64.b64decode(text or "", validate=True)
    except (binascii.Error, ValueError) as error:
        raise FaultError(schema_violation(f"a stream is not base64: {error}")) from error


def _text(parent: ET.Element, namespace: str, name: str) -> str:
    return (parent.findtext(f"{{{namespace}}}{name}") or "").strip()


def _named(header: ET.Element, group: str, item: str) -> dict[str, str]:
    found = header.iterfind(f"{{{WSMAN}}}{group}/{{{WSMAN}}}{item}")
    return {element.get("Name", ""): element.text or "" for element in found}


def seconds(duration: str, *, default: float) -> float:
    """Convert an xs:duration such as ``PT20S`` to seconds; bare numbers, as some clients send them, are seconds too."""
    if duration.isdecimal():
        return float(duration)
    match = _DURATION.fullmatch(duration)
    if not match:
        return default
    return sum(float(value) * _SECONDS[unit] for unit, value in match.groupdict().items() if value)


def answer(message: Message, body: str) -> bytes:
    """Write the envelope of a successful answer. body: XML with the prefixes ``s a x w rsp``."""
    return _envelope(f"{message.action}Response", message.message_id, body)


def fault_answer(message_id: str, fault: Fault) -> bytes:
    """Write the envelope of a fault, in the shape that Windows gives it.

    MaxConcurrentOperations arrives as an MSFT_WmiError, not as a WSManFault: Ansible's winrm connection recognises it
    by that, and makes a new shell.
    """
    code = "s:Receiver" if fault.code in (OPERATION_TIMED_OUT, QUOTA_MAX_OPERATIONS, QUOTA_MAX_SHELLS) else "s:Sender"
    detail = _wmi_detail(fault) if fault.code == QUOTA_MAX_OPERATIONS else _wsman_detail(fault)
    body = (
        f'<s:Fault xmlns:w="{WSMAN}"><s:Code><s:Value>{code}</s:Value>'
        f"<s:Subcode><s:Value>{escape(fault.subcode)}</s:Value></s:Subcode></s:Code>"
        f'<s:Reason><s:Text xml:lang="en-US">{escape(fault.text)}</s:Text></s:Reason>'
        f"<s:Detail>{detail}</s:Detail></s:Fault>"
    )
    return _envelope("http://schemas.dmtf.org/wbem/wsman/1/wsman/fault", message_id, body)


def _wsman_detail(fault: Fault) -> str:
    return (
        f'<f:WSManFault xmlns:f="{WSMAN_FAULT}" Code="{fault.code}" Machine="127.0.0.1">'
        f"<f:Message>{escape(fault.text)}</f:Message></f:WSManFault>"
    )


def _wmi_detail(fault: Fault) -> str:
    return (
        f'<p:MSFT_WmiError xmlns:p="{WMI_ERROR}"><p:Message>{escape(fault.text)}</p:Message>'
        f"<p:MessageID>HRESULT 0x{fault.code:x}</p:MessageID><p:error_Category>30</p:error_Category>"
        f"<p:error_Code>{fault.code}</p:error_Code><p:error_Type>HRESULT</p:error_Type></p:MSFT_WmiError>"
    )


def _envelope(action: str, relates_to: str, body: str) -> bytes:
    text = (
        f'<s:Envelope xml:lang="en-US" xmlns:s="{SOAP}" xmlns:a="{ADDRESSING}" xmlns:x="{TRANSFER}"'
        f' xmlns:w="{WSMAN}" xmlns:rsp="{SHELL}"><s:Header>'
        f"<a:Action>{escape(action)}</a:Action><a:MessageID>uuid:{str(uuid.uuid4()).upper()}</a:MessageID>"
        f"<a:To>{ANONYMOUS}</a:To><a:RelatesTo>{escape(relates_to)}</a:RelatesTo>"
        f"</s:Header><s:Body>{body}</s:Body></s:Envelope>"
    )
    return text.encode("utf-8")


def attribute(value: str) -> str:
    """Quote a value for use as an XML attribute, quotes included."""
    return quoteattr(value)


def resource_created(shell_id: str, shell: str, resource: str) -> str:
    """Body of the answer to Create, for shells of every kind. shell: what :func:`shell_xml` wrote."""
    return (
        "<x:ResourceCreated><a:Address>http://127.0.0.1/wsman</a:Address><a:ReferenceParameters>"
        f"<w:ResourceURI>{escape(resource)}</w:ResourceURI>"
        f'<w:SelectorSet><w:Selector Name="ShellId">{shell_id}</w:Selector></w:SelectorSet>'
        f"</a:ReferenceParameters></x:ResourceCreated>{shell}"
    )


def shell_xml(shell_id: str, *, resource: str, user: str, idle_timeout_s: float) -> str:
    """A shell as Create and Get describe it."""
    return (
        f"<rsp:Shell><rsp:ShellId>{shell_id}</rsp:ShellId><rsp:ResourceUri>{escape(resource)}</rsp:ResourceUri>"
        f"<rsp:Owner>{escape(user)}</rsp:Owner><rsp:ClientIP>127.0.0.1</rsp:ClientIP>"
        f"<rsp:IdleTimeOut>PT{idle_timeout_s:.3f}S</rsp:IdleTimeOut><rsp:InputStreams>stdin</rsp:InputStreams>"
        "<rsp:OutputStreams>stdout stderr</rsp:OutputStreams><rsp:State>Connected</rsp:State></rsp:Shell>"
    )


def timed_out() -> Fault:
    """No output within OperationTimeout: every client asks again."""
    text = "The WS-Management service cannot complete the operation within the time specified in OperationTimeout.  "
    return Fault(OPERATION_TIMED_OUT, text, "w:TimedOut")


def shell_not_found(shell_id: str) -> Fault:
    """The shell was deleted, idled out, or never was."""
    text = (
        f"The request for the Windows Remote Shell with ShellId {shell_id} failed because the shell was not found on"
        " the server. Possible causes are: the specified ShellId is incorrect or the shell no longer exists on the"
        " server. Provide the correct ShellId or create a new shell and retry the operation. "
    )
    return Fault(UNEXPECTED_SELECTORS, text, "w:InvalidSelectors")


def shell_exists(shell_id: str) -> Fault:
    """A client chose the id of a shell that is open."""
    return Fault(TARGET_ALREADY_EXISTS, f"The shell {shell_id} already exists. ", "w:AlreadyExists")


def command_not_found(command_id: str) -> Fault:
    """The command is unknown. The code is a guess: it was never compared with a real server's."""
    return Fault(INVALID_PARAMETER, f"The parameter is incorrect. CommandId {command_id}", "w:InvalidParameter")


def aborted() -> Fault:
    """A Receive whose command was terminated meanwhile (ERROR_OPERATION_ABORTED)."""
    text = "The I/O operation has been aborted because of either a thread exit or an application request. "
    return Fault(OPERATION_ABORTED, text)


def too_many_shells(limit: int) -> Fault:
    """The user has used up MaxShellsPerUser."""
    text = (
        f"The WS-Management service cannot process the request. This user is allowed a maximum number of {limit}"
        " concurrent shells, which has been exceeded. Close existing shells or raise the quota for this user. "
    )
    return Fault(QUOTA_MAX_SHELLS, text, "w:QuotaLimit")


def too_many_operations(limit: int) -> Fault:
    """The user has used up MaxConcurrentOperationsPerUser, or a shell MaxProcessesPerShell.

    That the second is answered like the first is a guess; the first is as Windows answers it.
    """
    text = (
        f"The WS-Management service cannot process the request. This user is allowed a maximum number of {limit}"
        " concurrent operations, which has been exceeded. Close existing operations for this user, or raise the quota"
        " for this user. "
    )
    return Fault(QUOTA_MAX_OPERATIONS, text)


def not_served(action: str) -> Fault:
    """An action that this server does not know."""
    text = f"The WS-Management service does not support the action {action}. "
    return Fault(UNSUPPORTED_FEATURE, text, "a:ActionNotSupported")


def schema_violation(why: str) -> Fault:
    """The envelope is not what the protocol asks for."""
    text = f"The SOAP XML in the message does not match the corresponding XML schema definition. {why}"
    return Fault(SCHEMA_VALIDATION, text, "w:SchemaValidationError")


def internal_error(why: str) -> Fault:
    """A mistake in the lab, said aloud instead of a broken connection."""
    return Fault(INTERNAL_ERROR, f"An internal error occurred. {why}")
