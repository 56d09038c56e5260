/* alloc.h: caching allocator for tensor data. 64-byte aligned, size classes, freed blocks kept for reuse:
 * a fresh page costs about 2 us, a cached block about 20 ns. Thread-safe. Compiled once, with the base flags. */
#ifndef FDL_ALLOC_H
#define FDL_ALLOC_H
#include <stddef.h>
#include <stdint.h>

typedef struct fdl_memory_stats {
    int64_t live_bytes;    /* handed out now, as asked for */
    int64_t peak_bytes;    /* largest live_bytes since the last reset */
    int64_t cached_bytes;  /* kept for reuse */
    int64_t live_blocks;
    int64_t total_blocks;  /* handed out since start */
    int64_t system_blocks; /* of them, those that needed new memory from the system */
} fdl_memory_stats;

void *fdl_alloc(size_t bytes);            /* NULL when memory cannot be had, after the cache was given back */
void fdl_free(void *p, size_t bytes);     /* bytes as asked for */
void fdl_memory(fdl_memory_stats *out);
void fdl_reset_peak(void);
void fdl_fail_alloc(int64_t after);       /* for tests: that many more blocks, then one NULL; -1: none */
size_t fdl_empty_cache(void);             /* gives cached blocks back to the system; returns bytes */
#endif
