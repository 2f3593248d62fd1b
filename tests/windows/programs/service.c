/* Copyright (c) 2026, the msexchange.winsock_proxy authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A Windows service that behaves as a conformance case says: slow, late, mute, hanging, refusing, dying.
 *
 * A copy of this program lies at the path of each service of a case. How it behaves stands in the registry, below
 * BEHAVIOUR in a key of the service's own name. Whoever prepares a case starts it with an argument, "prepared": it runs
 * at once, whatever its behaviour is; without the argument, as it is started afterwards, the behaviour holds. The
 * control TAKE + n, which services may define for themselves, makes it take the state n. */

#include <windows.h>

#define BEHAVIOUR L"SOFTWARE\\conformance-stage\\behaviour\\"
#define TAKE 128
#define HINT_MS 3000
#define TICK_MS 200 /* how often a pending state is reported anew */

static SERVICE_STATUS_HANDLE manager;
static SERVICE_STATUS status = {.dwServiceType = SERVICE_WIN32_OWN_PROCESS};
static CRITICAL_SECTION reporting;
static HANDLE stopping;
static wchar_t key[512];

static DWORD number(const wchar_t *name) {
    DWORD value = 0, size = sizeof value;

    RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_DWORD, NULL, &value, &size);
    return value;
}

static BOOL says(const wchar_t *name, const wchar_t *wanted) {
    wchar_t text[32] = L"";
    DWORD size = sizeof text;

    RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_SZ, NULL, text, &size);
    return lstrcmpW(text, wanted) == 0;
}

static void report(DWORD state, DWORD error) {
    BOOL pending = state == SERVICE_START_PENDING || state == SERVICE_STOP_PENDING;

    EnterCriticalSection(&reporting);
    status.dwCurrentState = state;
    status.dwWin32ExitCode = error;
    status.dwControlsAccepted = state == SERVICE_RUNNING || state == SERVICE_PAUSED ? SERVICE_ACCEPT_STOP : 0;
    status.dwCheckPoint = pending ? status.dwCheckPoint + 1 : 0;
    status.dwWaitHint = pending ? HINT_MS : 0;
    SetServiceStatus(manager, &status);
    LeaveCriticalSection(&reporting);
}

static void pending_for(DWORD state, DWORD ms) {
    ULONGLONG end = GetTickCount64() + ms;

    for (report(state, NO_ERROR); GetTickCount64() < end; report(state, NO_ERROR)) {
        ULONGLONG left = end - GetTickCount64();
        Sleep(left < TICK_MS ? (DWORD)left : TICK_MS);
    }
}

static void stay(DWORD state) {
    report(state, NO_ERROR);
    Sleep(INFINITE);
}

static DWORD WINAPI control(DWORD code, DWORD type, void *data, void *context) {
    (void)type, (void)data, (void)context;
    if (code == SERVICE_CONTROL_INTERROGATE) return NO_ERROR;
    if (code > TAKE && code <= TAKE + SERVICE_PAUSED) {
        report(code - TAKE, NO_ERROR);
        return NO_ERROR;
    }
    if (code != SERVICE_CONTROL_STOP) return ERROR_CALL_NOT_IMPLEMENTED;
    if (says(L"stop", L"refuse")) return number(L"code");
    if (says(L"stop", L"ignore")) return NO_ERROR;
    /* The service manager waits for the answer, and gives up before it comes if that takes long enough. */
    if (says(L"stop", L"mute")) Sleep(number(L"late_ms"));
    if (!says(L"stop", L"late")) report(SERVICE_STOP_PENDING, NO_ERROR);
    SetEvent(stopping);
    return NO_ERROR;
}

static void WINAPI run(DWORD count, wchar_t **words) {
    DWORD dies_after = INFINITE;

    lstrcpyW(key, BEHAVIOUR);
    lstrcatW(key, words[0]);
    manager = RegisterServiceCtrlHandlerExW(words[0], control, NULL);
    if (!manager) return;
    if (count < 2) {
        if (says(L"start", L"hang")) stay(SERVICE_START_PENDING);
        pending_for(SERVICE_START_PENDING, number(L"start_ms"));
        if (says(L"start", L"fail")) {
            report(SERVICE_STOPPED, ERROR_SERVICE_SPECIFIC_ERROR);
            return;
        }
        if (says(L"start", L"die")) dies_after = number(L"die_ms");
    }
    report(SERVICE_RUNNING, NO_ERROR);
    if (WaitForSingleObject(stopping, dies_after) == WAIT_TIMEOUT) {
        /* It says so as it goes: a process that just vanishes is "running" for Wine's manager. */
        report(SERVICE_STOPPED, ERROR_PROCESS_ABORTED);
        return;
    }
    if (says(L"stop", L"late")) Sleep(number(L"late_ms"));
    if (says(L"stop", L"hang")) stay(SERVICE_STOP_PENDING);
    pending_for(SERVICE_STOP_PENDING, number(L"stop_ms"));
    report(SERVICE_STOPPED, NO_ERROR);
}

int wmain(void) {
    SERVICE_TABLE_ENTRYW table[] = {{(wchar_t *)L"", run}, {NULL, NULL}};

    InitializeCriticalSection(&reporting);
    stopping = CreateEventW(NULL, TRUE, FALSE, NULL);
    return StartServiceCtrlDispatcherW(table) ? 0 : (int)GetLastError();
}
