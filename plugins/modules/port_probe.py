# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Check that TCP ports answer as Exchange, or do not answer at all."""

from __future__ import annotations

DOCUMENTATION = r"""
module: port_probe
short_description: Check many TCP ports at once and say who answers
version_added: 1.0.0
author:
  - The msexchange.winsock_proxy authors (@msexchange)
description:
  - Connects to many ports at the same time and reports, for each of them, whether it is open, refused, filtered,
    silent, taken by another product, or broken behind TLS.
  - Recognises the greetings of Microsoft Exchange 4.0, 5.0 and 5.5 for POP3, IMAP4, NNTP and SMTP, binds anonymously
    to LDAP, and reads the server hello of SSL 2.0, SSL 3.0 and TLS, with cipher and certificate.
  - Runs where the task runs. With C(delegate_to) that is the vantage point, which should lie outside of the proxy.
    When the vantage point is the controller (a P(ansible.builtin.local#connection) connection), nothing is
    transferred.
  - It changes nothing, sends one command at most (C(QUIT), C(LOGOUT), an anonymous bind and its unbind, before them
    C(STARTTLS) where that is wanted), and says goodbye.
options:
  targets:
    description:
      - The ports to check. There may be thousands.
    type: list
    elements: dict
    required: true
    suboptions:
      host:
        description:
          - Name or address. Of several addresses the first that accepts the connection is spoken to, IPv4 first; the
            attempt after that begins with the next one. A name is closed when all its addresses are.
          - An IPv6 address may stand in brackets. An IPv4 address with leading zeros or missing numbers is refused,
            because libraries read it as different addresses.
        type: str
        required: true
      port:
        description:
          - TCP port.
          - Defaults to the usual port of O(targets[].protocol); required for V(tcp).
        type: int
      protocol:
        description:
          - What should answer.
          - V(pop3s), V(imap4s), V(nntps) and V(ldaps) begin with TLS.
          - With V(tcp) an accepted connection is enough, unless O(targets[].greeting) is given.
        type: str
        choices: [tcp, pop3, pop3s, imap4, imap4s, nntp, nntps, ldap, ldaps, smtp]
        default: tcp
      expect:
        description:
          - V(open) wants RV(results[].status=open), which for a protocol other than V(tcp) means that Exchange
            answers.
          - V(closed) wants RV(results[].status=refused), RV(results[].status=timeout), as behind a packet filter, or
            RV(results[].status=foreign) or RV(results[].status=no_tls) from another product than Exchange, because a
            port that somebody else answers on is not published by Exchange. A port that cannot be reached at all is
            not proven to be closed.
          - V(any) is satisfied with whatever is found, and tries once.
        type: str
        choices: [open, closed, any]
        default: open
      server_name:
        description:
          - Name to ask for in a modern TLS handshake. Defaults to O(targets[].host) unless that is an address.
        type: str
      greeting:
        description:
          - Regular expression that is searched in everything that is heard, binary octets included, and decides
            instead of the built-in table. V(^) and V($) stand for the ends of every line.
          - The attempt ends when the pattern is there, after as many lines as it takes; a line that has not ended, as a
            prompt, is searched when nothing follows it for 2 seconds. Otherwise the attempt lasts for O(timeout) and
            ends as RV(results[].status=foreign), with what came in RV(results[].greeting).
          - Letters beyond ASCII are found in UTF-8 and in ISO 8859-1 (Latin-1).
          - Not for LDAP, which has no greeting.
        type: str
      tls:
        description:
          - With V(protocol) the name of O(targets[].protocol) says whether TLS begins with the connection.
          - V(starttls) asks for TLS in clear, once the server has greeted, and shakes hands then, with each of the
            three hellos on a connection of its own. Who speaks is told from the greeting in clear.
          - Only for V(smtp), V(pop3), V(imap4) and V(ldap). A server that does not know or not want it is
            RV(results[].status=no_tls). Exchange 5.5 knows it for SMTP only (Q237327).
        type: str
        choices: [protocol, starttls]
        default: protocol
  timeout:
    description:
      - Seconds that one attempt may take from its connection to the verdict. The addresses of a name and the hellos of
        a TLS target share it; the first hello, which is the one for Exchange, has nearly all of it, and whoever answers
        a hello has all that is left.
      - A name server may take as long for a name, and longer while it answers for others.
      - Exchange looks up its client's name before it greets, which takes up to a minute where DNS does not answer
        (Q258745).
    type: float
    default: 75.0
  connect_timeout:
    description:
      - Seconds of O(timeout) that connecting may take.
    type: float
    default: 10.0
  deadline:
    description:
      - Seconds after which no further attempt begins. Every target has one attempt in any case, so V(0) means to try
        once, and a run ends at the latest one O(timeout) after the deadline unless targets have to wait for
        O(concurrency).
      - The default fits an information store that is still starting.
    type: float
    default: 300.0
  check_mode_deadline:
    description:
      - O(deadline) of a run in check mode, in which nothing happens that would be worth waiting for. Defaults to
        O(deadline).
    type: float
  delay:
    description:
      - Seconds between two attempts at one target.
      - Also between the hellos to a TLS target that is expected to be open and drops them, as an information store does
        that is starting. Where O(deadline) leaves no time for that, they are sent at once.
    type: float
    default: 5.0
  concurrency:
    description:
      - Connections at one time. Fewer are used when the probe host has fewer file descriptors.
    type: int
    default: 500
  source_address:
    description:
      - Local IP address to connect from.
    type: str
  fail_on_mismatch:
    description:
      - Whether the task fails when a target is not as expected. The returned values are the same in both cases.
    type: bool
    default: true
  fail_on_unreachable:
    description:
      - Whether the task fails, or its host counts as unreachable, when the probe host cannot do the check.
      - With V(false) RV(reached) is false then, and RV(msg) says why; for a task that checks ports for many hosts.
    type: bool
    default: true
attributes:
  check_mode:
    description: Can run in check mode and return changed status prediction without modifying target.
    support: full
    details:
      - Runs for real in check mode, because it changes nothing.
  diff_mode:
    description: Will return details on what has changed (or possibly needs changing in check_mode), when in diff
      mode.
    support: none
  platform:
    description: Target OS or families that can be operated against.
    support: full
    platforms: posix
  action:
    description: Indicates this has a corresponding action plugin so some parts of the options can be executed on the
      controller.
    support: full
  async:
    description: Supports being used with the C(async) keyword.
    support: none
notes:
  - The probe host needs Python 3.9 or later and nothing else. Where C(tlslite-ng) is installed as well, the
    handshake of SSL 3.0 is finished and the greeting behind it is read; without it the server hello is all that is
    learnt.
  - Connection variables of Windows hosts that reach the probe host by inheritance (for example
    C(ansible_connection=winrm) in C(group_vars/all)) are recognised and named.
  - An LDAP server that refuses version 2 of the protocol is RV(results[].status=foreign). Another server that speaks
    version 2 cannot be told from Exchange by a bind.
seealso:
  - module: ansible.builtin.wait_for
  - module: ansible.windows.win_wait_for
"""

EXAMPLES = r"""
- name: Check the published ports from the controller
  msexchange.winsock_proxy.port_probe:
    targets:
      - {host: 198.51.100.10, protocol: pop3}
      - {host: 198.51.100.10, protocol: imap4s}
      - {host: 198.51.100.10, protocol: ldap, port: 390}
  delegate_to: localhost
  run_once: true

- name: See what the ports are now, once and without failing
  msexchange.winsock_proxy.port_probe:
    targets:
      - {host: 198.51.100.10, protocol: smtp, expect: any}
    deadline: 0
  delegate_to: outside.example.com
  register: baseline

- name: Prove that nothing is published any more
  msexchange.winsock_proxy.port_probe:
    targets:
      - {host: 198.51.100.10, protocol: pop3, expect: closed}
  delegate_to: localhost

- name: Check every wanted listener of a host
  msexchange.winsock_proxy.port_probe:
    targets: "{{ hostvars[inventory_hostname] | msexchange.winsock_proxy.wspcfg_targets }}"
  delegate_to: localhost
"""

RETURN = r"""
ok:
  description: Whether every target is as expected.
  returned: always
  type: bool
  sample: false
failed_targets:
  description: One line for every target that is not as expected.
  returned: always
  type: list
  elements: str
  sample: ["198.51.100.10:110 pop3 is refused, not open"]
msg:
  description: How many targets are as expected, and the first that are not.
  returned: always
  type: str
  sample: "1 of 8 targets are not as expected: 198.51.100.10:110 pop3 is refused, not open"
reached:
  description: Whether the probe host could do the check.
  returned: always
  type: bool
  sample: true
check_mode:
  description: Whether the task ran in check mode.
  returned: always
  type: bool
results:
  description: One entry for every target, in the order of O(targets), always with the same keys.
  returned: always
  type: list
  elements: dict
  contains:
    host:
      description: O(targets[].host).
      type: str
      sample: 198.51.100.10
    port:
      description: The port tried.
      type: int
      sample: 110
    protocol:
      description: O(targets[].protocol).
      type: str
      sample: pop3
    expect:
      description: O(targets[].expect).
      type: str
      sample: open
    ok:
      description: Whether the target is as expected. With O(targets[].greeting) only a greeting that was read can be
        as expected.
      type: bool
      sample: true
    status:
      description:
        - V(open), the port answers as it should.
        - V(refused), nobody listens.
        - V(timeout), the connection request was not answered.
        - V(unreachable), the network says that there is no way, or the probe host cannot connect from its own side.
        - V(unresolved), the name has no address.
        - V(reset), the connection was accepted and ended without a word.
        - V(silent), the connection was accepted and nothing was said.
        - V(foreign), another protocol or product answers.
        - V(tls_alert), a TLS server refuses every hello.
        - V(no_tls), the port answers in clear where TLS was expected, or does not turn to TLS when it is asked to.
        - V(no_certificate), the connection was accepted and ended at every hello, as Exchange does that has no
          certificate for the protocol (event 13002, Q251097).
        - V(protocol_error), the answer breaks the protocol's rules, or refuses service, as C(421), C(-ERR) and LDAP's
          C(busy) do.
      type: str
      sample: open
    detail:
      description: One sentence on why, or on what else was seen, empty when there is nothing to add.
      type: str
      sample: ""
    address:
      description: The address tried last, V(null) when there was none.
      type: str
      sample: 198.51.100.10
    attempts:
      description: Connections made, for a TLS target one for every hello, for a name one for every address tried.
      type: int
      sample: 1
    elapsed_ms:
      description: Milliseconds from the first attempt to the verdict.
      type: int
      sample: 38
    speaks:
      description: Protocol that was recognised.
      type: str
      sample: pop3
    greeting:
      description: What was heard first, printable, at most 512 octets. Lines are parted by V(|).
      type: str
      sample: +OK Microsoft Exchange POP3 server version 5.5.2655.20 ready
    product:
      description: V(Microsoft Exchange) for versions 4.0 to 5.5 only, another product's name when it is known.
      type: str
      sample: Microsoft Exchange
    version:
      description: Version of Exchange as it prints it, four numbers in any language. Version 4.0 prints none and is
        known by the form of its line.
      type: str
      sample: 5.5.2655.20
    ldap:
      description: The answer to the anonymous bind, V(null) for other protocols.
      type: dict
      contains:
        version:
          description: LDAP version of the bind.
          type: int
          sample: 2
        result_code:
          description: LDAP result code. A refused bind proves the port as well.
          type: int
          sample: 0
        result:
          description: The result code's name.
          type: str
          sample: success
        message:
          description: The server's message, printable.
          type: str
          sample: ""
    tls:
      description: What the server hello says, V(null) when there was none.
      type: dict
      contains:
        version:
          description: Protocol version.
          type: str
          sample: SSLv3
        cipher:
          description: The cipher chosen, V(null) for SSL 2.0.
          type: str
          sample: SSL_RSA_WITH_RC4_128_MD5
        ciphers:
          description: The cipher chosen, or all that an SSL 2.0 server accepts.
          type: list
          elements: str
          sample: [SSL_RSA_WITH_RC4_128_MD5]
        subject:
          description: Subject of the server's certificate.
          type: str
          sample: C=US, O=Example, CN=mail.example.com
        not_after:
          description: End of the certificate's validity, UTC. Nothing is verified.
          type: str
          sample: "2000-12-31T23:59:59Z"
        hello:
          description: Which hello was answered, V(ssl2), V(ssl3) or V(modern).
          type: str
          sample: ssl2
"""

from ansible.module_utils.basic import AnsibleModule

from ..module_utils.probe.engine import probe
from ..module_utils.probe.options import ARGUMENT_SPEC, OptionError, read_options, summary


def main() -> None:
    module = AnsibleModule(argument_spec=ARGUMENT_SPEC, supports_check_mode=True)
    try:
        targets, options = read_options(module.params, check_mode=module.check_mode)
    except OptionError as error:
        module.fail_json(msg=str(error), ok=False, results=[], failed_targets=[])
    module.exit_json(**summary(probe(targets, options), fail_on_mismatch=module.params["fail_on_mismatch"]))


if __name__ == "__main__":
    main()
