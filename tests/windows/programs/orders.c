/* Copyright (c) 2026, the msexchange.winsock_proxy authors
 * GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
 * SPDX-License-Identifier: GPL-3.0-or-later
 *
 * Brings a Windows machine into a state, and tells its state, order by order, through the Windows API.
 *
 *   orders.exe <orders >answers
 *
 * One order a line, words separated by tabs, UTF-8, bytes as hexadecimal digits. One process for all of them: starting
 * one costs more than a hundred orders. A question answers with one line or several; the first order that fails ends
 * the program with status 1 and "failed <line> <order> <Win32 code>" on standard error.
 *
 * What must go on (a file held open, a lock, a port that listens) goes on in processes of this same program:
 *
 *   orders.exe hold EVENT PATH read|write|none
 *   orders.exe lock EVENT PATH HEX SECONDS
 *   orders.exe listen EVENT PORT HEX HEX
 *
 * They are in a volatile key of the registry by process and time of creation, which is how the order "let-go" ends
 * them and nobody else; they end by themselves after LIFE_MS. */

#define WIN32_LEAN_AND_MEAN
#include <windows.h>
#include <winsock2.h>
#include <ws2tcpip.h>
#include <aclapi.h>
#include <sddl.h>
#include <stdarg.h>
#include <stdio.h>

#define OURS L"SOFTWARE\\conformance-stage\\services"
#define HOLDERS L"SOFTWARE\\conformance-stage-holders" /* volatile, so not below a key that is not */
#define TAKE 128 /* as in service.c */
#define LIFE_MS (20 * 60 * 1000)
#define READY_MS 30000
#define PATIENCE_MS 30000 /* for what another process is about to do: end, start, let go */
#define MANY 16

typedef struct {
    wchar_t *word[MANY];
    int count;
} Order;

static HANDLE out;

/* --- text ------------------------------------------------------------------------------------------------------- */

static void *must(void *memory) {
    if (!memory) ExitProcess(ERROR_OUTOFMEMORY);
    return memory;
}

static void *room(size_t bytes) { return must(HeapAlloc(GetProcessHeap(), HEAP_ZERO_MEMORY, bytes ? bytes : 1)); }

static void drop(void *memory) { HeapFree(GetProcessHeap(), 0, memory); }

static void say_wide(const wchar_t *text) {
    int size = WideCharToMultiByte(CP_UTF8, 0, text, -1, NULL, 0, NULL, NULL);
    char *bytes = room(size);
    DWORD done;

    WideCharToMultiByte(CP_UTF8, 0, text, -1, bytes, size, NULL, NULL);
    WriteFile(out, bytes, size - 1, &done, NULL);
    drop(bytes);
}

/* Words of one answer, ended by NULL. */
static void say(const wchar_t *word, ...) {
    va_list words;

    va_start(words, word);
    say_wide(word);
    while ((word = va_arg(words, const wchar_t *))) {
        say_wide(L"\t");
        say_wide(word);
    }
    say_wide(L"\n");
    va_end(words);
}

static wchar_t *hex_of(const BYTE *bytes, DWORD size) {
    static const wchar_t digits[] = L"0123456789abcdef";
    wchar_t *text = room((size * 2 + 1) * sizeof *text);

    for (DWORD i = 0; i < size; i++) {
        text[2 * i] = digits[bytes[i] >> 4];
        text[2 * i + 1] = digits[bytes[i] & 15];
    }
    return text;
}

static BYTE digit(wchar_t letter) { return (BYTE)(letter <= L'9' ? letter - L'0' : (letter | 32) - L'a' + 10); }

static BYTE *bytes_of(const wchar_t *hex, DWORD *size) {
    BYTE *bytes;

    *size = lstrlenW(hex) / 2;
    bytes = room(*size);
    for (DWORD i = 0; i < *size; i++) bytes[i] = (BYTE)(digit(hex[2 * i]) << 4 | digit(hex[2 * i + 1]));
    return bytes;
}

static const wchar_t *decimal(ULONGLONG number) {
    static wchar_t text[8][24];
    static int next;
    wchar_t *of = text[next++ % 8];

    swprintf(of, 24, L"%llu", number);
    return of;
}

static ULONGLONG number_of(const wchar_t *text) { return _wcstoui64(text, NULL, 10); }

static const wchar_t *word(const Order *order, int index) { return index < order->count ? order->word[index] : L""; }

/* --- files ------------------------------------------------------------------------------------------------------ */

/* A file that nobody may open belongs to nobody in particular again. */
static void allow(const wchar_t *path) {
    PSECURITY_DESCRIPTOR everybody = NULL;

    if (!ConvertStringSecurityDescriptorToSecurityDescriptorW(L"D:(A;;FA;;;WD)", SDDL_REVISION_1, &everybody, NULL)) return;
    SetFileSecurityW(path, DACL_SECURITY_INFORMATION, everybody);
    LocalFree(everybody);
}

static BOOL gone(DWORD error) { return error == ERROR_FILE_NOT_FOUND || error == ERROR_PATH_NOT_FOUND || error == ERROR_INVALID_DRIVE || error == ERROR_NOT_READY; }

static DWORD remove_path(const wchar_t *path);

static DWORD remove_inside(const wchar_t *path) {
    wchar_t pattern[MAX_PATH * 2];
    WIN32_FIND_DATAW entry;
    HANDLE find;
    DWORD error = NO_ERROR;

    swprintf(pattern, MAX_PATH * 2, L"%ls\\*", path);
    find = FindFirstFileW(pattern, &entry);
    if (find == INVALID_HANDLE_VALUE) return gone(GetLastError()) ? NO_ERROR : GetLastError();
    do {
        if (!lstrcmpW(entry.cFileName, L".") || !lstrcmpW(entry.cFileName, L"..")) continue;
        swprintf(pattern, MAX_PATH * 2, L"%ls\\%ls", path, entry.cFileName);
        error = remove_path(pattern);
    } while (!error && FindNextFileW(find, &entry));
    FindClose(find);
    return error;
}

/* A process that has just ended may have a file open for a moment. */
static DWORD remove_path(const wchar_t *path) {
    ULONGLONG end = GetTickCount64() + PATIENCE_MS;

    for (;;) {
        DWORD attributes = GetFileAttributesW(path), error = NO_ERROR;

        if (attributes == INVALID_FILE_ATTRIBUTES) {
            error = GetLastError();
            if (gone(error)) return NO_ERROR;
        } else if (attributes & FILE_ATTRIBUTE_DIRECTORY) {
            error = remove_inside(path);
            if (error) return error;
            if (RemoveDirectoryW(path)) return NO_ERROR;
            error = GetLastError();
        } else {
            SetFileAttributesW(path, FILE_ATTRIBUTE_NORMAL);
            if (DeleteFileW(path)) return NO_ERROR;
            error = GetLastError();
            if (error == ERROR_ACCESS_DENIED) allow(path);
        }
        if (gone(error)) return NO_ERROR;
        if (GetTickCount64() > end) return error;
        Sleep(20);
    }
}

static DWORD make_directory(const wchar_t *path) {
    wchar_t part[MAX_PATH * 2];

    lstrcpynW(part, path, MAX_PATH * 2);
    for (wchar_t *at = part + 3; part[0] && part[1] && part[2] && *at; at++) {
        if (*at != L'\\') continue;
        *at = 0;
        if (!CreateDirectoryW(part, NULL) && GetLastError() != ERROR_ALREADY_EXISTS) return GetLastError();
        *at = L'\\';
    }
    if (!CreateDirectoryW(part, NULL) && GetLastError() != ERROR_ALREADY_EXISTS) return GetLastError();
    return NO_ERROR;
}

static DWORD make_directory_of(const wchar_t *path) {
    wchar_t part[MAX_PATH * 2];
    wchar_t *last;

    lstrcpynW(part, path, MAX_PATH * 2);
    last = wcsrchr(part, L'\\');
    if (!last || last - part < 3) return NO_ERROR;
    *last = 0;
    return make_directory(part);
}

/* file PATH HEX MODIFIED READ_ONLY: MODIFIED in 100 ns since 1601, or 0 for now. */
static DWORD make_file(const Order *order) {
    const wchar_t *path = word(order, 1);
    DWORD size, done, error;
    BYTE *bytes;
    HANDLE file;
    ULONGLONG modified = number_of(word(order, 3));
    FILETIME time = {(DWORD)modified, (DWORD)(modified >> 32)};

    error = remove_path(path);
    if (!error) error = make_directory_of(path);
    if (error) return error;
    file = CreateFileW(path, GENERIC_WRITE | FILE_WRITE_ATTRIBUTES, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return GetLastError();
    bytes = bytes_of(word(order, 2), &size);
    if (!WriteFile(file, bytes, size, &done, NULL)) error = GetLastError();
    if (!error && modified && !SetFileTime(file, NULL, NULL, &time)) error = GetLastError();
    CloseHandle(file);
    drop(bytes);
    if (!error && number_of(word(order, 4)) && !SetFileAttributesW(path, FILE_ATTRIBUTE_READONLY)) error = GetLastError();
    return error;
}

/* deny PATH: a list of rights that is there and empty. */
static DWORD deny(const wchar_t *path) {
    SECURITY_DESCRIPTOR nobody;
    ACL list;

    InitializeAcl(&list, sizeof list, ACL_REVISION);
    InitializeSecurityDescriptor(&nobody, SECURITY_DESCRIPTOR_REVISION);
    SetSecurityDescriptorDacl(&nobody, TRUE, &list, FALSE);
    SetSecurityDescriptorControl(&nobody, SE_DACL_PROTECTED, SE_DACL_PROTECTED);
    return SetFileSecurityW(path, DACL_SECURITY_INFORMATION, &nobody) ? NO_ERROR : GetLastError();
}

/* read PATH -> file PATH ATTRIBUTES MODIFIED HEX | missing PATH | error PATH CODE */
static void tell_file(const wchar_t *path) {
    HANDLE file = CreateFileW(path, GENERIC_READ, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);
    BY_HANDLE_FILE_INFORMATION about;
    DWORD done = 0;
    BYTE *bytes;
    wchar_t *hex;

    if (file == INVALID_HANDLE_VALUE) {
        DWORD error = GetLastError();
        if (gone(error)) say(L"missing", path, NULL);
        else say(L"error", path, decimal(error), NULL);
        return;
    }
    GetFileInformationByHandle(file, &about);
    bytes = room(about.nFileSizeLow);
    ReadFile(file, bytes, about.nFileSizeLow, &done, NULL);
    CloseHandle(file);
    hex = hex_of(bytes, done);
    say(L"file", path, decimal(about.dwFileAttributes), decimal((ULONGLONG)about.ftLastWriteTime.dwHighDateTime << 32 | about.ftLastWriteTime.dwLowDateTime), hex, NULL);
    drop(hex);
    drop(bytes);
}

/* list PATH -> for each file in it what "read" says, for each directory: directory PATH */
static void tell_directory(const wchar_t *path) {
    wchar_t name[MAX_PATH * 2];
    WIN32_FIND_DATAW entry;
    HANDLE find;

    swprintf(name, MAX_PATH * 2, L"%ls\\*", path);
    find = FindFirstFileW(name, &entry);
    if (find == INVALID_HANDLE_VALUE) return;
    do {
        if (!lstrcmpW(entry.cFileName, L".") || !lstrcmpW(entry.cFileName, L"..")) continue;
        swprintf(name, MAX_PATH * 2, L"%ls\\%ls", path, entry.cFileName);
        if (entry.dwFileAttributes & FILE_ATTRIBUTE_DIRECTORY) say(L"directory", name, NULL);
        else tell_file(name);
    } while (FindNextFileW(find, &entry));
    FindClose(find);
}

/* profile PATH SECTION KEY -> profile 1 HEX: the value in UTF-16 that GetPrivateProfileString reads, or profile 0 */
static void tell_profile(const wchar_t *path, const wchar_t *section, const wchar_t *key) {
    wchar_t value[4096];
    DWORD length;
    wchar_t *hex;

    /* 0x1A is trimmed from every value in a file, so nothing there reads like it. */
    length = GetPrivateProfileStringW(section, key, L"\x1a", value, 4096, path);
    if (length == 1 && value[0] == 0x1a) {
        say(L"profile", L"0", NULL);
        return;
    }
    hex = hex_of((const BYTE *)value, length * sizeof(wchar_t));
    say(L"profile", L"1", hex, NULL);
    drop(hex);
}

/* locked PATH -> locked PATH 1|0: whether somebody has it open and keeps writers out */
static DWORD open_to_write(const wchar_t *path) {
    HANDLE file = CreateFileW(path, GENERIC_WRITE, FILE_SHARE_READ | FILE_SHARE_WRITE | FILE_SHARE_DELETE, NULL, OPEN_EXISTING, 0, NULL);

    if (file == INVALID_HANDLE_VALUE) return GetLastError();
    CloseHandle(file);
    return NO_ERROR;
}

static BOOL locked(const wchar_t *path) { return open_to_write(path) == ERROR_SHARING_VIOLATION; }

/* wait-unlocked PATH MS; settle PATH MS is the same, and no failure when the time is over */
static DWORD wait_unlocked(const wchar_t *path, ULONGLONG ms) {
    ULONGLONG end = GetTickCount64() + ms;

    while (locked(path)) {
        if (GetTickCount64() > end) return ERROR_SEM_TIMEOUT;
        Sleep(50);
    }
    return NO_ERROR;
}

/* access PATH -> access PATH SID ...: who has any right there; a path that begins with HKLM\ is a registry key's */
static DWORD tell_access(const wchar_t *given) {
    wchar_t path[MAX_PATH * 2] = L"";
    BOOL is_key = wcsncmp(given, L"HKLM\\", 5) == 0;
    PSECURITY_DESCRIPTOR descriptor = NULL;
    PACL list = NULL;
    DWORD error, size = 0;
    HKEY key;
    BOOL has_list = FALSE, dummy;

    if (is_key) {
        error = RegOpenKeyExW(HKEY_LOCAL_MACHINE, given + 5, 0, READ_CONTROL, &key);
        if (error) return error;
        error = RegGetKeySecurity(key, DACL_SECURITY_INFORMATION, NULL, &size);
        if (error == ERROR_INSUFFICIENT_BUFFER) {
            descriptor = LocalAlloc(LMEM_FIXED, size);
            error = RegGetKeySecurity(key, DACL_SECURITY_INFORMATION, descriptor, &size);
        }
        RegCloseKey(key);
        if (!error && !GetSecurityDescriptorDacl(descriptor, &has_list, &list, &dummy)) error = GetLastError();
    } else {
        ExpandEnvironmentStringsW(given, path, MAX_PATH * 2);
        error = GetNamedSecurityInfoW(path, SE_FILE_OBJECT, DACL_SECURITY_INFORMATION, NULL, NULL, &list, NULL, &descriptor);
    }
    if (error) return error;
    for (int i = 0; list && i < list->AceCount; i++) {
        ACCESS_ALLOWED_ACE *entry;
        wchar_t *sid;
        if (!GetAce(list, i, (void **)&entry) || entry->Header.AceType != ACCESS_ALLOWED_ACE_TYPE) continue;
        if (ConvertSidToStringSidW(&entry->SidStart, &sid)) {
            say(L"access", given, sid, NULL);
            LocalFree(sid);
        }
    }
    LocalFree(descriptor);
    return NO_ERROR;
}

/* drive LETTER -> drive LETTER FILESYSTEM, empty when there is no such drive */
static void tell_drive(const wchar_t *letter) {
    wchar_t root[] = L"?:\\", kind[32] = L"";

    root[0] = letter[0];
    GetVolumeInformationW(root, NULL, 0, NULL, NULL, NULL, kind, 32);
    say(L"drive", letter, kind, NULL);
}

/* --- registry --------------------------------------------------------------------------------------------------- */

static DWORD set_value(const Order *order, DWORD options) {
    HKEY key;
    DWORD size;
    BYTE *bytes;
    LSTATUS error = RegCreateKeyExW(HKEY_LOCAL_MACHINE, word(order, 1), 0, NULL, options, KEY_WRITE, NULL, &key, NULL);

    if (error) return error;
    bytes = bytes_of(word(order, 4), &size);
    error = RegSetValueExW(key, word(order, 2), 0, (DWORD)number_of(word(order, 3)), bytes, size);
    drop(bytes);
    RegCloseKey(key);
    return error;
}

static DWORD make_key(const wchar_t *name) {
    HKEY key;
    LSTATUS error = RegCreateKeyExW(HKEY_LOCAL_MACHINE, name, 0, NULL, 0, KEY_WRITE, NULL, &key, NULL);

    if (!error) RegCloseKey(key);
    return error;
}

static DWORD remove_key(const wchar_t *name) {
    LSTATUS error = RegDeleteTreeW(HKEY_LOCAL_MACHINE, name);

    if (!error) error = RegDeleteKeyW(HKEY_LOCAL_MACHINE, name);
    return error == ERROR_FILE_NOT_FOUND ? NO_ERROR : error;
}

static DWORD remove_value(const wchar_t *name, const wchar_t *value) {
    LSTATUS error = RegDeleteKeyValueW(HKEY_LOCAL_MACHINE, name, value);

    return error == ERROR_FILE_NOT_FOUND ? NO_ERROR : error;
}

/* values KEY -> value KEY NAME TYPE HEX for each of its values */
static void tell_values(const wchar_t *name) {
    HKEY key;

    if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, name, 0, KEY_READ, &key)) return;
    for (DWORD i = 0;; i++) {
        wchar_t value[1024];
        DWORD length = 1024, type, size = 0;
        BYTE *bytes;
        wchar_t *hex;
        LSTATUS error = RegEnumValueW(key, i, value, &length, NULL, &type, NULL, &size);
        if (error) break;
        bytes = room(size + 2);
        RegQueryValueExW(key, value, NULL, &type, bytes, &size);
        hex = hex_of(bytes, size);
        say(L"value", name, value, decimal(type), hex, NULL);
        drop(hex);
        drop(bytes);
    }
    RegCloseKey(key);
}

/* tree KEY -> what "values" says of each of its subkeys */
static void tell_subkeys(const wchar_t *name) {
    wchar_t sub[256], path[1024];
    HKEY key;

    if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, name, 0, KEY_READ, &key)) return;
    for (DWORD i = 0, length = 256; !RegEnumKeyExW(key, i, sub, &length, NULL, NULL, NULL, NULL); i++, length = 256) {
        swprintf(path, 1024, L"%ls\\%ls", name, sub);
        tell_values(path);
    }
    RegCloseKey(key);
}

/* --- processes that go on --------------------------------------------------------------------------------------- */

static DWORD end_process(DWORD id, ULONGLONG born) {
    HANDLE process = OpenProcess(PROCESS_TERMINATE | PROCESS_QUERY_INFORMATION | SYNCHRONIZE, FALSE, id);
    FILETIME created, exited, kernel, user;
    DWORD error = NO_ERROR;

    if (!process) return NO_ERROR;
    GetProcessTimes(process, &created, &exited, &kernel, &user);
    if (!born || born == ((ULONGLONG)created.dwHighDateTime << 32 | created.dwLowDateTime)) {
        TerminateProcess(process, 1);
        if (WaitForSingleObject(process, PATIENCE_MS)) error = ERROR_SEM_TIMEOUT;
    }
    CloseHandle(process);
    return error;
}

/* let-go: ends what holds files, locks and ports for this stage */
static DWORD let_go(void) {
    HKEY key;
    DWORD error = NO_ERROR;

    if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, HOLDERS, 0, KEY_READ, &key)) return NO_ERROR;
    for (DWORD i = 0; !error; i++) {
        wchar_t id[24];
        ULONGLONG born = 0;
        DWORD length = 24, size = sizeof born;
        if (RegEnumValueW(key, i, id, &length, NULL, NULL, (BYTE *)&born, &size)) break;
        error = end_process((DWORD)number_of(id), born);
    }
    RegCloseKey(key);
    return error ? error : remove_key(HOLDERS);
}

static DWORD remember(const PROCESS_INFORMATION *process) {
    FILETIME created, exited, kernel, user;
    HKEY key;
    LSTATUS error = RegCreateKeyExW(HKEY_LOCAL_MACHINE, HOLDERS, 0, NULL, REG_OPTION_VOLATILE, KEY_WRITE, NULL, &key, NULL);

    if (error) return error;
    GetProcessTimes(process->hProcess, &created, &exited, &kernel, &user);
    error = RegSetValueExW(key, decimal(process->dwProcessId), 0, REG_QWORD, (BYTE *)&created, sizeof created);
    RegCloseKey(key);
    return error;
}

/* Start this program once more, for what goes on; returns when it has what it is to hold. */
static DWORD go_on(const Order *order) {
    static int number;
    wchar_t name[64], program[MAX_PATH], *line = room(32768 * sizeof *line);
    STARTUPINFOW startup = {.cb = sizeof startup};
    PROCESS_INFORMATION process;
    HANDLE waited[2];
    DWORD error = NO_ERROR;

    swprintf(name, 64, L"conformance-stage-%lu-%d", GetCurrentProcessId(), ++number);
    waited[0] = CreateEventW(NULL, TRUE, FALSE, name);
    GetModuleFileNameW(NULL, program, MAX_PATH);
    swprintf(line, 32768, L"\"%ls\" %ls %ls", program, order->word[0], name);
    for (int i = 1; i < order->count; i++) {
        lstrcatW(line, L" \"");
        lstrcatW(line, order->word[i]);
        lstrcatW(line, L"\"");
    }
    if (!CreateProcessW(program, line, NULL, NULL, FALSE, DETACHED_PROCESS | CREATE_NEW_PROCESS_GROUP, NULL, L"C:\\", &startup, &process)) return GetLastError();
    drop(line);
    waited[1] = process.hProcess;
    switch (WaitForMultipleObjects(2, waited, FALSE, READY_MS)) {
    case WAIT_OBJECT_0:
        error = remember(&process);
        break;
    case WAIT_OBJECT_0 + 1:
        GetExitCodeProcess(process.hProcess, &error);
        if (!error) error = ERROR_PROCESS_ABORTED;
        break;
    default:
        TerminateProcess(process.hProcess, 1);
        error = ERROR_SEM_TIMEOUT;
    }
    CloseHandle(waited[0]);
    CloseHandle(process.hProcess);
    CloseHandle(process.hThread);
    return error;
}

static void ready(const wchar_t *name) {
    HANDLE event = OpenEventW(EVENT_MODIFY_STATE, FALSE, name);

    if (event) SetEvent(event);
    if (event) CloseHandle(event);
}

static DWORD hold(wchar_t **words) {
    BOOL writes = !lstrcmpW(words[2], L"write"), reads = !lstrcmpW(words[2], L"read");
    DWORD access = reads ? GENERIC_READ : writes ? GENERIC_WRITE : GENERIC_READ | GENERIC_WRITE;
    HANDLE file = CreateFileW(words[1], access, reads || writes ? FILE_SHARE_READ : 0, NULL, OPEN_EXISTING, 0, NULL);

    if (file == INVALID_HANDLE_VALUE) return GetLastError();
    ready(words[0]);
    Sleep(LIFE_MS);
    return NO_ERROR;
}

/* As the target script holds its lock. */
static DWORD hold_lock(wchar_t **words) {
    HANDLE file = CreateFileW(words[1], GENERIC_WRITE, FILE_SHARE_READ, NULL, OPEN_ALWAYS, FILE_FLAG_DELETE_ON_CLOSE, NULL);
    ULONGLONG ms = number_of(words[3]);
    DWORD size, done;
    BYTE *bytes;

    if (file == INVALID_HANDLE_VALUE) return GetLastError();
    bytes = bytes_of(words[2], &size);
    SetFilePointer(file, 0, NULL, FILE_BEGIN);
    if (!WriteFile(file, bytes, size, &done, NULL) || !SetEndOfFile(file)) return GetLastError();
    FlushFileBuffers(file);
    ready(words[0]);
    Sleep(ms && ms < LIFE_MS ? (DWORD)ms : LIFE_MS);
    CloseHandle(file);
    return NO_ERROR;
}

/* --- ports ------------------------------------------------------------------------------------------------------ */

static BYTE *greeting, *answers;
static DWORD greeting_size, answers_size;

static DWORD WINAPI converse(void *socket_number) {
    SOCKET peer = (SOCKET)(ULONG_PTR)socket_number;
    char heard[512];

    if (greeting_size) send(peer, (char *)greeting, greeting_size, 0);
    while (recv(peer, heard, sizeof heard, 0) > 0) {
        if (answers_size) send(peer, (char *)answers, answers_size, 0);
    }
    closesocket(peer);
    return 0;
}

/* This machine's own address in 127.0.0.0/8 by its name; 127.0.0.1 when its name says anything else. */
static ULONG address_by_name(void) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found = NULL;
    char name[256];
    ULONG address = htonl(INADDR_LOOPBACK);

    if (gethostname(name, sizeof name) || getaddrinfo(name, NULL, &hints, &found)) return address;
    for (struct addrinfo *one = found; one; one = one->ai_next) {
        ULONG candidate = ((struct sockaddr_in *)one->ai_addr)->sin_addr.s_addr;
        if ((ntohl(candidate) >> 24) == 127) address = candidate;
    }
    freeaddrinfo(found);
    return address;
}

static SOCKET listener_on(ULONG address, USHORT port) {
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(port), .sin_addr.s_addr = address};
    SOCKET listener = socket(AF_INET, SOCK_STREAM, IPPROTO_TCP);

    if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, SOMAXCONN)) return INVALID_SOCKET;
    return listener;
}

static DWORD WINAPI serve(void *socket_number) {
    SOCKET listener = (SOCKET)(ULONG_PTR)socket_number, peer;

    while ((peer = accept(listener, NULL, NULL)) != INVALID_SOCKET) {
        CloseHandle(CreateThread(NULL, 0, converse, (void *)(ULONG_PTR)peer, 0, NULL));
    }
    return 0;
}

static DWORD listen_on(wchar_t **words) {
    USHORT port = (USHORT)number_of(words[1]);
    ULONG own = address_by_name();
    SOCKET first, second;

    greeting = bytes_of(words[2], &greeting_size);
    answers = bytes_of(words[3], &answers_size);
    first = listener_on(htonl(INADDR_LOOPBACK), port);
    if (first == INVALID_SOCKET) return WSAGetLastError();
    CloseHandle(CreateThread(NULL, 0, serve, (void *)(ULONG_PTR)first, 0, NULL));
    if (own != htonl(INADDR_LOOPBACK)) {
        second = listener_on(own, port);
        if (second == INVALID_SOCKET) return WSAGetLastError();
        CloseHandle(CreateThread(NULL, 0, serve, (void *)(ULONG_PTR)second, 0, NULL));
    }
    ready(words[0]);
    Sleep(LIFE_MS);
    return NO_ERROR;
}

/* --- services --------------------------------------------------------------------------------------------------- */

static SC_HANDLE manager(void) {
    static SC_HANDLE handle;

    if (!handle) handle = OpenSCManagerW(NULL, NULL, SC_MANAGER_ALL_ACCESS);
    return handle;
}

static DWORD state_of(SC_HANDLE service, DWORD *process) {
    SERVICE_STATUS_PROCESS status;
    DWORD needed;

    if (!QueryServiceStatusEx(service, SC_STATUS_PROCESS_INFO, (BYTE *)&status, sizeof status, &needed)) return 0;
    if (process) *process = status.dwProcessId;
    return status.dwCurrentState;
}

/* state NAME -> state NAME STATE PROCESS; STATE 0: no such service */
static void tell_state(const wchar_t *name) {
    SC_HANDLE service = OpenServiceW(manager(), name, SERVICE_QUERY_STATUS);
    DWORD process = 0, state = service ? state_of(service, &process) : 0;

    say(L"state", name, decimal(state), decimal(process), NULL);
    if (service) CloseServiceHandle(service);
}

static DWORD wait_for(SC_HANDLE service, DWORD wanted) {
    ULONGLONG end = GetTickCount64() + PATIENCE_MS;

    while (state_of(service, NULL) != wanted) {
        if (GetTickCount64() > end) return ERROR_SERVICE_REQUEST_TIMEOUT;
        Sleep(10);
    }
    return NO_ERROR;
}

/* service-start NAME STATE: as the service program takes it, see service.c */
static DWORD start_service(const wchar_t *name, DWORD wanted) {
    SC_HANDLE service = OpenServiceW(manager(), name, SERVICE_ALL_ACCESS);
    const wchar_t *argument = L"prepared";
    SERVICE_STATUS status;
    DWORD error = NO_ERROR;

    if (!service) return GetLastError();
    for (int tries = 1; !StartServiceW(service, 1, &argument); tries++) {
        error = GetLastError();
        /* Wine's manager says so when it meets the end of an earlier process of that name. */
        if (error != ERROR_INTERNAL_ERROR || tries == 5) break;
        error = NO_ERROR;
        Sleep(100);
    }
    if (!error) error = wait_for(service, SERVICE_RUNNING);
    if (!error && wanted != SERVICE_RUNNING) {
        if (!ControlService(service, TAKE + wanted, &status)) error = GetLastError();
        if (!error) error = wait_for(service, wanted);
    }
    CloseServiceHandle(service);
    return error;
}

/* service-stop NAME */
static DWORD stop_service(const wchar_t *name) {
    SC_HANDLE service = OpenServiceW(manager(), name, SERVICE_ALL_ACCESS);
    SERVICE_STATUS status;
    DWORD error = NO_ERROR;

    if (!service) return GetLastError();
    if (!ControlService(service, SERVICE_CONTROL_STOP, &status) && GetLastError() != ERROR_SERVICE_NOT_ACTIVE) error = GetLastError();
    if (!error) error = wait_for(service, SERVICE_STOPPED);
    CloseServiceHandle(service);
    return error;
}

/* service-create NAME IMAGE TYPE: not started, and on demand, until the other orders say otherwise */
static DWORD create_service(const Order *order) {
    const wchar_t *name = word(order, 1), *image = word(order, 2);
    SC_HANDLE service = CreateServiceW(manager(), name, name, SERVICE_ALL_ACCESS, (DWORD)number_of(word(order, 3)), SERVICE_DEMAND_START, SERVICE_ERROR_NORMAL, image, NULL, NULL, NULL, NULL, NULL);

    if (!service) return GetLastError();
    CloseServiceHandle(service);
    return RegSetKeyValueW(HKEY_LOCAL_MACHINE, OURS, name, REG_SZ, image, (lstrlenW(image) + 1) * sizeof *image);
}

/* service-config NAME START ACCOUNT DISPLAY GROUP NEEDS: NEEDS as in CreateService, UTF-16 in hexadecimal */
static DWORD configure_service(const Order *order) {
    SC_HANDLE service = OpenServiceW(manager(), word(order, 1), SERVICE_ALL_ACCESS);
    const wchar_t *account = word(order, 3), *display = word(order, 4), *group = word(order, 5);
    DWORD size, error = NO_ERROR;
    BYTE *needs;

    if (!service) return GetLastError();
    needs = bytes_of(word(order, 6), &size);
    if (!ChangeServiceConfigW(service, SERVICE_NO_CHANGE, (DWORD)number_of(word(order, 2)), SERVICE_NO_CHANGE, NULL, *group ? group : NULL, NULL, size ? (wchar_t *)needs : NULL,
                              *account ? account : NULL, *account ? L"" : NULL, *display ? display : NULL)) {
        error = GetLastError();
    }
    drop(needs);
    CloseServiceHandle(service);
    return error;
}

/* service-remove NAME: only one that "service-create" has made, whatever state it is in. Its process is ended first, so
 * that no control is waited for. */
static DWORD remove_service(const wchar_t *name) {
    SC_HANDLE service;
    DWORD process = 0, error = NO_ERROR;
    ULONGLONG end = GetTickCount64() + PATIENCE_MS;

    if (RegGetValueW(HKEY_LOCAL_MACHINE, OURS, name, RRF_RT_REG_SZ, NULL, NULL, NULL)) return NO_ERROR;
    service = OpenServiceW(manager(), name, SERVICE_ALL_ACCESS);
    if (!service) return GetLastError() == ERROR_SERVICE_DOES_NOT_EXIST ? NO_ERROR : GetLastError();
    state_of(service, &process);
    if (process) error = end_process(process, 0);
    if (!error && !DeleteService(service) && GetLastError() != ERROR_SERVICE_MARKED_FOR_DELETE) error = GetLastError();
    CloseServiceHandle(service);
    while (!error && (service = OpenServiceW(manager(), name, SERVICE_QUERY_STATUS))) {
        CloseServiceHandle(service);
        if (GetTickCount64() > end) error = ERROR_SERVICE_MARKED_FOR_DELETE;
        Sleep(20);
    }
    return error ? error : remove_value(OURS, name);
}

/* services-remove: all that "service-create" has made */
static DWORD remove_services(void) {
    wchar_t name[256];
    DWORD length = 256, error = NO_ERROR;
    HKEY key;

    if (RegOpenKeyExW(HKEY_LOCAL_MACHINE, OURS, 0, KEY_READ, &key)) return NO_ERROR;
    while (!error && !RegEnumValueW(key, 0, name, &length, NULL, NULL, NULL, NULL)) {
        error = remove_service(name);
        if (!error) error = remove_value(OURS, name); /* gone without us */
        length = 256;
    }
    RegCloseKey(key);
    return error;
}

/* --- event log -------------------------------------------------------------------------------------------------- */

/* event LOG SOURCE TYPE ID STRING ...: 50 (not supported) where entries that are written do not arrive */
static DWORD write_event(const Order *order) {
    wchar_t key[512];
    const wchar_t *strings[MANY];
    HANDLE source, log;
    DWORD before = 0, after = 0, error = NO_ERROR;
    HKEY made;
    int count = order->count - 5;

    swprintf(key, 512, L"SYSTEM\\CurrentControlSet\\Services\\EventLog\\%ls\\%ls", word(order, 1), word(order, 2));
    if (!RegCreateKeyExW(HKEY_LOCAL_MACHINE, key, 0, NULL, 0, KEY_WRITE, NULL, &made, NULL)) RegCloseKey(made);
    log = OpenEventLogW(NULL, word(order, 1));
    source = RegisterEventSourceW(NULL, word(order, 2));
    if (!log || !source) return GetLastError();
    for (int i = 0; i < count; i++) strings[i] = order->word[i + 5];
    GetNumberOfEventLogRecords(log, &before);
    if (!ReportEventW(source, (WORD)number_of(word(order, 3)), 0, (DWORD)number_of(word(order, 4)), NULL, (WORD)count, 0, strings, NULL)) error = GetLastError();
    GetNumberOfEventLogRecords(log, &after);
    DeregisterEventSource(source);
    CloseEventLog(log);
    if (!error && after == before) error = ERROR_NOT_SUPPORTED;
    return error;
}

/* --- orders ----------------------------------------------------------------------------------------------------- */

static void tell_system(void) {
    wchar_t root[MAX_PATH], name[MAX_PATH];
    DWORD size = MAX_PATH;
    BOOL wine = GetProcAddress(GetModuleHandleW(L"ntdll.dll"), "wine_get_version") != NULL;

    GetWindowsDirectoryW(root, MAX_PATH);
    GetComputerNameW(name, &size);
    say(L"system", wine ? L"wine" : L"windows", root, name, NULL);
}

static BOOL is(const Order *order, const wchar_t *name) { return lstrcmpW(order->word[0], name) == 0; }

static DWORD obey(const Order *order) {
    const wchar_t *first = word(order, 1);
    DWORD error = NO_ERROR;

    if (is(order, L"remove")) error = remove_path(first);
    else if (is(order, L"directory")) error = make_directory(first);
    else if (is(order, L"file")) error = make_file(order);
    else if (is(order, L"deny")) error = deny(first);
    else if (is(order, L"allow")) allow(first);
    else if (is(order, L"copy")) {
        error = make_directory_of(word(order, 2));
        if (!error && !CopyFileW(first, word(order, 2), FALSE)) error = GetLastError();
    } else if (is(order, L"move")) {
        error = make_directory_of(word(order, 2));
        if (!error && !MoveFileExW(first, word(order, 2), MOVEFILE_REPLACE_EXISTING)) error = GetLastError();
    } else if (is(order, L"hold") || is(order, L"lock") || is(order, L"listen")) error = go_on(order);
    else if (is(order, L"let-go")) error = let_go();
    else if (is(order, L"wait-unlocked")) error = wait_unlocked(first, number_of(word(order, 2)));
    else if (is(order, L"settle")) wait_unlocked(first, number_of(word(order, 2)));
    else if (is(order, L"key")) error = make_key(first);
    else if (is(order, L"value")) error = set_value(order, 0);
    else if (is(order, L"volatile")) error = set_value(order, REG_OPTION_VOLATILE);
    else if (is(order, L"remove-value")) error = remove_value(first, word(order, 2));
    else if (is(order, L"remove-key")) error = remove_key(first);
    else if (is(order, L"service-create")) error = create_service(order);
    else if (is(order, L"service-start")) error = start_service(first, (DWORD)number_of(word(order, 2)));
    else if (is(order, L"service-stop")) error = stop_service(first);
    else if (is(order, L"service-config")) error = configure_service(order);
    else if (is(order, L"services-remove")) error = remove_services();
    else if (is(order, L"service-remove")) error = remove_service(first);
    else if (is(order, L"event")) error = write_event(order);
    else if (is(order, L"system")) tell_system();
    else if (is(order, L"drive")) tell_drive(first);
    else if (is(order, L"read")) tell_file(first);
    else if (is(order, L"list")) tell_directory(first);
    else if (is(order, L"profile")) tell_profile(first, word(order, 2), word(order, 3));
    else if (is(order, L"locked")) say(L"locked", first, locked(first) ? L"1" : L"0", NULL);
    else if (is(order, L"access")) error = tell_access(first);
    else if (is(order, L"values")) tell_values(first);
    else if (is(order, L"tree")) tell_subkeys(first);
    else if (is(order, L"state")) tell_state(first);
    else error = ERROR_INVALID_FUNCTION;
    return error;
}

static wchar_t *read_orders(void) {
    HANDLE in = GetStdHandle(STD_INPUT_HANDLE);
    DWORD size = 0, limit = 1 << 16, done;
    char *bytes = room(limit);
    wchar_t *text;
    int length;

    while (ReadFile(in, bytes + size, limit - size, &done, NULL) && done) {
        size += done;
        if (size == limit) bytes = must(HeapReAlloc(GetProcessHeap(), 0, bytes, limit *= 2));
    }
    length = MultiByteToWideChar(CP_UTF8, 0, bytes, size, NULL, 0);
    text = room((length + 1) * sizeof *text);
    MultiByteToWideChar(CP_UTF8, 0, bytes, size, text, length);
    drop(bytes);
    return text;
}

static wchar_t *next_line(wchar_t **text) {
    wchar_t *line = *text, *end;

    if (!*line) return NULL;
    end = wcschr(line, L'\n');
    *text = end ? end + 1 : line + lstrlenW(line);
    if (end) *end = 0;
    return line;
}

static Order split(wchar_t *line) {
    Order order = {.count = 0};

    while (line && order.count < MANY) {
        wchar_t *tab = wcschr(line, L'\t');
        if (tab) *tab++ = 0;
        order.word[order.count++] = line;
        line = tab;
    }
    return order;
}

/* Services run as LocalSystem; an administrator may end their processes with this privilege alone. */
static void may_end_services(void) {
    TOKEN_PRIVILEGES wish = {.PrivilegeCount = 1, .Privileges = {{.Attributes = SE_PRIVILEGE_ENABLED}}};
    HANDLE token;

    if (!OpenProcessToken(GetCurrentProcess(), TOKEN_ADJUST_PRIVILEGES, &token)) return;
    if (LookupPrivilegeValueW(NULL, SE_DEBUG_NAME, &wish.Privileges[0].Luid)) {
        AdjustTokenPrivileges(token, FALSE, &wish, 0, NULL, NULL);
    }
    CloseHandle(token);
}

static int obey_all(void) {
    wchar_t *text = read_orders(), *line;
    char said[256];
    DWORD done;

    may_end_services();
    for (int number = 1; (line = next_line(&text)); number++) {
        Order order = split(line);
        DWORD error = obey(&order);
        if (error) {
            int length = snprintf(said, sizeof said, "failed %d %ls %lu\n", number, order.word[0], error);
            WriteFile(GetStdHandle(STD_ERROR_HANDLE), said, length, &done, NULL);
            return 1;
        }
    }
    return 0;
}

int wmain(int count, wchar_t **words) {
    WSADATA sockets;

    out = GetStdHandle(STD_OUTPUT_HANDLE);
    if (count == 1) return obey_all();
    if (count == 5 && !lstrcmpW(words[1], L"hold")) return (int)hold(words + 2);
    if (count == 6 && !lstrcmpW(words[1], L"lock")) return (int)hold_lock(words + 2);
    if (count == 6 && !lstrcmpW(words[1], L"listen") && !WSAStartup(MAKEWORD(2, 2), &sockets)) return (int)listen_on(words + 2);
    return ERROR_BAD_ARGUMENTS;
}
