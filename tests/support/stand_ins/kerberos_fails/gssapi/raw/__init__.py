# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Names that pyspnego imports and does not come to use."""

from __future__ import annotations

from . import exceptions

__all__ = ["GSSError", "exceptions"]

GSSError = exceptions.GSSError
ChannelBindings = inquire_sec_context_by_oid = set_cred_option = None
IOV = IOVBuffer = IOVBufferType = unwrap_iov = wrap_iov = wrap_iov_length = None
