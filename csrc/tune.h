/* tune.h: the numbers that steer speed, never results, except where a line says "bits".
 * Measured on two cores of a 3.3-3.8 GHz Sapphire Rapids server (48 KB L1d, 2 MB L2 each, two 512-bit FMAs a cycle). */
#ifndef FDL_TUNE_H
#define FDL_TUNE_H

enum {
    /* k steps summed in one accumulator before the sum joins c (bits) */
    MATMUL_K_BLOCK = 512,
    /* rows of the smaller side up to which, and k from which, contiguous k is summed by lanes (bits) */
    MATMUL_DOT_ROWS = 8,
    MATMUL_DOT_K = 16,
    /* multiply-adds that a thread must have to be worth waking: about 5 us of one core */
    MATMUL_GRAIN_FMAS = 1 << 19,
    /* those that a piece has at most where every piece packs again: 10 ms, so that a product can be stopped */
    MATMUL_PIECE_FMAS = 1 << 30,
    /* and those that take as long as fetching one element that is used once, from L3 */
    MATMUL_ELEMENT_FMAS = 8,
    /* columns of c per pass over the row side: packed, K_BLOCK x this stays in L2 */
    MATMUL_GROUP_COLS = 256,
    /* the same where every pass packs the row side again */
    MATMUL_GROUP_COLS_PACKED = 512,
    /* rows of c from which packing a row-major vector side may pay, and bytes that its k rows must span */
    MATMUL_PACK_ROWS = 48,
    MATMUL_PACK_BYTES = 256 << 10,
    /* the same where they span more than L2: each tile would fetch them again, in short pieces */
    MATMUL_PACK_FAR_ROWS = 8,
    MATMUL_PACK_FAR_BYTES = 2 << 20,
    /* rows of c up to which a weight that is packed already is faster than packing it again, by 7 % at 256 rows, 2 % at 1024 */
    MATMUL_KEEP_ROWS = 512,
    /* row tiles up to which reading a packed weight is what takes time: panel by panel, the next one fetched meanwhile */
    MATMUL_FETCH_TILES = 12,
    /* tiles of the row side packed at once: whole cache lines of a transposed one */
    MATMUL_PACK_TILES = 8,
    /* rows that packing fetches ahead */
    MATMUL_PREFETCH_ROWS = 8,
    /* rows (columns) of c up to which a weight [n,k] (a transposed a) is read in place and c transposed, instead of
     * packing it */
    MATMUL_SWAP_MAX = 64,
};
#endif
