/* dispatch.c: the built ISAs, best first, and which of them this CPU can run. Compiled once, with the base flags.
 * isa.def is written by setup.py from its ISA table: FDL_ISA_ROW(name, level, flags), where level is the
 * microarchitecture level of x86-64 that the flags ask for (0: nothing beyond the platform's base). */
#include "fastdl.h"
#if defined(__x86_64__)
#include <cpuid.h>
#endif

#define FDL_ISA_ROW(name, level, flags) extern const fdl_table fdl_table_f32_##name, fdl_table_f64_##name;
#include "isa.def"
#undef FDL_ISA_ROW

static fdl_isa_info isas[] = {
#define FDL_ISA_ROW(name, level, flags) {#name, flags, level, &fdl_table_f32_##name, &fdl_table_f64_##name},
#include "isa.def"
#undef FDL_ISA_ROW
};

const char *const fdl_kernel_names[] = {
#define FDL_KERNEL(name, ret, args) #name,
#include "kernels.def"
#undef FDL_KERNEL
    0};

/* Highest level of x86-64 that both CPU and operating system support: 4 has AVX-512, 3 AVX2 and FMA, 0 anything less.
 * Asked of the CPU itself: __builtin_cpu_supports knows the levels in newer compilers only. */
static int cpu_level(void) {
#if defined(__x86_64__)
    unsigned a, b, c, d, xcr0, xcr0_high, leaf1, leaf7, extended;
    enum { FMA = 1 << 12, MOVBE = 1 << 22, OSXSAVE = 1 << 27, AVX = 1 << 28, F16C = 1 << 29, LZCNT = 1 << 5 };
    enum { BMI1 = 1 << 3, AVX2 = 1 << 5, BMI2 = 1 << 8, AVX512F = 1 << 16, AVX512DQ = 1 << 17, AVX512CD = 1 << 28 };
    const unsigned AVX512BW = 1u << 30, AVX512VL = 1u << 31;
    enum { YMM_STATE = 0x06, ZMM_STATE = 0xe6 }; /* registers that the operating system saves */
    if (!__get_cpuid(1, &a, &b, &leaf1, &d) || !__get_cpuid_count(7, 0, &a, &leaf7, &c, &d)) return 0;
    if (!__get_cpuid(0x80000001, &a, &b, &extended, &d) || !(leaf1 & OSXSAVE)) return 0;
    __asm__("xgetbv" : "=a"(xcr0), "=d"(xcr0_high) : "c"(0));
    const unsigned need1 = FMA | MOVBE | AVX | F16C, need3 = BMI1 | AVX2 | BMI2;
    const unsigned need4 = AVX512F | AVX512DQ | AVX512CD | AVX512BW | AVX512VL;
    if ((leaf1 & need1) != need1 || (leaf7 & need3) != need3 || !(extended & LZCNT)) return 0;
    if ((xcr0 & YMM_STATE) != YMM_STATE) return 0;
    return (leaf7 & need4) == need4 && (xcr0 & ZMM_STATE) == ZMM_STATE ? 4 : 3;
#else
    return 0;
#endif
}

/* until here `usable` holds the level that the ISA asks for */
__attribute__((constructor)) static void on_load(void) {
    int level = cpu_level();
    for (int i = 0; i < fdl_isa_count(); i++) isas[i].usable = isas[i].usable <= level;
}

int fdl_isa_count(void) { return sizeof isas / sizeof *isas; }

const fdl_isa_info *fdl_isa(int i) { return &isas[i]; }

const char *fdl_compiler(void) {
#if defined(__clang__)
    return __VERSION__;
#else
    return "GCC " __VERSION__;
#endif
}
