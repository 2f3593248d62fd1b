# Copyright (c) 2026, the msexchange.winsock_proxy authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Every greeting that an article prints, and those of the neighbours that it could be mistaken for."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.msexchange.winsock_proxy.plugins.module_utils.probe import greetings

EXCHANGE = "Microsoft Exchange"
MCIS = "Microsoft Commercial Internet System"
IIS = "Microsoft Internet Information Server"
LATER = "Microsoft Exchange 2000 or later"

# line as printed, protocol, product, version
PRINTED = [
    # Q161118, and the spellings of Q171435 and Q189732
    ("+OK Microsoft Exchange POP3 server version 5.0.1457.10 ready", "pop3", EXCHANGE, "5.0.1457.10"),
    ("+OK Microsoft Exchange POP3 Server version 5.0.1457.10    ready", "pop3", EXCHANGE, "5.0.1457.10"),
    ("+OK Microsoft Exchange POP3 server version 5.5.2655.20 ready", "pop3", EXCHANGE, "5.5.2655.20"),  # Q298836
    ("+OK Microsoft Exchange POP3 server version 5.0.1457.10 signing off", "pop3", EXCHANGE, "5.0.1457.10"),  # Q161118
    (
        "* OK Microsoft Exchange IMAP4rev1 server version 5.5.1960.6 (reedlm4.com) ready",  # Q217388
        "imap4",
        EXCHANGE,
        "5.5.1960.6",
    ),
    (
        "* OK Microsoft Exchange IMAP4rev1 server version 5.5.2147.0 (JUNWIN03) ready",  # Q182618
        "imap4",
        EXCHANGE,
        "5.5.2147.0",
    ),
    ("* OK Microsoft Exchange IMAP4rev1 Server Ready", "imap4", EXCHANGE, None),  # Q182618
    # Q189326 prints the prefix of POP3
    ("+OK Microsoft Exchange IMAP4rev1 server version x.x.x (F.Q.D.N.) ready", "imap4", EXCHANGE, None),
    ("* BYE Microsoft Exchange IMAP4rev1 server version 5.5.2654.50 signing off", "imap4", EXCHANGE, "5.5.2654.50"),
    (
        "201 Microsoft Exchange Internet News Service Version 5.0.1457.10 (no posting)",  # Q169459
        "nntp",
        EXCHANGE,
        "5.0.1457.10",
    ),
    (
        "200 Microsoft Exchange Internet News Service Version 5.5.1960.6 (posting allowed)",  # Q194657
        "nntp",
        EXCHANGE,
        "5.5.1960.6",
    ),
    (
        "201 Microsoft Exchange Internet News Service Version 5.5.1960.6 (no posting)",  # Q194657
        "nntp",
        EXCHANGE,
        "5.5.1960.6",
    ),
    (
        "220 exch.example.com Microsoft Exchange Internet Mail Service 5.0.1458.49 ready",  # Q182821 Q164060
        "smtp",
        EXCHANGE,
        "5.0.1458.49",
    ),
    (
        "220 exch.example.com ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2232.0) Ready.",  # Q194131
        "smtp",
        EXCHANGE,
        "5.5.2232.0",
    ),
    (
        "220 exch.example.com ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.1664.3) ready",  # Q173656
        "smtp",
        EXCHANGE,
        "5.5.1664.3",
    ),
    (
        "220 exch.example.com  SMTP Server (Microsoft Exchange Internet Mail Service 5.5.2232.0) Ready.",  # Q194131
        "smtp",
        EXCHANGE,
        "5.5.2232.0",
    ),
    ("220 imc.company.com service ready", "smtp", EXCHANGE, "4.0"),  # Q146157
    (
        "* OK mail.example.com Microsoft IMAP4Rev1 Server ready at Mon, 1 Jun 1998 Version: 5.5.1875.185.18",  # Q230373
        "imap4",
        MCIS,
        None,
    ),
    # What IIS, later versions of Exchange and the servers of today say
    ("220-mail Microsoft SMTP MAIL ready at Mon, 8 Jun 1998 10:00:00 Version: 5.5.1774.114.11", "smtp", IIS, None),
    ("220 mail Microsoft ESMTP MAIL Service, Version: 5.0.2195.1600 ready at  Mon", "smtp", IIS, None),
    ("200 NNTP Service 5.00.0984 Version: 5.0.2195.1608 Posting Allowed ", "nntp", IIS, None),
    (
        "+OK Microsoft Exchange 2000 POP3 server version 6.0.5762.3 (mail.example.com) ready.",
        "pop3",
        LATER,
        "6.0.5762.3",
    ),
    (
        "* OK Microsoft Exchange Server 2003 IMAP4rev1 server version 6.5.7638.1 (mail.example.com) ready.",
        "imap4",
        LATER,
        "6.5.7638.1",
    ),
    ("+OK Microsoft Exchange POP3 server version 6.5.6944.0 (mail) ready", "pop3", LATER, "6.5.6944.0"),
    ("+OK The Microsoft Exchange POP3 service is ready.", "pop3", LATER, None),
    ("* OK [CAPABILITY IMAP4rev1] Dovecot ready.", "imap4", "Dovecot", None),
    ("220 mail.example.com ESMTP Postfix (Debian/GNU)", "smtp", "Postfix", None),
    ("220 mail.example.com ESMTP Exim 4.96 Sun, 22 Nov 2026 10:00:00 +0000", "smtp", "Exim", None),
    ("220 mail.example.com ESMTP", "smtp", None, None),
    ("220 service ready for new user", "smtp", None, None),
    ("220 ftp.example.com FTP server ready.", "ftp", None, None),
    ("SSH-2.0-OpenSSH_9.2", "ssh", None, None),
    ("HTTP/1.0 400 Bad Request", "http", None, None),
    ("hello", None, None, None),
]

# In the language of the setup: French, German and Dutch as nmap has recorded them, then the same frames with other
# words, for no word may matter. The octets beyond ASCII are those of Windows-1252.
LOCALIZED = [
    ("+OK Le serveur POP3 Microsoft Exchange version 5.5.2653.23 est prêt", "pop3", EXCHANGE, "5.5.2653.23"),
    (
        "* OK La version 5.5.2653.23 (exch.example.com) du serveur IMAP4rev1 Microsoft Exchange est prête",
        "imap4",
        EXCHANGE,
        "5.5.2653.23",
    ),
    (
        "* OK Der Microsoft Exchange Server (IMAP4rev1, Version 5.5.2653.23 (EXCH)) steht zur Verfügung.",
        "imap4",
        EXCHANGE,
        "5.5.2653.23",
    ),
    ("+OK Microsoft Exchange POP3-server versie 5.5.2653.23 gereed", "pop3", EXCHANGE, "5.5.2653.23"),
    ("+OK Palvelin Microsoft Exchange POP3 5.5.2650.21", "pop3", EXCHANGE, "5.5.2650.21"),
    ("+OK Microsoft Exchange POP3 \u00b9\u00b2\u00b3: 5.5.2448.8.", "pop3", EXCHANGE, "5.5.2448.8"),
    ("* OK Microsoft Exchange IMAP4rev1 \u00e0\u00e9", "imap4", EXCHANGE, None),
    ("200 Service de news Internet Microsoft Exchange, version 5.5.2653.11 (posting)", "nntp", EXCHANGE, "5.5.2653.11"),
    ("220 exch.example.com Serveur ESMTP (Microsoft Exchange 5.5.2653.13) prêt", "smtp", EXCHANGE, "5.5.2653.13"),
    ("+OK Le serveur POP3 Microsoft Exchange version 5.0.1460.10 est prêt", "pop3", EXCHANGE, "5.0.1460.10"),
    # The number decides, in any language.
    ("+OK Le serveur POP3 Microsoft Exchange 2000 version 6.0.4417.0 est prêt", "pop3", LATER, "6.0.4417.0"),
    ("+OK Microsoft Exchange POP3-server versie 6.0.4417.0 gereed", "pop3", LATER, "6.0.4417.0"),
    (
        "* OK Der Microsoft Exchange Server (IMAP4rev1, Version 6.5.7226.0 (EXCH)) steht zur Verfügung.",
        "imap4",
        LATER,
        "6.5.7226.0",
    ),
    ("+OK Microsoft Exchange Server 2007 POP3-Dienst bereit", "pop3", LATER, None),
    ("* OK Der Microsoft Exchange-IMAP4-Dienst ist bereit.", "imap4", LATER, None),
    # An address is no version, and a version alone is no Exchange.
    ("+OK Microsoft Exchange POP3 (192.0.2.10) 5.5.2653.23", "pop3", EXCHANGE, "5.5.2653.23"),
    ("+OK Microsoft Exchange POP3 (192.0.2.10)", "pop3", EXCHANGE, None),
    ("+OK POP3 server version 5.5.2653.23 ready", "pop3", None, None),
    ("220 gate.example.com for Microsoft Exchange", "smtp", None, None),
    ("220 gate.example.com SMTP Scanner for Microsoft Exchange 3.81.1200.4", "smtp", None, None),
    ("+OK imap4.example.com Microsoft Exchange POP3 version 5.5.2653.23", "pop3", EXCHANGE, "5.5.2653.23"),
]


@pytest.mark.parametrize(("line", "speaks", "product", "version"), LOCALIZED)
@pytest.mark.parametrize("encoding", ["cp1252", "utf-8"])
def test_language_of_the_setup_does_not_matter(
    line: str, speaks: str | None, product: str | None, version: str | None, encoding: str
) -> None:
    greeting = greetings.read_greeting(line.encode(encoding) + b"\r\n")
    assert (greeting.speaks, greeting.product, greeting.version) == (speaks, product, version)


def test_several_lines_are_one_greeting() -> None:
    lines = b"220-Only for members\r\n220 exch ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2232.0)\r\n"
    greeting = greetings.read_greeting(lines)
    assert (greeting.speaks, greeting.product, greeting.version) == ("smtp", EXCHANGE, "5.5.2232.0")
    assert greeting.text.startswith("220-Only for members | 220 exch ESMTP")
    assert greetings.read_greeting(b"220-Welcome\r\n220 ready for FTP\r\n").speaks == "ftp"


@pytest.mark.parametrize(("line", "speaks", "product", "version"), PRINTED)
def test_printed_line(line: str, speaks: str | None, product: str | None, version: str | None) -> None:
    greeting = greetings.read_greeting(line.encode() + b"\r\n")
    assert (greeting.speaks, greeting.product, greeting.version) == (speaks, product, version)
    assert greeting.is_exchange == (product == EXCHANGE)
    assert greeting.text == line.rstrip()


@pytest.mark.parametrize(
    "line",
    [line for line, dummy, product, version in PRINTED if product == EXCHANGE and "x.x.x" not in line],
)
def test_spelling_does_not_matter(line: str) -> None:
    """Case, runs of blanks and the last dot vary between builds and articles."""
    loose = "   ".join(line.upper().split(" ")).removesuffix(".")
    plain = greetings.read_greeting(line.encode())
    assert greetings.read_greeting(loose.encode()).version == plain.version
    assert greetings.read_greeting(loose.encode()).is_exchange


@pytest.mark.parametrize(
    ("line", "speaks"),
    [
        ("-ERR too many connections", "pop3"),
        ("* BYE autologout", "imap4"),
        ("502 You have no permission to talk. Goodbye: no news", "nntp"),
        ("400 load at 20, try later", "nntp"),
        ("480 Authentication required", "nntp"),
        ("502 Go away", "nntp"),
        ("421 mail.example.com Service not available", "smtp"),
        ("554 no SMTP service here", "smtp"),
    ],
)
def test_refusal_is_no_welcome(line: str, speaks: str) -> None:
    greeting = greetings.read_greeting(line.encode())
    assert (greeting.speaks, greeting.welcome) == (speaks, False)


@pytest.mark.parametrize(
    ("line", "version"),
    [
        ("* BYE Microsoft Exchange IMAP4rev1 server version 5.5.2654.50 signing off", "5.5.2654.50"),  # Q189326
        ("+OK Microsoft Exchange POP3 server version 5.0.1457.10 signing off", "5.0.1457.10"),  # Q161118
        ("* BYE Le serveur IMAP4rev1 Microsoft Exchange version 5.5.2653.23 se d?connecte", "5.5.2653.23"),
        ("* BYE server version 1.2 signing off", None),
        ("221 closing connection", None),
    ],
)
def test_version_of_the_last_line(line: str, version: str | None) -> None:
    assert greetings.read_farewell(line.encode())[1] == version


@given(st.binary(max_size=2000))
def test_any_octets_give_a_printable_line(data: bytes) -> None:
    greeting = greetings.read_greeting(data)
    assert len(greeting.text) <= 512
    assert greeting.text.isascii() and (greeting.text.isprintable() or greeting.text == "")
    greetings.read_farewell(data)
