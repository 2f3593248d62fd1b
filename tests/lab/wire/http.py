# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Just enough HTTP/1.1 for WinRM clients: POST with Content-Length on a connection that is kept alive."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

HEAD_LIMIT = 64 * 1024  # CredSSP and Negotiate tokens travel in a header
REASONS = {200: "OK", 400: "Bad Request", 401: "Unauthorized", 404: "Not Found", 405: "Method Not Allowed"}
REASONS |= {411: "Length Required", 413: "Payload Too Large", 500: "Internal Server Error"}


class BadRequestError(Exception):
    """The bytes are no request that this server answers; ``status`` says with what it does answer."""

    def __init__(self, status: int, why: str) -> None:
        super().__init__(why)
        self.status = status


@dataclass(frozen=True)
class HttpRequest:
    """One request. headers: names in lower case. size: bytes of head and body on the wire."""

    method: str
    path: str
    headers: Mapping[str, str]
    body: bytes
    size: int


@dataclass(frozen=True)
class HttpResponse:
    """One response. headers may repeat a name, as WWW-Authenticate does."""

    status: int
    body: bytes = b""
    headers: Sequence[tuple[str, str]] = ()
    content_type: str = ""

    def encode(self) -> bytes:
        """Render head and body. Content-Length is always there: clients would wait for the end of the connection."""
        lines = [f"HTTP/1.1 {self.status} {REASONS.get(self.status, 'Status')}"]
        if self.content_type:
            lines.append(f"Content-Type: {self.content_type}")
        lines.append("Server: Microsoft-HTTPAPI/2.0")
        lines += [f"{name}: {value}" for name, value in self.headers]
        lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join([*lines, "", ""]).encode("latin-1") + self.body


async def read_request(reader: asyncio.StreamReader, *, body_limit: int) -> HttpRequest | None:
    """Read the next request of a connection.

    :param body_limit: largest body in bytes.
    :returns: the request, or None when the client closed the connection between two requests.
    :raises BadRequestError: what arrived is not HTTP, or larger than the limits.
    :raises ConnectionError, asyncio.IncompleteReadError: the client vanished within a request.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    except asyncio.LimitOverrunError as error:
        raise BadRequestError(400, f"the head is larger than {HEAD_LIMIT} bytes") from error
    method, path, headers = _parse_head(head)
    length = _content_length(headers)
    if length > body_limit:
        raise BadRequestError(413, f"the body has {length} bytes, more than the limit of {body_limit}")
    body = await reader.readexactly(length)
    return HttpRequest(method=method, path=path, headers=headers, body=body, size=len(head) + length)


def _parse_head(head: bytes) -> tuple[str, str, dict[str, str]]:
    start, *lines = head.decode("latin-1").split("\r\n")
    words = start.split(" ")
    if len(words) != 3 or not words[2].startswith("HTTP/1."):
        raise BadRequestError(400, f"no HTTP request line: {start!r}")
    pairs = (line.partition(":") for line in lines if line)
    return words[0], words[1], {name.strip().lower(): value.strip() for name, dummy, value in pairs}


def _content_length(headers: Mapping[str, str]) -> int:
    if "transfer-encoding" in headers:
        raise BadRequestError(411, "a WinRM client states the length of its body")
    text = headers.get("content-length", "0")
    if not text.isdecimal():
        raise BadRequestError(400, f"Content-Length is no number: {text!r}")
    return int(text)
