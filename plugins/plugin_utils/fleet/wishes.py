# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""What the role is told: its options, and which of them a module gets under which name.

The options stand once, here; the role hands each of them to ``publish_look`` in one line, and gets back the arguments
of every module that it runs later. A new option of a module is one row of these tables and one line of the role.
"""

from __future__ import annotations

import typing as t
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from difflib import get_close_matches

from ...module_utils.listeners import LISTENERS
from ..exchange.installation import VERSIONS, version_text
from ..exchange.wanted import LISTENER_OPTIONS
from ..problems.problem import Problem, Refused
from ..shapes import Json, JsonObject
from .batches import OPTIONS as BATCHES
from .batches import batch_problems, batches_of
from .inputs import HOOKS, PREFIX, input_problems
from .wording import role_words

_NAMES = {"type": "list", "elements": "str", "choices": list(LISTENERS)}
_BOOL = {"type": "bool", "default": False}

# Options of the role without their prefix, in the form of Ansible's argument specs; roles/publish/meta documents them.
OPTIONS: Mapping[str, Mapping[str, t.Any]] = {
    **{name: spec for name, spec in LISTENER_OPTIONS.items() if name != "listeners"},
    "listeners": _NAMES,
    "withdraw": _NAMES,
    "mta_direct": {"type": "str", "choices": ["auto", "true", "false"], "default": "auto"},
    "force_credentials": {"type": "bool"},
    "restore": {"type": "str"},
    "bin_dir": {"type": "str"},
    "imc_dir": {"type": "str"},
    "exchange_version": {"type": "str", "choices": [version_text(version) for version in VERSIONS]},
    "computer": {"type": "str"},
    "computer_username": {"type": "str"},
    "computer_password": {"type": "str", "no_log": True},
    "target_deadline": {"type": "int", "default": 300},
    "lock_wait": {"type": "int", "default": 0},
    "throttle": {"type": "int", "default": 10},
    "restart": {"type": "str", "choices": ["now", "defer", "never"], "default": "now"},
    "restart_window": {"type": "str"},
    "before_restart_tasks": {"type": "str"},
    "after_restart_tasks": {"type": "str"},
    "start_stopped": _BOOL,
    "start_dependencies": _BOOL,
    "stop_timeout": {"type": "int", "default": 900},
    "start_timeout": {"type": "int", "default": 1800},
    "restart_deadline": {"type": "int", "default": 3600},
    "finish": {"type": "str", "choices": ["same_boot", "any"], "default": "same_boot"},
    "allow_kms": _BOOL,
    "allow_cluster": _BOOL,
    "allow_disabled": _BOOL,
    "probe": {"type": "bool", "default": True},
    "probe_host": {"type": "str", "default": "localhost"},
    "probe_timeout": {"type": "float", "default": 75.0},
    "probe_deadline": {"type": "float", "default": 300.0},
    "probe_delay": {"type": "float", "default": 5.0},
    "blind": {"type": "str", "choices": ["refuse", "proceed"], "default": "refuse"},
    "rollback": {"type": "str", "choices": ["regression", "always", "never"], "default": "regression"},
    "conflict_hosts": {"type": "raw", "default": "all"},
    "proxy": {"type": "str"},
    "report": {"type": "str"},
}

_PLACES = ("bin_dir", "imc_dir", "exchange_version")

# What a module gets: its option -> the role's option.
HANDED_ON: Mapping[str, Mapping[str, str]] = {
    "wspcfg": {
        name: name
        for name in (
            *(
                "state",
                "ports",
                "proxy_address",
                "proxy_addresses",
                "pin",
                "mta_direct",
                "force_credentials",
                "restore",
            ),
            *_PLACES,
        )
    },
    "undo": {name: name for name in _PLACES},  # wspcfg, when it puts back what it has written itself
    "wspcfg_info": {name: name for name in ("ports", *_PLACES)},
    "service_restart": {
        **{name: name for name in ("start_dependencies", "stop_timeout", "start_timeout", "finish")},
        **{name: name for name in ("allow_kms", "allow_cluster", "allow_disabled", "bin_dir", "imc_dir")},
        "start": "start_stopped",
        "deadline": "restart_deadline",
    },
    "port_probe": {"timeout": "probe_timeout", "deadline": "probe_deadline", "delay": "probe_delay"},
}

# How a session to the server is opened; given once to the action group, and never part of a result.
CONNECTION = ("computer", "computer_username", "computer_password", "target_deadline", "lock_wait")
SECRETS = frozenset({"computer_username", "computer_password"})

# What a report's file name ends in: a page for people, data for programs, JUnit for a CI.
REPORT_FORMS = (".html", ".json", ".xml")

# How the role calls an option of wspcfg or of the connection.
ROLE_NAMES: Mapping[str, str] = {
    **{name: PREFIX + own for name, own in HANDED_ON["wspcfg"].items()},
    **{name: PREFIX + name for name in ("listeners", *CONNECTION)},
}

# Options of service_restart that accept a risk.
ACCEPTING = ("allow_kms", "allow_cluster", "allow_disabled", "start_dependencies")


@dataclass(frozen=True)
class Site:
    """What the controller knows beside the options.

    Attributes:
        playbook_dir: Directory of the playbook, from which files of tasks are looked for.
        groups: Inventory names by group, ``all`` among them.
        is_file: Whether a path is a file on the controller.
        can_write: Whether a file of this path can be written on the controller.
        named: Variables of the server whose names begin as the role's do.
    """

    playbook_dir: str
    groups: Mapping[str, Sequence[str]]
    is_file: Callable[[str], bool]
    can_write: Callable[[str], bool]
    named: Collection[str] = ()


Validator = Callable[[Mapping[str, t.Any], Mapping[str, t.Any]], "tuple[Json, Sequence[str]]"]


def read_wishes(
    given: Mapping[str, t.Any], *, host: str, site: Site, validate: Validator, restoring: bool = False
) -> Json:
    """Check the role's options of one server.

    Args:
        given: Values by option; empty texts, lists and mappings, and null, are options that are not given.
        host: Inventory name, for messages.
        site: What the controller knows besides.
        validate: Ansible's validation: argument spec and values to typed values and messages.
        restoring: Whether a backup must be chosen.

    Returns:
        Every option with its type and default, and ``hooks`` (files by option), ``compared`` (inventory names), and
        what the playbook takes besides.

    Raises:
        Refused: With every problem, each naming option, value and remedy.
    """
    hooks = {name: _hook(str(given.get(name) or ""), site) for name in HOOKS}
    known = {name: value for name, value in given.items() if value is not None and value not in ("", [], {})}
    problems = [*input_problems(known, hooks), *batch_problems(known)]
    told = {problem.cause.partition(" is ")[0] for problem in problems}
    plain = {name: value for name, value in known.items() if PREFIX + name not in told and name not in BATCHES}
    typed, messages = validate(OPTIONS, plain)
    if messages:
        problems += _type_problems(plain, validate)
    problems += _compared_problems(typed.get("conflict_hosts"), site)
    problems += _report_problems(typed.get("report"), site)
    problems += _name_problems(site.named)
    if restoring and not typed.get("restore"):
        remedy = (
            "Give original, latest, or the sha256 of a backup (wspcfg_info lists them), for example "
            "-e publish_restore=latest."
        )
        problems.append(Problem("bad_option", "publish_restore is not set", remedy))
    if problems:
        raise Refused(problems)
    return {
        **typed,
        **batches_of(known),
        "hooks": hooks,
        "compared": _compared(typed["conflict_hosts"], site),
        "host": host,
    }


def _type_problems(given: Mapping[str, t.Any], validate: Validator) -> Iterator[Problem]:
    """Validate option by option, so that each message names the one that it is about."""
    for name, value in given.items():
        spec = OPTIONS.get(name)
        if spec is None:
            yield Problem("bad_option", "there is no such option", "Remove it.", PREFIX + name)
            continue
        # What follows from a wrong type says nothing more.
        for text in validate({name: spec}, {name: value})[1][:1]:
            shown = None if spec.get("no_log") else str(value)
            yield Problem("bad_option", text.rstrip("."), _form(name, spec, value), PREFIX + name, shown)


_FORMS: Mapping[str, str] = {
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
    "dict": "a mapping, such as {ldap: 390}",
    "str": "a text",
}


def _form(name: str, spec: Mapping[str, t.Any], value: t.Any) -> str:
    """Say what an option takes, and which of its choices is nearest to what was given."""
    choices = [str(choice) for choice in spec.get("choices") or ()]
    given = value if isinstance(value, (list, tuple)) else [value] if isinstance(value, str) else []
    near = dict.fromkeys(hit for one in given for hit in get_close_matches(str(one).lower(), choices, 1, 0.5))
    meant = [choice for choice in near if choice not in given]
    if meant:
        return f"Did you mean {' and '.join(meant)}?"
    if choices and spec["type"] != "list":
        return f"Give {', '.join(choices[:-1])} or {choices[-1]}."
    form = f"a list, such as [{', '.join(choices[:2])}]" if spec["type"] == "list" else _FORMS.get(spec["type"], "")
    return f"Give {form}." if form else f"Correct {PREFIX}{name}."


# Variables that the playbooks take or make besides, and one that is no more.
_OF_THE_PLAYBOOKS = ("hosts", "serial", "max_fail_percentage", "run")
_REPLACED: Mapping[str, str] = {"audit_json": "report"}


def _name_problems(named: Collection[str]) -> Iterator[Problem]:
    """Refuse a variable that is all but an option: what it was to say would be missing, and be taken off the proxy."""
    known = [PREFIX + name for name in (*OPTIONS, *_OF_THE_PLAYBOOKS)]
    for name in sorted(set(named) - set(known)):
        replaced = _REPLACED.get(name.removeprefix(PREFIX))
        near = [PREFIX + replaced] if replaced else get_close_matches(name, known, 1, 0.88)
        if near:
            remedy = f"Rename it to {near[0]}" + ("" if replaced else ", or give a variable of your own another name")
            yield Problem("bad_option", "the role has no such option", f"{remedy}.", name)


def _hook(path: str, site: Site) -> str:
    """Return the file of tasks that an option names, empty where there is none."""
    if not path:
        return ""
    start = site.playbook_dir.rstrip("/")
    places = [path] if path.startswith("/") else [f"{start}/{path}", f"{start}/tasks/{path}"]
    return next((place for place in places if site.is_file(place)), "")


def _report_problems(path: str | None, site: Site) -> Iterator[Problem]:
    """Refuse a report that could not be written, before anything is done."""
    if not path:
        return
    if not path.lower().endswith(REPORT_FORMS):
        remedy = f"Give a file that ends in {', '.join(REPORT_FORMS[:-1])} or {REPORT_FORMS[-1]}."
        yield Problem("bad_option", "its name does not say which form is wanted", remedy, f"{PREFIX}report", path)
    elif not site.can_write(path):
        remedy = "Give a file in a directory of the controller that you may write."
        yield Problem("bad_option", "no file can be written there", remedy, f"{PREFIX}report", path)


def _compared(value: t.Any, site: Site) -> list[str] | str:
    """Return the inventory names over which conflicts are looked for, ``all`` for every one."""
    if value in (None, "", "all"):
        return "all"
    names = [value] if isinstance(value, str) else [str(name) for name in value]
    return [host for name in names for host in site.groups.get(name, [name])]


def _compared_problems(value: t.Any, site: Site) -> Iterator[Problem]:
    if value in (None, "", "all"):
        return
    if not isinstance(value, (str, list, tuple)):
        value = [value]
    known: Collection[str] = {*site.groups.get("all", ()), *site.groups}
    names = [value] if isinstance(value, str) else [str(name) for name in value]
    unknown = [name for name in names if name not in known]
    if unknown:
        cause = f"the inventory has no host or group {', '.join(unknown)}"
        remedy = "Set it to all, to a group's name, or to a list of hosts."
        shown = value if isinstance(value, str) else ", ".join(names)
        yield Problem("bad_option", cause, remedy, f"{PREFIX}conflict_hosts", shown)


def arguments_of(wishes: JsonObject, module: str) -> Json:
    """Return what a module gets of the role's options; options that are not given are left out.

    Args:
        wishes: What :func:`read_wishes` returned.
        module: Its name without the collection's.
    """
    found = {name: wishes.get(own) for name, own in HANDED_ON[module].items()}
    if module == "wspcfg" and not wishes.get("restore"):
        found["listeners"] = wishes.get("listeners" if wishes["state"] == "present" else "withdraw")
    return {name: value for name, value in found.items() if value is not None}


def in_role_terms(problem: Problem) -> Problem:
    """Return a problem of wspcfg or of the connection with the options as the role names them."""
    name, dot, key = (problem.option or "").partition(".")
    option = f"{ROLE_NAMES.get(name, name)}{dot}{key}" or None
    return replace(problem, option=option, cause=role_words(problem.cause), remedy=role_words(problem.remedy))


def connection_of(wishes: JsonObject) -> Json:
    """Return how a session to the server is opened."""
    return {name: wishes.get(name) for name in CONNECTION}


def place_of(wishes: JsonObject) -> Json:
    """Return the part of the connection that a result may carry: which server, and for how long it is waited for.

    A server that is reached directly says so with an empty ``computer``: a default may name another one.
    """
    given = {name: wishes.get(name) for name in CONNECTION if name not in SECRETS}
    return {name: "" if value is None else value for name, value in given.items()}


def as_result(wishes: JsonObject) -> Json:
    """Return the wishes as a result may carry them: without the account for the second hop.

    ``arguments`` are those of every module that the role runs later, by module.
    """
    shown = {name: value for name, value in wishes.items() if name not in SECRETS}
    return {**shown, "arguments": {module: arguments_of(wishes, module) for module in HANDED_ON}}


def accepted_risks(wishes: JsonObject) -> tuple[str, ...]:
    return tuple(name for name in ACCEPTING if wishes.get(name))
