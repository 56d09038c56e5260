/* table.c: this ISA's and type's table, filled from kernels.def. */
#include "fastdl.h"

#ifdef FDL_PARTIAL /* while kernels are still being written: missing ones are NULL */
#define FDL_KERNEL(name, ret, args) extern ret FDL_FN(name) args __attribute__((weak));
#include "kernels.def"
#undef FDL_KERNEL
#endif

const fdl_table FDL_FN(table) = {
#define FDL_KERNEL(name, ret, args) .name = FDL_FN(name),
#include "kernels.def"
#undef FDL_KERNEL
};
