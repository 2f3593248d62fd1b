# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The lab: a loopback fleet of simulated Windows hosts that real clients reach over real sockets.

It is a simulation and says so: **no PowerShell is executed anywhere in it**, and no Windows either. What arrives is
answered by Python code that keeps its own implementation of the rules; it imports nothing from ``plugins/``.
"""
