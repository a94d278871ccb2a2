/* Fused layers and the LSTM with its derivatives, for float and double and, on x86-64 with GCC,
 * for three instruction sets chosen when the library is loaded. Called through ctypes by
 * learner/kernels.py; learner/kernels_torch.py is the same in plain torch. */
#include <math.h>
#include <stddef.h>

#define LAYER_NORM_EPS 1e-5
#define JOIN_(a, b) a##_##b
#define JOIN(a, b) JOIN_(a, b)
#define NAME(x) JOIN(x, SUFFIX)

#define REAL float
#define REAL_IS_FLOAT 1
#define SQRT sqrtf
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#pragma GCC push_options
#pragma GCC target("arch=skylake-avx512,prefer-vector-width=512")
#define VLEN 64
#define SUFFIX f32_avx512
#include "kernels_body.h"
#undef SUFFIX
#undef VLEN
#pragma GCC pop_options
#pragma GCC push_options
#pragma GCC target("arch=haswell")
#define VLEN 32
#define SUFFIX f32_avx2
#include "kernels_body.h"
#undef SUFFIX
#undef VLEN
#pragma GCC pop_options
#define HAVE_LEVELS 1
#else
#define HAVE_LEVELS 0
#endif
#define VLEN 16
#define SUFFIX f32_base
#include "kernels_body.h"
#undef SUFFIX
#undef REAL
#undef REAL_IS_FLOAT
#undef SQRT

#define REAL double
#define REAL_IS_FLOAT 0
#define SQRT sqrt
#define SUFFIX f64_base
#include "kernels_body.h"

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
