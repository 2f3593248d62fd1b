/* Copyright (c) 2026, the msexchange.winsock_proxy authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Answers what kernel32's profile functions read from a file, for many files in one process.
 *
 * Argument:        the directory for the files that it writes, with a backslash at the end.
 * Standard input:  any number of requests. Each is two blocks, a 32-bit little-endian length and as many bytes:
 *   an INI file; then questions, any number of "section\0key\0" in UTF-16LE.
 * Standard output: one line of ASCII JSON for each request:
 *   {"code_page": 1252, "sections": [{"name", "entries": [line, ...], "keys": [{"name", "value"}, ...]}, ...],
 *    "asked": [value, ...]}
 * "entries" is GetPrivateProfileSection's answer, "keys" GetPrivateProfileString's, in the order of the answers.
 * A value that GetPrivateProfileString does not find is null. Ends at end of input.
 */
#include <fcntl.h>
#include <io.h>
#include <stdio.h>
#include <stdlib.h>
#include <windows.h>

enum { CAPACITY = 1 << 20 };

static WCHAR names[CAPACITY], entries[CAPACITY], keys[CAPACITY], value[CAPACITY], path[MAX_PATH];
static const WCHAR *const ABSENT = L"\x0001\xfffe absent \xfffe";

static void print_string(const WCHAR *text)
{
    putchar('"');
    for (; *text; text++)
    {
        if (*text >= 0x20 && *text < 0x7f && *text != '"' && *text != '\\') putchar(*text);
        else printf("\\u%04x", *text);
    }
    putchar('"');
}

/* The list ends after "length" characters, not at an empty string: a line "=x" gives a key without a name. */
static void print_list(const WCHAR *list, DWORD length, void (*print_one)(const WCHAR *, const WCHAR *),
                       const WCHAR *section)
{
    const WCHAR *item;
    putchar('[');
    for (item = list; item < list + length; item += lstrlenW(item) + 1)
    {
        if (item != list) putchar(',');
        print_one(item, section);
    }
    putchar(']');
}

static void print_entry(const WCHAR *entry, const WCHAR *section)
{
    (void)section;
    print_string(entry);
}

static void print_value(const WCHAR *section, const WCHAR *key)
{
    GetPrivateProfileStringW(section, key, ABSENT, value, CAPACITY, path);
    if (lstrcmpW(value, ABSENT)) print_string(value);
    else printf("null");
}

static void print_key(const WCHAR *key, const WCHAR *section)
{
    printf("{\"name\":");
    print_string(key);
    printf(",\"value\":");
    print_value(section, key);
    putchar('}');
}

static void print_section(const WCHAR *section, const WCHAR *unused)
{
    DWORD length;
    (void)unused;
    printf("{\"name\":");
    print_string(section);
    length = GetPrivateProfileSectionW(section, entries, CAPACITY, path);
    printf(",\"entries\":");
    print_list(entries, length, print_entry, section);
    length = GetPrivateProfileStringW(section, NULL, L"", keys, CAPACITY, path);
    printf(",\"keys\":");
    print_list(keys, length, print_key, section);
    putchar('}');
}

static void print_questions(const WCHAR *question, const WCHAR *end)
{
    putchar('[');
    while (question < end)
    {
        const WCHAR *key = question + lstrlenW(question) + 1;
        print_value(question, key);
        question = key + lstrlenW(key) + 1;
        if (question < end) putchar(',');
    }
    putchar(']');
}

static int write_file(const char *bytes, DWORD size)
{
    DWORD written = 0;
    HANDLE file = CreateFileW(path, GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, FILE_ATTRIBUTE_NORMAL, NULL);
    if (file == INVALID_HANDLE_VALUE) return 0;
    WriteFile(file, bytes, size, &written, NULL);
    CloseHandle(file);
    return written == size;
}

/* Returns a block that is followed by two zero bytes, NULL at end of input. */
static char *read_block(unsigned int *size)
{
    char *bytes;
    if (fread(size, sizeof *size, 1, stdin) != 1) return NULL;
    bytes = calloc(*size + 2, 1);
    if (!bytes || fread(bytes, 1, *size, stdin) != *size) exit(2);
    return bytes;
}

int wmain(int argc, WCHAR **argv)
{
    unsigned long number = 0;
    unsigned int size, asked;
    char *bytes, *questions;

    _setmode(_fileno(stdin), _O_BINARY);
    _setmode(_fileno(stdout), _O_BINARY);
    if (argc != 2) return 4;
    while ((bytes = read_block(&size)) && (questions = read_block(&asked)))
    {
        DWORD length;
        /* A name of its own for each file: the profile functions keep what they read by name. */
        wsprintfW(path, L"%s%lu.ini", argv[1], number++);
        if (!write_file(bytes, size)) return 3;
        printf("{\"code_page\":%u,\"sections\":", GetACP());
        length = GetPrivateProfileSectionNamesW(names, CAPACITY, path);
        print_list(names, length, print_section, NULL);
        printf(",\"asked\":");
        print_questions((WCHAR *)questions, (WCHAR *)(questions + asked));
        printf("}\n");
        fflush(stdout);
        DeleteFileW(path);
        free(bytes);
        free(questions);
    }
    return 0;
}
