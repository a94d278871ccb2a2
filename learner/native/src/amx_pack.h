/* Packing for amx.h: matrices of float32 into tiles of bfloat16 terms. */
#define TILE 16              /* rows of a tile, and columns of a tile of sums */
#define DEPTH 32             /* bfloat16 values in a row of a tile */
#define PART (TILE * DEPTH)  /* values of a tile */
#define BLOCK (2 * TILE)     /* rows and columns of what one inner loop computes */
typedef unsigned short bf16;

/* Tiles that cover a depth. */
static inline long tiles(long depth) { return (depth + DEPTH - 1) / DEPTH; }

/* bfloat16 values of a packed factor with `rows` rows (or columns) of depth `depth`. */
static inline long packed(long terms, long rows, long depth)
{
    return (rows + BLOCK - 1) / BLOCK * 2 * terms * PART * tiles(depth);
}

/* The upper halves of `even` and `odd`, side by side in each element. */
static inline __m512i pair(__m512i even, __m512i odd)
{
    return _mm512_or_si512(_mm512_srli_epi32(even, 16),
                           _mm512_and_si512(odd, _mm512_set1_epi32((int)0xffff0000u)));
}

/* The upper half of each float: its first eight significant bits. */
static inline __m512i head(__m512 x)
{
    return _mm512_and_si512(_mm512_castps_si512(x), _mm512_set1_epi32((int)0xffff0000u));
}

/* Rounded so that `head` of it is the nearest bfloat16; NaN stays NaN. */
static inline __m512 rounded(__m512 x)
{
    __m512i bits = _mm512_castps_si512(x);
    __m512i odd = _mm512_and_si512(_mm512_srli_epi32(bits, 16), _mm512_set1_epi32(1));
    __m512i half = _mm512_add_epi32(odd, _mm512_set1_epi32(0x7fff));
    __mmask16 number = _mm512_cmp_ps_mask(x, x, _CMP_ORD_Q);
    return _mm512_castsi512_ps(_mm512_mask_add_epi32(bits, number, bits, half));
}

/* One tile of each term, [16][16 pairs of depths], from `rows` x `depth` values; zeros beyond.
 * across 0: value (row, k) at x[row ld + k];  1: at x[k ld + row].
 * turn: for a right factor, [16 pairs of depths][16 columns], in the first case, and for a left one
 * in the second, the tile as it was read is transposed. */
static inline __attribute__((always_inline)) void
pack(const int terms, const int across, const int turn, const float *x, long ld, long rows,
     long depth, bf16 *to)
{
    const __m512i evens =
        _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30);
    const __m512i odds = _mm512_add_epi32(evens, _mm512_set1_epi32(1));
    __m512i out[3][16];
    for (int i = 0; i < 16; i++) {
        __m512 even, odd;
        if (across) { /* a pair of depths, 16 rows */
            even = _mm512_maskz_loadu_ps(2 * i < depth ? first(rows) : 0, x + 2 * i * ld);
            odd = _mm512_maskz_loadu_ps(2 * i + 1 < depth ? first(rows) : 0, x + (2 * i + 1) * ld);
        } else { /* a row, 16 pairs of depths */
            const float *row = x + i * ld;
            __m512 a = _mm512_maskz_loadu_ps(i < rows ? first(depth) : 0, row);
            __m512 b = _mm512_maskz_loadu_ps(i < rows ? first(depth - 16) : 0, row + 16);
            even = _mm512_permutex2var_ps(a, evens, b);
            odd = _mm512_permutex2var_ps(a, odds, b);
        }
        for (int t = 0; t < terms; t++) {
            if (t == terms - 1) {
                even = rounded(even);
                odd = rounded(odd);
            }
            __m512i he = head(even), ho = head(odd);
            out[t][i] = pair(he, ho);
            even = _mm512_sub_ps(even, _mm512_castsi512_ps(he));
            odd = _mm512_sub_ps(odd, _mm512_castsi512_ps(ho));
        }
    }
    for (int t = 0; t < terms; t++) {
        if (turn) transpose(out[t]);
        for (int i = 0; i < 16; i++) _mm512_store_si512(to + t * PART + i * DEPTH, out[t][i]);
    }
}

/* Tiles of a left factor's rows, or of a right one's columns: [blocks][depth / 32][2][terms] of them.
 * One of the strides is 1. */
static inline __attribute__((always_inline)) void
pack_all(const int terms, const int left, const float *x, long row_stride, long depth_stride,
         long rows, long depth, bf16 *to)
{
    for (long r = 0; r < rows; r += BLOCK)
        for (long k = 0; k < depth; k += DEPTH)
            for (long half = r; half < r + BLOCK; half += TILE, to += terms * PART) {
                const float *from = x + half * row_stride + k * depth_stride;
                long n = rows - half, d = depth - k;
                if (depth_stride == 1)
                    pack(terms, 0, !left, from, row_stride, n, d, to);
                else
                    pack(terms, 1, left, from, depth_stride, n, d, to);
            }
}
