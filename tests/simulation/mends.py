# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The harness' own test: mends of faults that there were, taken out of the script again. Each must be found.

A mend is taken out by a function of the script's own name that does what the script did before. Functions are named, no
lines: this outlives changes of the script.
"""

from __future__ import annotations

import typing as t
from dataclasses import dataclass

from tests.simulation.scenarios import Family, only_branch, with_cuts


@dataclass(frozen=True)
class Mend:
    """A fault that there was.

    Attributes:
        name: what went wrong.
        instead: functions as they were.
        families: ids of the families that show it.
        branch: the branch that shows it.
        rules: which rules notice, any of them.
    """

    name: str
    instead: str
    families: tuple[str, ...]
    branch: str
    rules: tuple[str, ...]


_DOWN: t.Final = ("nothing stays down unowed", "two further runs bring everything up", "an answer is true")

MENDS: t.Final = (
    Mend(
        "the states of dependents are those of long ago",
        """
        function Get-Dependents([string]$Name) { (Get-Controller $Name).get_DependentServices() }
        """,
        ("restart | chain | A: as it should | direct",),
        "nothing for an hour",
        ("what nothing disturbs succeeds at once",),
    ),
    Mend(
        "a stop that is taken and takes effect late is forgotten",
        """
        function Test-Told { return $false }
        function Complete-Late { }
        """,
        ("restart | one | A: stop taken, takes effect after its limit | direct",),
        "nothing for an hour",
        _DOWN,
    ),
    Mend(
        "a service that is still stopping at its limit is nobody's",
        """
        function Complete-Late { }
        function Get-OwedStep($Row, $Outcome) {
            if ($Row.step -in 'stopped', 'starting', 'hung', 'failed') { return $Row.step }
            return $null
        }
        """,
        ("restart | one | A: hangs stopping for a while | direct",),
        "nothing for an hour",
        _DOWN,
    ),
    Mend(
        "through a dead registry handle there is no journal",
        """
        function Test-Reopened { }
        function Get-Text($Key, [string]$Name) {
            if ($Key) {
                $read = [string]$Key.GetValue($Name, $null, 'DoNotExpandEnvironmentNames')
                if ($read) { return $read }
            }
            return $null
        }
        """,
        (
            "restart | one | A: registry's handle dies at read 0 | computer",
            "restart | one | A: registry's handle dies at read 3 | computer",
            "restart | one | A: registry's handle dies at read 6 | computer",
        ),
        "only finishing",
        (*_DOWN, "loaded is what was read", "only what may is touched"),
    ),
    Mend(
        "a service that dies in its settle time is not owed when the worker was killed before it looked",
        """
        function Get-OwedStep($Row, $Outcome) {
            if ($Row.step -eq 'recorded' -and (Get-Value $Row stop_at)) { return 'stopping' }
            if ($Row.step -in 'stopping', 'stopped', 'starting', 'hung', 'failed') { return $Row.step }
            return $null
        }
        """,
        ("restart | one | A: dies in its settle time once | direct",),
        "only finishing",
        _DOWN,
    ),
    Mend(
        "what was left beside a file is not looked at",
        "function Clear-Leftovers { }\n",
        ("apply | replace | NTFS | as it should",),
        "the same again",
        ("every file is whole", "nothing temporary stays", "an answer is true", "the original is kept"),
    ),
)


def families_of(mend: Mend, known: t.Mapping[str, Family]) -> list[Family]:
    """Return what is played for a mend.

    Raises:
        KeyError: the mend names a family that there is none of.
    """
    return [only_branch(with_cuts(known[name], {}), mend.branch) for name in mend.families]
