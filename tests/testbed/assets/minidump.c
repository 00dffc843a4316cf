// minidump PID FILE: a full-memory minidump by the system's own MiniDumpWriteDump, run under wine.
//
// wine 8 writes the memory, modules, threads and system of a process; the streams it lacks (memory information, thread
// information and names, handles) are collected here with the documented calls and handed over as user streams.
// Its dbghelp reads a kilobyte at a time, each through the wine server; the reads are served from larger blocks instead.
#include <windows.h>
#include <dbghelp.h>
#include <tlhelp32.h>
#include <stdio.h>
#include <stdlib.h>

#define HANDLES_TRIED 16384
#define NAME_BYTES 256
#define BLOCK_BYTES 65536
#define BLOCKS 4096

/* A stream under construction; grows as needed. */
typedef struct {
    BYTE *bytes;
    ULONG used, room;
} Stream;

static void *add(Stream *stream, const void *bytes, ULONG count)
{
    if (stream->used + count > stream->room) {
        stream->room = 2 * (stream->used + count);
        stream->bytes = realloc(stream->bytes, stream->room);
        if (!stream->bytes) exit(9);
    }
    memcpy(stream->bytes + stream->used, bytes, count);
    stream->used += count;
    return stream->bytes + stream->used - count;
}

/* MINIDUMP_STRING: bytes, UTF-16, terminator. */
static ULONG add_string(Stream *stream, const WCHAR *text)
{
    ULONG at = stream->used, bytes = wcslen(text) * sizeof(WCHAR);
    add(stream, &bytes, sizeof bytes);
    add(stream, text, bytes + sizeof(WCHAR));
    while (stream->used % 4) add(stream, "", 1);
    return at;
}

static Stream memory_info(HANDLE process)
{
    Stream stream = {0};
    MINIDUMP_MEMORY_INFO_LIST head = {sizeof head, sizeof(MINIDUMP_MEMORY_INFO), 0};
    MEMORY_BASIC_INFORMATION m;
    add(&stream, &head, sizeof head);
    for (BYTE *at = 0; VirtualQueryEx(process, at, &m, sizeof m) == sizeof m; at = (BYTE *)m.BaseAddress + m.RegionSize) {
        MINIDUMP_MEMORY_INFO info = {(ULONG64)m.BaseAddress, (ULONG64)m.AllocationBase, m.AllocationProtect, 0,
                                     m.RegionSize, m.State, m.Protect, m.Type, 0};
        add(&stream, &info, sizeof info);
        head.NumberOfEntries++;
        if ((BYTE *)m.BaseAddress + m.RegionSize <= at) break;
    }
    memcpy(stream.bytes, &head, sizeof head);
    return stream;
}

/* Thread information, and names with offsets from the start of their stream. */
static void threads(DWORD pid, Stream *infos, Stream *names)
{
    MINIDUMP_THREAD_INFO_LIST head = {sizeof head, sizeof(MINIDUMP_THREAD_INFO), 0};
    HRESULT(WINAPI *describe)(HANDLE, PWSTR *) =
        (void *)GetProcAddress(GetModuleHandleA("kernelbase.dll"), "GetThreadDescription");
    DWORD ids[4096], count = 0, named = 0;
    HANDLE snapshot = CreateToolhelp32Snapshot(TH32CS_SNAPTHREAD, 0);
    THREADENTRY32 entry = {sizeof entry};
    for (BOOL more = Thread32First(snapshot, &entry); more; more = Thread32Next(snapshot, &entry))
        if (entry.th32OwnerProcessID == pid && count < 4096) ids[count++] = entry.th32ThreadID;
    CloseHandle(snapshot);
    add(infos, &head, sizeof head);
    add(names, &named, sizeof named);
    PWSTR texts[4096] = {0};
    for (DWORD i = 0; i < count; i++) {
        MINIDUMP_THREAD_INFO info = {ids[i]};
        FILETIME created, exited, kernel, user;
        HANDLE thread = OpenThread(THREAD_ALL_ACCESS, FALSE, ids[i]);
        if (!thread) continue;
        if (GetThreadTimes(thread, &created, &exited, &kernel, &user)) {
            info.CreateTime = *(ULONG64 *)&created;
            info.KernelTime = *(ULONG64 *)&kernel;
            info.UserTime = *(ULONG64 *)&user;
        }
        info.Affinity = ~0ull;
        add(infos, &info, sizeof info);
        head.NumberOfEntries++;
        if (describe && describe(thread, &texts[i]) >= 0 && texts[i] && *texts[i]) named++;
        else texts[i] = NULL;
        CloseHandle(thread);
    }
    memcpy(infos->bytes, &head, sizeof head);
    memcpy(names->bytes, &named, sizeof named);
    ULONG at = names->used;
    for (DWORD i = 0; i < count; i++)
        if (texts[i]) add(names, &ids[i], 4), add(names, &(ULONG64){0}, 8);
    for (DWORD i = 0; i < count; i++)
        if (texts[i]) {
            ULONG64 where = add_string(names, texts[i]);
            memcpy(names->bytes + at + 4, &where, sizeof where);
            at += 12;
        }
}

/* Open handles by trying every small value: there is no call that lists those of another process alone. */
static Stream handles(HANDLE process)
{
    LONG(WINAPI *query)(HANDLE, int, void *, ULONG, ULONG *) =
        (void *)GetProcAddress(GetModuleHandleA("ntdll.dll"), "NtQueryObject");
    Stream stream = {0}, names = {0};
    MINIDUMP_HANDLE_DATA_STREAM head = {sizeof head, sizeof(MINIDUMP_HANDLE_DESCRIPTOR), 0, 0};
    add(&stream, &head, sizeof head);
    for (ULONG_PTR value = 4; value <= HANDLES_TRIED; value += 4) {
        struct { USHORT bytes, room; WCHAR *text; WCHAR space[NAME_BYTES]; } type = {0};
        MINIDUMP_HANDLE_DESCRIPTOR entry = {value};
        HANDLE copy;
        if (!DuplicateHandle(process, (HANDLE)value, GetCurrentProcess(), &copy, 0, FALSE, DUPLICATE_SAME_ACCESS)) continue;
        if (query(copy, 2, &type, sizeof type, NULL) >= 0 && type.text) {
            type.text[type.bytes / sizeof(WCHAR)] = 0;
            entry.TypeNameRva = add_string(&names, type.text) + 1;
        }
        entry.HandleCount = 1;
        add(&stream, &entry, sizeof entry);
        head.NumberOfDescriptors++;
        CloseHandle(copy);
    }
    memcpy(stream.bytes, &head, sizeof head);
    MINIDUMP_HANDLE_DESCRIPTOR *entries = (void *)(stream.bytes + sizeof head);
    for (ULONG i = 0; i < head.NumberOfDescriptors; i++)
        if (entries[i].TypeNameRva) entries[i].TypeNameRva += stream.used - 1;
    add(&stream, names.bytes, names.used);
    return stream;
}

/* Names lie in the same stream: their offsets become those of the file once the stream has its place. */
static void fix_offsets(FILE *file)
{
    MINIDUMP_HEADER header;
    fread(&header, sizeof header, 1, file);
    for (ULONG i = 0; i < header.NumberOfStreams; i++) {
        MINIDUMP_DIRECTORY entry;
        fseek(file, header.StreamDirectoryRva + i * sizeof entry, SEEK_SET);
        fread(&entry, sizeof entry, 1, file);
        RVA rva = entry.Location.Rva;
        BYTE *bytes = malloc(entry.Location.DataSize + 1);
        if (entry.StreamType != ThreadNamesStream && entry.StreamType != HandleDataStream) continue;
        fseek(file, rva, SEEK_SET);
        fread(bytes, 1, entry.Location.DataSize, file);
        if (entry.StreamType == ThreadNamesStream) {
            for (ULONG j = 0; j < *(ULONG *)bytes; j++) {
                ULONG64 where;
                memcpy(&where, bytes + 4 + 12 * j + 4, 8);
                where += rva;
                memcpy(bytes + 4 + 12 * j + 4, &where, 8);
            }
        } else {
            MINIDUMP_HANDLE_DATA_STREAM *head = (void *)bytes;
            MINIDUMP_HANDLE_DESCRIPTOR *handle = (void *)(head + 1);
            for (ULONG j = 0; j < head->NumberOfDescriptors; j++)
                if (handle[j].TypeNameRva) handle[j].TypeNameRva += rva;
        }
        fseek(file, rva, SEEK_SET);
        fwrite(bytes, 1, entry.Location.DataSize, file);
    }
}

/* Memory that was read before, in aligned blocks: nothing changes while dbghelp has the process suspended. */
static struct {
    ULONG64 from, bytes;
    BYTE content[BLOCK_BYTES];
} *blocks;
/* Known beforehand: wine answers VirtualQueryEx in the process itself, which is suspended then. */
static MINIDUMP_MEMORY_INFO_LIST *regions;

/* What of an aligned block lies in the same region as `at`; none for what wine does not manage, such as its own stacks. */
static BOOL clip(ULONG64 at, ULONG64 *from, ULONG64 *end)
{
    MINIDUMP_MEMORY_INFO *m = (void *)(regions + 1);
    ULONG64 low = 0, high = regions->NumberOfEntries;
    while (low < high) {
        ULONG64 middle = (low + high) / 2;
        if (m[middle].BaseAddress + m[middle].RegionSize <= at) low = middle + 1;
        else high = middle;
    }
    *from = at & ~(BLOCK_BYTES - 1ull);
    *end = *from + BLOCK_BYTES;
    if (low == regions->NumberOfEntries || m[low].BaseAddress > at || m[low].State != MEM_COMMIT) return FALSE;
    if (*from < m[low].BaseAddress) *from = m[low].BaseAddress;
    if (*end > m[low].BaseAddress + m[low].RegionSize) *end = m[low].BaseAddress + m[low].RegionSize;
    return TRUE;
}

static BOOL WINAPI read_memory(HANDLE process, LPCVOID address, LPVOID buffer, SIZE_T bytes, SIZE_T *got)
{
    ULONG64 at = (ULONG64)address, slot = at / BLOCK_BYTES % BLOCKS, from, end;
    if (at < blocks[slot].from || at + bytes > blocks[slot].from + blocks[slot].bytes) {
        SIZE_T there = 0;
        blocks[slot].bytes = 0;
        if (clip(at, &from, &end) && at + bytes <= end &&
            ReadProcessMemory(process, (void *)from, blocks[slot].content, end - from, &there)) {
            blocks[slot].from = from;
            blocks[slot].bytes = there;
        }
        if (at + bytes > blocks[slot].from + blocks[slot].bytes)
            return ReadProcessMemory(process, address, buffer, bytes, got);
    }
    memcpy(buffer, blocks[slot].content + (at - blocks[slot].from), bytes);
    if (got) *got = bytes;
    return TRUE;
}

/* Puts `read_memory` in the place of ReadProcessMemory among what `module` imports. */
static void serve_reads(BYTE *module)
{
    IMAGE_NT_HEADERS64 *nt = (void *)(module + ((IMAGE_DOS_HEADER *)module)->e_lfanew);
    IMAGE_IMPORT_DESCRIPTOR *library =
        (void *)(module + nt->OptionalHeader.DataDirectory[IMAGE_DIRECTORY_ENTRY_IMPORT].VirtualAddress);
    for (; library->Name; library++) {
        IMAGE_THUNK_DATA64 *name = (void *)(module + library->OriginalFirstThunk);
        IMAGE_THUNK_DATA64 *slot = (void *)(module + library->FirstThunk);
        for (; name->u1.AddressOfData; name++, slot++) {
            IMAGE_IMPORT_BY_NAME *import = (void *)(module + name->u1.AddressOfData);
            DWORD old;
            if (IMAGE_SNAP_BY_ORDINAL64(name->u1.Ordinal) || strcmp(import->Name, "ReadProcessMemory")) continue;
            VirtualProtect(slot, sizeof *slot, PAGE_READWRITE, &old);
            slot->u1.Function = (ULONG64)read_memory;
            VirtualProtect(slot, sizeof *slot, old, &old);
        }
    }
}

int main(int count, char **words)
{
    if (count != 3) return fprintf(stderr, "usage: minidump PID FILE\n"), 2;
    DWORD pid = strtoul(words[1], NULL, 10);
    HANDLE process = OpenProcess(PROCESS_ALL_ACCESS, FALSE, pid);
    if (!process) return fprintf(stderr, "there is no process %lu (error %lu)\n", pid, GetLastError()), 1;
    HANDLE file = CreateFileA(words[2], GENERIC_READ | GENERIC_WRITE, 0, NULL, CREATE_ALWAYS, 0, NULL);
    if (file == INVALID_HANDLE_VALUE) return fprintf(stderr, "cannot create %s (error %lu)\n", words[2], GetLastError()), 1;
    Stream memory = memory_info(process), infos = {0}, names = {0}, open = handles(process);
    threads(pid, &infos, &names);
    MINIDUMP_USER_STREAM user[] = {{MemoryInfoListStream, memory.used, memory.bytes},
                                   {ThreadInfoListStream, infos.used, infos.bytes},
                                   {ThreadNamesStream, names.used, names.bytes},
                                   {HandleDataStream, open.used, open.bytes}};
    MINIDUMP_USER_STREAM_INFORMATION streams = {4, user};
    regions = (void *)memory.bytes;
    blocks = calloc(BLOCKS, sizeof *blocks);
    if (!blocks) return 9;
    serve_reads((BYTE *)LoadLibraryA("dbghelp.dll"));
    BOOL written = MiniDumpWriteDump(process, pid, file, MiniDumpWithFullMemory | MiniDumpWithHandleData |
                                     MiniDumpWithThreadInfo | MiniDumpWithFullMemoryInfo, NULL, &streams, NULL);
    DWORD error = GetLastError();
    CloseHandle(file);
    if (!written) return fprintf(stderr, "MiniDumpWriteDump failed (error %lu)\n", error), 1;
    FILE *again = fopen(words[2], "r+b");
    if (!again) return fprintf(stderr, "cannot open %s again\n", words[2]), 1;
    fix_offsets(again);
    return fclose(again) ? 1 : 0;
}
