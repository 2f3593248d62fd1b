# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What one Exchange server has and owes: pure functions of an inspection and of what the user wants.

Private to this collection: names and shapes may change in any release.
"""
