/* every_float.c: the largest error of exp, tanh, sigmoid, log, erf and GELU over all 2^32 floats, in ulp (GELU: absolute,
 * over max(1, |x|)), against double; and whether all ISAs with FMA give the same bits.
 *     every_float [STEP [FUNCTION]]    each STEP-th float, of one function
 * The status is 1 where a bound of vecmath.h is exceeded. Compiled twice: with REFERENCE and -ffast-math for the functions
 * of double, which are then the vector library's where there is one (4 ulp of double). */
enum { BLOCK = 1 << 14, FUNCTIONS = 6 };
void reference(int function, double *restrict out, const float *restrict x);

#ifdef REFERENCE
#include <math.h>
static inline double within(double x, double limit) { return x > limit ? limit : x < -limit ? -limit : x; }
void reference(int function, double *restrict out, const float *restrict x) {
#define EACH(value) for (int i = 0; i < BLOCK; i++) out[i] = value
    if (function == 0) EACH(exp(within(x[i], 700)));
    if (function == 1) EACH(tanh(x[i]));
    if (function == 2) EACH(x[i] < 0 ? exp(within(x[i], 700)) / (1 + exp(within(x[i], 700))) : 1 / (1 + exp(-within(x[i], 700))));
    if (function == 3) EACH(log(x[i]));
    if (function == 4) EACH(erf(x[i]));
    if (function == 5) EACH(0.5 * x[i] * erfc(-0.70710678118654752440 * within(x[i], 37)));
}
#else
#include "fastdl.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static const struct {
    const char *name;
    int op;
    double bound, bound_without_fma;
} FUNCTION[FUNCTIONS] = {{"exp", FDL_EXP, 1, 1.3},         {"tanh", FDL_TANH, 2.5, 2.6}, {"sigmoid", FDL_SIGMOID, 2.5, 2.6},
                         {"log", FDL_LOG, 0.9, 1.2},       {"erf", FDL_ERF, 1.7, 2.5},   {"gelu", FDL_GELU, 1.2e-7, 2e-7}};

/* what a function is at infinities and outside its domain; NaN where double may be asked */
static double special(int op, float x) {
    if (op == FDL_EXP || op == FDL_SIGMOID) return x > 0 ? (op == FDL_EXP ? INFINITY : 1) : 0;
    if (op == FDL_LOG) return x == 0 ? -INFINITY : x > 0 ? INFINITY : NAN;
    if (op == FDL_GELU) return x > 0 ? INFINITY : 0;
    return x > 0 ? 1 : -1;
}

/* what is beyond the floats counts as 2^128 */
static inline double error(int op, float x, float y, double want) {
    if (op == FDL_GELU) return fabs(y - want) / (fabs(x) > 1 ? fabs(x) : 1);
    double low = 0x1p-126, high = 0x1.fffffep127, size = fabs(want), got = fabs(y);
    double in_range = size < low ? low : size > high ? high : size, power;
    uint64_t bits;
    memcpy(&bits, &in_range, 8);
    bits &= UINT64_C(0x7ff) << 52;
    memcpy(&power, &bits, 8);
    size = size > 0x1p128 ? 0x1p128 : size, got = got > high ? 0x1p128 : got;
    double sign = (double)y * want < 0 ? 1e9 : 0;
    return fabs(got - size) / power * 0x1p23 + sign;
}

int main(int argc, char **argv) {
    const uint64_t step = argc > 1 ? strtoull(argv[1], 0, 10) : 1, count = (UINT64_C(1) << 32) / step;
    enum { MAX_ISAS = 8 };
    static float x[BLOCK], y[MAX_ISAS][BLOCK];
    static double want[BLOCK];
    int isas = fdl_isa_count(), failed = 0;
    fdl_set_num_threads(1);
    for (int f = 0; f < FUNCTIONS; f++) {
        if (argc > 2 && strcmp(argv[2], FUNCTION[f].name)) continue;
        double worst[MAX_ISAS] = {0};
        float at[MAX_ISAS] = {0};
        uint64_t differ = 0;
        for (uint64_t begin = 0; begin < count; begin += BLOCK) {
            for (int i = 0; i < BLOCK; i++) {
                uint32_t bits = (uint32_t)((begin + i) * step);
                memcpy(x + i, &bits, 4);
            }
            int first = -1, op = FUNCTION[f].op;
            for (int k = 0; k < isas; k++) {
                if (!fdl_isa(k)->usable) continue;
                fdl_isa(k)->f32->unary(op, y[k], x, BLOCK, 0, 0);
                int fma = strcmp(fdl_isa(k)->name, "base") != 0;
                if (fma && first >= 0 && memcmp(y[k], y[first], sizeof y[k])) differ++;
                if (fma && first < 0) first = k;
            }
            reference(f, want, x);
            int usual = 1; /* no NaN or infinity in this block, nothing outside the domain */
            for (int i = 0; i < BLOCK; i++) usual &= isfinite(x[i]) && !(op == FDL_LOG && x[i] <= 0);
            for (int k = 0; k < isas; k++) {
                if (!fdl_isa(k)->usable || (first >= 0 && k != first && strcmp(fdl_isa(k)->name, "base"))) continue;
                double largest = 0;
                for (int i = 0; usual && i < BLOCK; i++) {
                    double e = error(op, x[i], y[k][i], want[i]);
                    largest = e <= largest ? largest : e; /* keeps a NaN */
                }
                for (int i = 0; (!usual || !(largest <= worst[k])) && i < BLOCK; i++) {
                    double e;
                    if (isnan(x[i]) || (op == FDL_LOG && x[i] < 0)) e = isnan(y[k][i]) ? 0 : INFINITY;
                    else if (isinf(x[i]) || (op == FDL_LOG && x[i] == 0)) e = y[k][i] == special(op, x[i]) ? 0 : INFINITY;
                    else e = error(op, x[i], y[k][i], want[i]);
                    if (!(e <= worst[k])) worst[k] = isnan(e) ? INFINITY : e, at[k] = x[i];
                }
            }
        }
        for (int k = 0; k < isas; k++) {
            if (worst[k] == 0) continue;
            int fma = strcmp(fdl_isa(k)->name, "base") != 0;
            double bound = fma ? FUNCTION[f].bound : FUNCTION[f].bound_without_fma;
            printf("%-8s %-7s %10.4g at %a, bound %g%s\n", FUNCTION[f].name, fdl_isa(k)->name, worst[k], at[k], bound,
                   worst[k] > bound ? "  EXCEEDED" : "");
            failed |= worst[k] > bound;
        }
        if (differ) printf("%s: %llu blocks differ between ISAs\n", FUNCTION[f].name, (unsigned long long)differ), failed = 1;
        fflush(stdout);
    }
    return failed;
}
#endif
