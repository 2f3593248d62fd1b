# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The report of a run as a file: a page for people, JSON for programs, JUnit for a CI, all from one value.

Private to this collection: names and shapes may change in any release; the JSON has a version of its own.
"""
