/* Wide networks by AVX-512, for processors without a matrix unit. */
#include "names.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define REAL float
#define SUFFIX f32_avx512
#define VLEN 64
/* Features, not an architecture: only with those GCC lets functions of one target call another's. */
#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,fma,bmi,bmi2,prefer-vector-width=512")
#include "shape.h"
#include "wide_rows.h"

#define PAIRS 0
#define WIDE(x) JOIN(x, float)
#define KIND avx512
#include "multiply_add.h"
#pragma GCC pop_options

#pragma GCC push_options
#pragma GCC target("avx512f,avx512dq,avx512bw,avx512vl,avx512bf16,fma,bmi,bmi2,prefer-vector-width=512")
#define PAIRS 1
#define WIDE(x) JOIN(x, bf16)
#define KIND bf16
#include "multiply_add.h"
#pragma GCC pop_options
#endif
