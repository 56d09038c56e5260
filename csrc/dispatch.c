/* dispatch.c: the built ISAs, best first, and which of them this CPU can run. Compiled once, with the base flags.
 * isa.def is written by setup.py from its ISA table: FDL_ISA_ROW(name, question), where question is what
 * __builtin_cpu_supports is asked, and FDL_ISA_BASE(name) for the one that needs no question. */
#include "fastdl.h"

#define FDL_ISA_BASE(name) FDL_ISA_ROW(name, "")
#define FDL_ISA_ROW(name, question) extern const fdl_table fdl_table_f32_##name, fdl_table_f64_##name;
#include "isa.def"
#undef FDL_ISA_ROW

static fdl_isa_info isas[] = {
#define FDL_ISA_ROW(name, question) {#name, 0, &fdl_table_f32_##name, &fdl_table_f64_##name},
#include "isa.def"
#undef FDL_ISA_ROW
#undef FDL_ISA_BASE
};

const char *const fdl_kernel_names[] = {
#define FDL_KERNEL(name, ret, args) #name,
#include "kernels.def"
#undef FDL_KERNEL
    0};

int fdl_isa_count(void) { return sizeof isas / sizeof *isas; }

const fdl_isa_info *fdl_isa(int i) {
    int row = 0;
#define FDL_ISA_BASE(name) isas[row++].usable = 1;
#define FDL_ISA_ROW(name, question) isas[row++].usable = __builtin_cpu_supports(question) != 0;
#include "isa.def"
#undef FDL_ISA_ROW
#undef FDL_ISA_BASE
    return &isas[i];
}
