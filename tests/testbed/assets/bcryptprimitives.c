// bcryptprimitives.dll for wine 8, which lacks it: ProcessPrng (learn.microsoft.com, "ProcessPrng function") by way of RtlGenRandom.
#include <windows.h>

BOOLEAN NTAPI SystemFunction036(PVOID buffer, ULONG bytes);

__declspec(dllexport) BOOL WINAPI ProcessPrng(PBYTE buffer, SIZE_T bytes)
{
    while (bytes) {
        ULONG part = bytes > 0x10000 ? 0x10000 : (ULONG)bytes;
        if (!SystemFunction036(buffer, part)) return FALSE;
        buffer += part;
        bytes -= part;
    }
    return TRUE;
}
