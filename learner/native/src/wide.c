/* Wide networks by AVX-512, for processors without a matrix unit; called as those of amx.h are. */
#include "names.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define REAL float
#define SUFFIX f32_avx512
/* Features, not an architecture: only with those GCC lets functions of one target call another's. */
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,bmi,bmi2,prefer-vector-width=512")
#include "shape.h"
#include "wide_rows.h"

/* The three functions, and how many floats `room` and `work` of them take (from a multiple of 64
 * bytes on). `terms` is not looked at. */
#define EXPORT(kind)                                                                                 \
    long metagenrl_##kind##_room(const NAME(shape) *s) { return WIDE(room)(0, s); }                  \
    long metagenrl_##kind##_work(const NAME(shape) *s) { return WIDE(work)(s); }                     \
    void NAME(kind##_forward)(const NAME(shape) *s, const float *x, const float *params, float *z,   \
                              float *stats, float *y, float *work, float *room)                      \
    {                                                                                                \
        WIDE(forward)(0, s, x, params, z, stats, y, work, room);                                     \
    }                                                                                                \
    void NAME(kind##_backward)(const NAME(shape) *s, const float *x, const float *params,            \
                               const float *z, const float *stats, const float *dy, float *grads,    \
                               long gstride, float *dx, float *work, float *room)                    \
    {                                                                                                \
        WIDE(backward)(0, s, x, params, z, stats, dy, grads, gstride, dx, work, room);               \
    }                                                                                                \
    void NAME(kind##_parameter_tangent)(const NAME(shape) *s, const float *x, const float *params,   \
                                        const float *v, long vstride, const float *z,                \
                                        const float *stats, float *yd, float *work, float *room)     \
    {                                                                                                \
        WIDE(parameter_tangent)(0, s, x, params, v, vstride, z, stats, yd, work, room);              \
    }

#define PAIRS 0
#define WIDE(x) JOIN(x, float)
#include "avx512.h"
EXPORT(avx512)
#undef PAIRS
#undef WIDE
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma,bmi,bmi2,prefer-vector-width=512")
#define PAIRS 1
#define WIDE(x) JOIN(x, bf16)
#include "avx512.h"
EXPORT(bf16)
#pragma GCC pop_options
#endif
