/* Copyright (c) 2026, the msexchange.winsock_proxy authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * A Windows service that behaves as a conformance case says: slow, late, mute, hanging, refusing, dying.
 *
 * A copy of this program lies at the path of each service of a case. How it behaves stands in the registry, below
 * BEHAVIOUR in a key of the service's own name. Whoever prepares a case starts it with an argument, "prepared": it runs
 * at once, whatever its behaviour is; without the argument, as it is started afterwards, the behaviour holds. The
 * control TAKE + n, which services may define for themselves, makes it take the state n.
 *
 * With "section" in that key it is an Exchange process besides: when it starts it reads that section of the Wspcfg.ini
 * beside its own program, with kernel32, as the WinSock Proxy client does. It listens on loopback addresses only: on
 * "lan" on each of its "protocols" (number and name), and on the proxy's address on those that the file names. */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winsock2.h>
#include <stdio.h>
#include <wchar.h>

#define BEHAVIOUR L"SOFTWARE\\conformance-stage\\behaviour\\"
#define TAKE 128
#define HINT_MS 3000
#define MANY 64
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

/* --- Exchange --------------------------------------------------------------------------------------------------- */

typedef struct {
    const wchar_t *name;
    const char *greeting, *farewell;
} Speaker;

/* As Exchange Server 5.5 says it. */
static const Speaker speakers[] = {
    {L"pop3", "+OK Microsoft Exchange POP3 server version 5.5.2650.23 ready\r\n", "+OK Microsoft Exchange POP3 server version 5.5.2650.23 signing off\r\n"},
    {L"imap4", "* OK Microsoft Exchange IMAP4rev1 server version 5.5.2650.23 (real.lab.example) ready\r\n", "* BYE Microsoft Exchange IMAP4rev1 server version 5.5.2650.23 signing off\r\n"},
    {L"smtp", "220 real.lab.example ESMTP Server (Microsoft Exchange Internet Mail Service 5.5.2650.21) ready\r\n", "221 closing connection\r\n"},
};

typedef struct {
    SOCKET listener;
    const Speaker *speaker;
} Port;

static Port ports[MANY];
static int port_count;

static BOOL text_of(const wchar_t *name, wchar_t *text, DWORD bytes) {
    text[0] = 0;
    return RegGetValueW(HKEY_LOCAL_MACHINE, key, name, RRF_RT_REG_SZ | RRF_RT_REG_MULTI_SZ, NULL, text, &bytes) == 0;
}

typedef struct {
    SOCKET peer;
    const Speaker *speaker;
} Guest;

static DWORD WINAPI converse(void *data) {
    Guest guest = *(Guest *)data;
    char heard[512];

    HeapFree(GetProcessHeap(), 0, data);
    send(guest.peer, guest.speaker->greeting, (int)strlen(guest.speaker->greeting), 0);
    if (recv(guest.peer, heard, sizeof heard, 0) > 0) send(guest.peer, guest.speaker->farewell, (int)strlen(guest.speaker->farewell), 0);
    shutdown(guest.peer, SD_SEND);
    while (recv(guest.peer, heard, sizeof heard, 0) > 0) continue;
    closesocket(guest.peer);
    return 0;
}

static DWORD WINAPI serve(void *data) {
    Port *port = data;
    SOCKET peer;

    while ((peer = accept(port->listener, NULL, NULL)) != INVALID_SOCKET) {
        Guest *guest = HeapAlloc(GetProcessHeap(), 0, sizeof *guest);
        *guest = (Guest){peer, port->speaker};
        CloseHandle(CreateThread(NULL, 0, converse, guest, 0, NULL));
    }
    return 0;
}

static ULONG address_of(const wchar_t *text) {
    char narrow[64];

    WideCharToMultiByte(CP_ACP, 0, text, -1, narrow, sizeof narrow, NULL, NULL);
    return inet_addr(narrow);
}

static void open_port(ULONG address, USHORT number, const Speaker *speaker) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(number), .sin_addr.s_addr = address};
    Port *port = &ports[port_count];

    if (port_count == MANY || (ntohl(address) >> 24) != 127) return;
    port->listener = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);
    port->speaker = speaker;
    if (bind(port->listener, (struct sockaddr *)&at, sizeof at) || listen(port->listener, SOMAXCONN)) {
        closesocket(port->listener);
        return;
    }
    port_count++;
    CloseHandle(CreateThread(NULL, 0, serve, port, 0, NULL));
}

/* Whether a list like "110,1000-1005" has a number. */
static BOOL lists(const wchar_t *list, long number) {
    while (*list) {
        wchar_t *end;
        long first = wcstol(list, &end, 10), last = first;
        if (*end == L'-') last = wcstol(end + 1, &end, 10);
        if (first <= number && number <= last) return TRUE;
        list = *end == L',' ? end + 1 : L"";
    }
    return FALSE;
}

/* The address that a list like "110:192.0.2.1,143:192.0.2.1" has for a port, else the other one. */
static ULONG bound_to(const wchar_t *list, long number, ULONG other) {
    while (*list) {
        wchar_t *end, address[64] = L"";
        int length = 0;
        long port = wcstol(list, &end, 10);
        if (*end != L':') return other;
        for (end++; *end && *end != L',' && length < 63; end++) address[length++] = *end;
        if (port == number) return address_of(address);
        list = *end ? end + 1 : L"";
    }
    return other;
}

static void open_ports(void) {
    static wchar_t protocols[1024], section[64], address[64], file[MAX_PATH], names[4096], addresses[4096];
    ULONG lan, proxy;

    if (!text_of(L"section", section, sizeof section) || !text_of(L"protocols", protocols, sizeof protocols)) return;
    text_of(L"lan", address, sizeof address);
    lan = address_of(address);
    text_of(L"proxy", address, sizeof address);
    proxy = address_of(address);
    GetModuleFileNameW(NULL, file, MAX_PATH);
    lstrcpyW(wcsrchr(file, L'\\') + 1, L"Wspcfg.ini");
    GetPrivateProfileStringW(section, L"ServerBindTcpPorts", L"", names, 4096, file);
    GetPrivateProfileStringW(section, L"ProxyBindIp", L"", addresses, 4096, file);
    for (wchar_t *line = protocols; *line; line += lstrlenW(line) + 1) {
        wchar_t *name;
        long number = wcstol(line, &name, 10);
        for (size_t i = 0; i < sizeof speakers / sizeof *speakers; i++) {
            if (lstrcmpW(name + 1, speakers[i].name)) continue;
            open_port(lan, (USHORT)number, &speakers[i]);
            if (lists(names, number)) open_port(bound_to(addresses, number, proxy), (USHORT)number, &speakers[i]);
        }
    }
}

static void close_ports(void) {
    while (port_count) closesocket(ports[--port_count].listener);
}

/* --- the service ------------------------------------------------------------------------------------------------ */

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
    open_ports();
    report(SERVICE_RUNNING, NO_ERROR);
    if (WaitForSingleObject(stopping, dies_after) == WAIT_TIMEOUT) {
        /* It says so as it goes: a process that just vanishes is "running" for Wine's manager. */
        report(SERVICE_STOPPED, ERROR_PROCESS_ABORTED);
        return;
    }
    close_ports();
    if (says(L"stop", L"late")) Sleep(number(L"late_ms"));
    if (says(L"stop", L"hang")) stay(SERVICE_STOP_PENDING);
    pending_for(SERVICE_STOP_PENDING, number(L"stop_ms"));
    report(SERVICE_STOPPED, NO_ERROR);
}

int wmain(void) {
    SERVICE_TABLE_ENTRYW table[] = {{(wchar_t *)L"", run}, {NULL, NULL}};

    WSADATA sockets;

    if (WSAStartup(MAKEWORD(2, 2), &sockets)) return 1;
    InitializeCriticalSection(&reporting);
    stopping = CreateEventW(NULL, TRUE, FALSE, NULL);
    return StartServiceCtrlDispatcherW(table) ? 0 : (int)GetLastError();
}
