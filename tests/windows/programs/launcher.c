/* Copyright (c) 2026, the msexchange.winsock_proxy authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * powershell.exe of the Windows lane: runs the pwsh.exe beside it, in a console without a window.
 *
 * Where no console is at hand PowerShell 7 ends under Wine without a word and with success. Standard handles, the
 * command line behind the program's name and the exit code are passed on as they are. */

#include <windows.h>

#define TRIES 5
#define NOT_STARTED 9009 /* what cmd.exe says of a program that it does not find */

/* What follows the program's own name on a command line. */
static const wchar_t *arguments(const wchar_t *line) {
    BOOL quoted = FALSE;

    while (*line && (quoted || (*line != L' ' && *line != L'\t'))) {
        if (*line == L'"') quoted = !quoted;
        line++;
    }
    return line;
}

/* Only the standard handles go to the child: one more open end of a pipe would keep its reader waiting. */
static HANDLE passed_on(DWORD which) {
    HANDLE handle = GetStdHandle(which);

    SetHandleInformation(handle, HANDLE_FLAG_INHERIT, HANDLE_FLAG_INHERIT);
    return handle;
}

static int complain(HANDLE where) {
    char text[64];
    DWORD done;

    wsprintfA(text, "powershell.exe: pwsh.exe does not start: %lu\r\n", GetLastError());
    WriteFile(where, text, lstrlenA(text), &done, NULL);
    return NOT_STARTED;
}

int wmain(void) {
    static wchar_t program[MAX_PATH], line[32768];
    const wchar_t *rest = arguments(GetCommandLineW());
    DWORD length = GetModuleFileNameW(NULL, program, MAX_PATH);
    STARTUPINFOW startup = {.cb = sizeof startup, .dwFlags = STARTF_USESTDHANDLES};
    PROCESS_INFORMATION child;
    DWORD code = NOT_STARTED;

    while (length && program[length - 1] != L'\\') length--;
    lstrcpyW(program + length, L"pwsh.exe");
    if (lstrlenW(program) + lstrlenW(rest) + 3 > (int)(sizeof line / sizeof *line)) return NOT_STARTED;
    lstrcpyW(line, L"\"");
    lstrcatW(line, program);
    lstrcatW(line, L"\"");
    lstrcatW(line, rest);
    startup.hStdInput = passed_on(STD_INPUT_HANDLE);
    startup.hStdOutput = passed_on(STD_OUTPUT_HANDLE);
    startup.hStdError = passed_on(STD_ERROR_HANDLE);
    /* On a busy machine Wine's console is not always there in time; what has not started has done nothing. */
    for (int tries = 1; !CreateProcessW(program, line, NULL, NULL, TRUE, CREATE_NO_WINDOW, NULL, NULL, &startup, &child); tries++) {
        if (tries == TRIES) return complain(startup.hStdError);
        Sleep(200);
    }
    CloseHandle(startup.hStdInput);
    CloseHandle(startup.hStdOutput);
    CloseHandle(startup.hStdError);
    WaitForSingleObject(child.hProcess, INFINITE);
    GetExitCodeProcess(child.hProcess, &code);
    return (int)code;
}
