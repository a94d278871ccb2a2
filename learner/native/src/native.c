/* Fused layers and the LSTM with its derivatives, for float and double and, on x86-64 with GCC,
 * for three instruction sets chosen when the library is loaded. Called through ctypes by
 * learner/native/library.py; learner/networks/layers.py is the same in plain torch. */
#include "names.h"

#define REAL float
#define REAL_IS_FLOAT 1
#define SQRT sqrtf
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#if defined(__linux__) && __GNUC__ >= 11
#define HAVE_AMX 1
#include <sys/syscall.h>
#include <unistd.h>
#endif
#pragma GCC push_options
#pragma GCC target("arch=skylake-avx512,prefer-vector-width=512")
#define VLEN 64
#define SUFFIX f32_avx512
#include "layers.h"
#pragma GCC pop_options
#if HAVE_AMX
#pragma GCC push_options
#pragma GCC target("arch=sapphirerapids,prefer-vector-width=512")
#include <immintrin.h>
#include "wide_rows.h"
#include "amx_pack.h"
#include "amx.h"
#pragma GCC pop_options
#endif
#undef SUFFIX
#undef VLEN
#pragma GCC push_options
#pragma GCC target("arch=haswell")
#define VLEN 32
#define SUFFIX f32_avx2
#include "layers.h"
#undef SUFFIX
#undef VLEN
#pragma GCC pop_options
#define HAVE_LEVELS 1
#else
#define HAVE_LEVELS 0
#endif
#define VLEN 16
#define SUFFIX f32_base
#include "layers.h"
#undef SUFFIX
#undef REAL
#undef REAL_IS_FLOAT
#undef SQRT

#define REAL double
#define REAL_IS_FLOAT 0
#define SQRT sqrt
#define SUFFIX f64_base
#include "layers.h"

#include "replay.h"

/* The best of the float versions that this processor runs: 0 base, 1 avx2, 2 avx512. */
int metagenrl_kernel_level(void)
{
#if HAVE_LEVELS
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512vl") &&
        __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512bw"))
        return 2;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma")) return 1;
#endif
    return 0;
}

/* Whether this processor has a matrix unit, and its kernel lets this process use it. */
int metagenrl_amx_usable(void)
{
#if HAVE_AMX
    enum { REQUEST_PERMISSION = 0x1023, TILE_DATA = 18 }; /* <asm/prctl.h>, XFEATURE_XTILEDATA */
    unsigned a = 7, b, c = 0, d;
    __asm__ volatile("cpuid" : "+a"(a), "=b"(b), "+c"(c), "=d"(d));
    int bf16_and_tiles = (d >> 22) & (d >> 24) & 1;
    return bf16_and_tiles && syscall(SYS_arch_prctl, REQUEST_PERMISSION, TILE_DATA) == 0;
#else
    return 0;
#endif
}

/* Whether this processor multiplies bfloat16 and sums in float32, 16 pairs at a time. */
int metagenrl_bf16_usable(void)
{
#if HAVE_LEVELS
    __builtin_cpu_init();
    return __builtin_cpu_supports("avx512bf16") != 0;
#else
    return 0;
#endif
}

/* The sources that this was built from (learner/native/built.py); setup.py defines it. */
#ifndef SOURCES
#define SOURCES ""
#endif
const char *metagenrl_sources(void) { return SOURCES; }
