/* table.c: this ISA's and type's table, filled from kernels.def. */
#include "fastdl.h"

const fdl_table FDL_FN(table) = {
#define FDL_KERNEL(name, ret, args) .name = FDL_FN(name),
#include "kernels.def"
#undef FDL_KERNEL
};
