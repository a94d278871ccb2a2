/* Wide networks by AVX2, for processors without AVX-512. */
#include "names.h"

#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__)
#include <immintrin.h>
#define REAL float
#define SUFFIX f32_avx2
#define VLEN 32
#pragma GCC push_options
#pragma GCC target("avx2,fma,bmi,bmi2")
#include "shape.h"
#include "wide_rows.h"

#define PAIRS 0
#define WIDE(x) JOIN(x, float)
#define KIND avx2
#include "multiply_add.h"
#pragma GCC pop_options
#endif
