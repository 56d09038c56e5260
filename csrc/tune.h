/* tune.h: the numbers that steer speed, never results, except where a line says "bits".
 * Measured on two cores of a 3.9 GHz Sapphire Rapids server (48 KB L1d, 2 MB L2 each, two 512-bit FMAs a cycle). */
#ifndef FDL_TUNE_H
#define FDL_TUNE_H

enum {
    /* k steps summed in one accumulator before the sum joins c (bits) */
    MATMUL_K_BLOCK = 512,
    /* multiply-adds that a thread must have to be worth waking: about 5 us of one core */
    MATMUL_GRAIN_FMAS = 1 << 18,
};
#endif
