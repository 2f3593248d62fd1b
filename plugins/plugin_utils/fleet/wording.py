# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""How the role words what modules returned: options by its own names, ports, who answers, why nothing was checked."""

from __future__ import annotations

import re
import typing as t

from ..shapes import JsonObject

# Options of the modules as the role calls them, for whoever uses the role reads what the modules advise.
# "start: true" is the module's way to say it; a bare "window" or "start" may be any other word.
ROLE_WORDS: t.Mapping[str, str] = {
    "allow_kms": "publish_allow_kms",
    "allow_cluster": "publish_allow_cluster",
    "allow_disabled": "publish_allow_disabled",
    "start_dependencies": "publish_start_dependencies",
    "stop_timeout": "publish_stop_timeout",
    "start_timeout": "publish_start_timeout",
    "lock_wait": "publish_lock_wait",
    "target_deadline": "publish_target_deadline",
    "computer_username": "publish_computer_username",
    "computer_password": "publish_computer_password",
    **{name: f"publish_{name}" for name in ("bin_dir", "imc_dir", "exchange_version", "force_credentials")},
    **{name: f"publish_{name}" for name in ("proxy_address", "proxy_addresses")},
    "mta_direct": "publish_mta_direct",
    "ports.ldaps": "publish_ports.ldaps",
    "ports.ldap": "publish_ports.ldap",
    "option window": "option publish_restart_window",
    "option deadline": "option publish_restart_deadline",
    "start: true": "publish_start_stopped: true",
    "finish: any": "publish_finish: any",
}

_ROLE_WORDS = re.compile(rf"(?<![\w.])(?:{'|'.join(re.escape(word) for word in ROLE_WORDS)})(?!\w)")


def role_words(text: str) -> str:
    """Return a sentence of a module with the options as the role names them."""
    return _ROLE_WORDS.sub(lambda found: ROLE_WORDS[found[0]], text)


def port_name(result: JsonObject) -> str:
    return f"{result['host'] or '*'}:{result['port']} ({result['protocol'] or 'tcp'})"


def place(port: JsonObject) -> tuple[str, int]:
    return port["host"], port["port"]


def who_answers(result: JsonObject) -> str:
    greeting = result.get("greeting") or ""
    return f"answers '{greeting}'" if greeting else "answers, but not as Exchange"


def why(failed: JsonObject) -> str:
    """What a task said that failed, without what newer versions of Ansible put before it."""
    return str(failed.get("msg") or "no answer").strip().removeprefix("Task failed: ").rstrip(".")


def unprobed(probed: JsonObject | None, probe_host: str) -> str:
    """Say why the ports could not be checked, and what to do; empty when they were, or when nobody wanted it.

    Args:
        probed: Result of ``port_probe``, which never fails for a port in the role.
        probe_host: ``publish_probe_host``.
    """
    if not probed or probed.get("skipped"):
        return ""
    if not probed.get("unreachable") and (probed.get("results") or probed.get("ok")):
        return ""
    return (
        f"publish_probe_host '{probe_host}' could not check the ports: {why(probed)}. Give an inventory host that "
        "Ansible reaches and that has Python (localhost is the controller), or see why it does not answer"
    )


def ascii_text(text: str) -> str:
    """Return a text without anything that a terminal might take for a command; other letters become ``?``."""
    return "".join(letter if " " <= letter <= "~" else "?" for letter in text)


def duration(seconds: float) -> str:
    """Return a time span for people, such as ``38 s``, ``2 min 14 s`` or ``3 h 5 min``."""
    whole = round(seconds)
    minutes, rest = divmod(whole, 60)
    if whole < 60:
        return f"{whole} s"
    if minutes < 60:
        return f"{minutes} min {rest} s"
    return f"{minutes // 60} h {minutes % 60} min"
