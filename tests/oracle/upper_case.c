/* Copyright (c) 2026, the msexchange.winsock_proxy authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Prints what RtlUpcaseUnicodeChar, by which Windows compares names without case, makes of every UTF-16 unit.
 *
 * Standard output: one line for each unit that changes: the unit and its upper case, in hexadecimal.
 */
#include <stdio.h>
#include <windows.h>

typedef WCHAR(WINAPI *upcase_function)(WCHAR);

int main(void)
{
    unsigned int unit;
    upcase_function upcase = (upcase_function)(void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), "RtlUpcaseUnicodeChar");
    if (!upcase) return 1;
    for (unit = 0; unit < 0x10000; unit++)
    {
        WCHAR upper = upcase((WCHAR)unit);
        if (upper != unit) printf("%04x %04x\n", unit, upper);
    }
    return 0;
}
