/* Copyright (c) 2026, the msexchange.winsock_proxy authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Prints what MultiByteToWideChar, which the profile functions use, makes of every byte of code pages.
 *
 * Arguments:       numbers of code pages.
 * Standard output: for each a line with its number, then one line for each byte that is no lead byte and for each pair
 *   of a lead byte and another byte: the bytes and the UTF-16 units that they become, in hexadecimal.
 * NUL is left out, alone and as second byte.
 */
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

static void print_characters(UINT page, const char *bytes, int count)
{
    WCHAR units[8];
    int at, made = MultiByteToWideChar(page, 0, bytes, count, units, 8);
    for (at = 0; at < count; at++) printf("%02x", (unsigned char)bytes[at]);
    putchar(' ');
    for (at = 0; at < made; at++) printf("%04x", units[at]);
    putchar('\n');
}

int main(int argc, char **argv)
{
    int argument, lead, trail;
    char bytes[2];
    for (argument = 1; argument < argc; argument++)
    {
        UINT page = (UINT)atoi(argv[argument]);
        printf("page %u\n", page);
        for (lead = 1; lead < 256; lead++)
        {
            bytes[0] = (char)lead;
            if (!IsDBCSLeadByteEx(page, (BYTE)lead)) print_characters(page, bytes, 1);
            else for (trail = 1; trail < 256; trail++)
            {
                bytes[1] = (char)trail;
                print_characters(page, bytes, 2);
            }
        }
    }
    return 0;
}
