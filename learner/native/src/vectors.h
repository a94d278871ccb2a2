/* Vectors of VLEN bytes of float32, 64 by AVX-512 or 32 by AVX2, and parts of them: the first n
 * elements, for rows whose length is no multiple. Operators add, subtract and multiply them. */
#define WIDTH (VLEN / 4)

#if VLEN == 64
#define AT_ONCE 4 /* rows that a loop takes together; its sums fit into the registers */
typedef __m512 vector;
typedef __m512i bits;
typedef __mmask16 part;

static inline part first(long n)
{
    return n >= 16 ? 0xffff : n <= 0 ? 0 : (part)((1u << n) - 1);
}

#define ZERO _mm512_setzero_ps()
#define SPREAD(x) _mm512_set1_ps(x)
#define LOAD_PART(live, p) _mm512_maskz_loadu_ps(live, p)
#define STORE_PART(live, p, v) _mm512_mask_storeu_ps(p, live, v)
#define LOAD_WHOLE(p) _mm512_loadu_ps(p)
#define STORE_WHOLE(p, v) _mm512_storeu_ps(p, v)
#define FMADD(a, b, c) _mm512_fmadd_ps(a, b, c)
#define FNMADD(a, b, c) _mm512_fnmadd_ps(a, b, c)
#define ADD_SQUARE(live, a, sum) _mm512_mask3_fmadd_ps(a, a, sum, live) /* of its part */
#define LARGER(a, b) _mm512_max_ps(a, b)
#define WHERE_POSITIVE(v, a) _mm512_maskz_mov_ps(_mm512_cmp_ps_mask(v, ZERO, _CMP_GT_OQ), a)
#define LOWEST(v) _mm512_cvtss_f32(v)
#define SUM_OF(v) _mm512_reduce_add_ps(v)

/* Transpose 16 x 16 elements of 32 bits. */
static inline void transpose(bits r[16])
{
    bits t[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 16; i += 4) {
        r[i] = _mm512_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm512_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm512_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm512_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(r[i], r[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(r[i + 8], r[i + 12], 0xdd);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        r[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        r[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        r[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
}
#else
#define AT_ONCE 2
typedef __m256 vector;
typedef __m256i bits;
typedef long part; /* elements; whole vectors need no mask, which costs much more than a branch */

static inline part first(long n) { return n; }

static inline bits lanes(part live)
{
    static const int after[16] = {-1, -1, -1, -1, -1, -1, -1, -1};
    return _mm256_loadu_si256((const bits *)(after + 8 - (live > 0 ? live : 0)));
}

#define ZERO _mm256_setzero_ps()
#define SPREAD(x) _mm256_set1_ps(x)
#define LOAD_PART(live, p) ((live) >= 8 ? _mm256_loadu_ps(p) : _mm256_maskload_ps(p, lanes(live)))
#define STORE_PART(live, p, v) \
    ((live) >= 8 ? _mm256_storeu_ps(p, v) : _mm256_maskstore_ps(p, lanes(live), v))
#define LOAD_WHOLE(p) _mm256_loadu_ps(p)
#define STORE_WHOLE(p, v) _mm256_storeu_ps(p, v)
#define FMADD(a, b, c) _mm256_fmadd_ps(a, b, c)
#define FNMADD(a, b, c) _mm256_fnmadd_ps(a, b, c)
#define LARGER(a, b) _mm256_max_ps(a, b)
#define WHERE_POSITIVE(v, a) _mm256_and_ps(_mm256_cmp_ps(v, ZERO, _CMP_GT_OQ), a)
#define LOWEST(v) _mm256_cvtss_f32(v)

static inline vector ADD_SQUARE(part live, vector a, vector sum)
{
    if (live < 8) a = _mm256_and_ps(a, _mm256_castsi256_ps(lanes(live)));
    return FMADD(a, a, sum);
}

static inline float SUM_OF(vector v)
{
    __m128 four = _mm_add_ps(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1));
    __m128 two = _mm_add_ps(four, _mm_movehl_ps(four, four));
    return _mm_cvtss_f32(_mm_add_ss(two, _mm_movehdup_ps(two)));
}

/* Transpose 8 x 8 elements of 32 bits. */
static inline void transpose(bits r[8])
{
    bits t[8];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_epi32(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_epi32(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4) {
        r[i] = _mm256_unpacklo_epi64(t[i], t[i + 2]);
        r[i + 1] = _mm256_unpackhi_epi64(t[i], t[i + 2]);
        r[i + 2] = _mm256_unpacklo_epi64(t[i + 1], t[i + 3]);
        r[i + 3] = _mm256_unpackhi_epi64(t[i + 1], t[i + 3]);
    }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x20);
        t[i + 4] = _mm256_permute2x128_si256(r[i], r[i + 4], 0x31);
    }
    memcpy(r, t, sizeof t);
}
#endif
