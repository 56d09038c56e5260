/* alloc.c: the caching allocator. Size classes, four per power of two, each with a list of free blocks.
 *
 * Small blocks come from the C library and have exactly their class's size. Large ones are mappings of their own with
 * a header before the data, so that a request may also take a somewhat larger block that is free: with it, training on
 * sequences of random length settles on a fixed set of blocks. The data of large blocks starts at a different cache
 * line each time: arrays that all begin at one offset within a page compete for the same few cache sets.
 *
 * What is kept is bounded: live and cached blocks together stay below HEADROOM times the recent peak of live blocks
 * (plus SLACK_BYTES); beyond, classes that were used longest ago go back to the system. A program that repeats its
 * steps never reaches the bound. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "alloc.h"

#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#if defined(__GLIBC__)
#include <malloc.h>
#endif
#if defined(__APPLE__) && !defined(MAP_ANONYMOUS)
#define MAP_ANONYMOUS MAP_ANON
#endif
#if defined(__linux__) && !defined(MADV_POPULATE_WRITE)
#define MADV_POPULATE_WRITE 23 /* Linux 5.14; older kernels refuse it, which is harmless */
#endif

enum {
    LINE = 64,
    MIN_SHIFT = 6,                /* classes are multiples of 64 bytes */
    MAX_SHIFT = 47,               /* the address space of a process */
    CLASSES = 4 * (MAX_SHIFT - MIN_SHIFT) + 1,
    LARGE_BYTES = 128 << 10,      /* mappings of their own from here on */
    PAGE = 4096,
    COLOURS = 16,                 /* starts of large blocks within their first pages, 4 cache lines apart */
    HUGE_PAGE = 2 << 20,
    HUGE_BYTES = 4 << 20,         /* huge pages from here on */
    REUSE_STEPS = 3,              /* a large request may take a block up to this many classes (1.75 x) larger */
    SLACK_BYTES = 64 << 20,
    WINDOW = 1 << 16              /* large requests after which an old peak is forgotten */
};
#define HEADROOM(bytes) ((bytes) + (bytes) / 2)

typedef struct block { /* free */
    struct block *next;
} block;

typedef struct header { /* stands in the line before a large block's data */
    void *mapping;
    size_t mapped;
    int class;
} header;

static struct {
    atomic_flag lock;
    block *free[CLASSES];
    int64_t used_at[CLASSES]; /* tick of the last request that found or wanted this class */
    int64_t tick;             /* large requests and system requests so far */
    int64_t held;             /* class bytes of live blocks */
    int64_t peak, last_peak;  /* of `held`, in this window and in the one before */
    int64_t fail_at;          /* total_blocks at which an allocation fails; -1: none */
    unsigned colour;
    fdl_memory_stats stats;
} heap = {.lock = ATOMIC_FLAG_INIT, .fail_at = -1};

static void lock(void) {
    for (int i = 0; atomic_flag_test_and_set_explicit(&heap.lock, memory_order_acquire); i++)
        if (i > 50) sched_yield();
}

static void unlock(void) { atomic_flag_clear_explicit(&heap.lock, memory_order_release); }

/* a fork must not copy a heap that another thread is changing */
__attribute__((constructor)) static void on_load(void) { pthread_atfork(lock, unlock, unlock); }

/* ---- size classes: 64, 128, 192, 256, 320, 384, 448, 512, 640, 768, 896, 1024, 1280, ... ---- */

static int class_of(size_t bytes) {
    size_t lines = bytes ? (bytes + LINE - 1) / LINE : 1;
    if (lines <= 4) return (int)lines - 1;
    int shift = 63 - __builtin_clzll(lines - 1); /* 2^shift < lines <= 2^(shift+1), shift >= 2 */
    return 4 * (shift - 1) + (int)((lines - 1) >> (shift - 2)) - 4;
}

static size_t class_bytes(int class) {
    if (class < 4) return (size_t)LINE * (class + 1);
    return (size_t)LINE * (4 + class % 4 + 1) << (class / 4 - 1);
}

static int is_large(int class) { return class_bytes(class) >= LARGE_BYTES; }

static header *header_of(void *p) { return (header *)((char *)p - LINE); }

/* ---- AddressSanitizer sees neither the cache nor the rest of a class: it is told (make check-deep) ---- */

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define __SANITIZE_ADDRESS__ 1 /* GCC's name for it */
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
static void mark_used(void *p, size_t bytes, int class) {
    ASAN_UNPOISON_MEMORY_REGION(p, bytes);
    ASAN_POISON_MEMORY_REGION((char *)p + bytes, class_bytes(class) - bytes);
}
static void mark_cached(void *p, int class) {
    ASAN_POISON_MEMORY_REGION((char *)p + sizeof(block), class_bytes(class) - sizeof(block));
    ASAN_UNPOISON_MEMORY_REGION(p, sizeof(block));
}
static void mark_gone(void *p, int class) { ASAN_UNPOISON_MEMORY_REGION(p, class_bytes(class)); }
#else
static void mark_used(void *p, size_t bytes, int class) { (void)p, (void)bytes, (void)class; }
static void mark_cached(void *p, int class) { (void)p, (void)class; }
static void mark_gone(void *p, int class) { (void)p, (void)class; }
#endif

/* ---- the system ---- */

/* Fresh pages, microseconds per MB (Linux 6.18 in a VM): 4 KB pages 360, populated in one go 140, huge pages 80. */
static void *map_large(int class, unsigned colour) {
    size_t bytes = LINE + (size_t)(COLOURS - 1) * 4 * LINE + class_bytes(class);
    bytes = (bytes + PAGE - 1) / PAGE * PAGE;
    size_t extra = bytes >= HUGE_BYTES ? HUGE_PAGE : 0; /* to begin at a huge page's border */
    char *mapping = mmap(0, bytes + extra, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (mapping == MAP_FAILED) return 0;
    if (extra) {
        size_t before = -(uintptr_t)mapping % HUGE_PAGE;
        if (before) munmap(mapping, before);
        if (extra > before) munmap(mapping + before + bytes, extra - before);
        mapping += before;
#if defined(MADV_HUGEPAGE)
        madvise(mapping, bytes, MADV_HUGEPAGE);
#endif
    }
#if defined(MADV_POPULATE_WRITE)
    if (!extra) madvise(mapping, bytes, MADV_POPULATE_WRITE);
#endif
    char *p = mapping + LINE + (size_t)(colour % COLOURS) * 4 * LINE;
    *header_of(p) = (header){mapping, bytes, class};
    return p;
}

static void *new_block(int class, unsigned colour) {
    void *p;
    if (is_large(class)) return map_large(class, colour);
    return posix_memalign(&p, LINE, class_bytes(class)) ? 0 : p;
}

static void drop_block(void *p, int class) {
    mark_gone(p, class);
    if (is_large(class))
        munmap(header_of(p)->mapping, header_of(p)->mapped);
    else
        free(p);
}

/* ---- the cache; the lock is held ---- */

static void *take_cached(int class) {
    block *b = heap.free[class];
    heap.used_at[class] = heap.tick;
    if (!b) return 0;
    heap.free[class] = b->next;
    heap.stats.cached_bytes -= class_bytes(class);
    return b;
}

static void keep(void *p, int class) {
    block *b = p;
    mark_cached(p, class);
    b->next = heap.free[class];
    heap.free[class] = b;
    heap.stats.cached_bytes += class_bytes(class);
}

/* Takes blocks out of the cache, the class that was used longest ago first, until `bytes` are found. They are
 * chained by class in `out`, to be given back without the lock. */
static void evict(block *out[CLASSES], int64_t bytes) {
    while (bytes > 0 && heap.stats.cached_bytes > 0) {
        int oldest = -1;
        for (int c = 0; c < CLASSES; c++)
            if (heap.free[c] && (oldest < 0 || heap.used_at[c] <= heap.used_at[oldest])) oldest = c;
        while (bytes > 0 && heap.free[oldest]) {
            block *b = heap.free[oldest];
            heap.free[oldest] = b->next;
            b->next = out[oldest];
            out[oldest] = b;
            heap.stats.cached_bytes -= class_bytes(oldest);
            bytes -= class_bytes(oldest);
        }
    }
}

static void drop_all(block *chains[CLASSES]) {
    for (int c = 0; c < CLASSES; c++)
        for (block *b = chains[c], *next; b; b = next) {
            next = b->next;
            drop_block(b, c);
        }
}

/* bytes that the cache holds beyond its bound, if `more` are taken from the system */
static int64_t surplus(int64_t more) {
    int64_t peak = heap.peak > heap.last_peak ? heap.peak : heap.last_peak;
    if (heap.held + more > peak) peak = heap.held + more;
    return heap.held + heap.stats.cached_bytes + more - HEADROOM(peak) - SLACK_BYTES;
}

static void count_live(void *p, int class, size_t bytes) {
    if (is_large(class)) class = header_of(p)->class; /* it may be a larger block */
    mark_used(p, bytes, class);
    heap.held += class_bytes(class);
    if (heap.held > heap.peak) heap.peak = heap.held;
    heap.stats.live_bytes += bytes;
    heap.stats.live_blocks++;
    heap.stats.total_blocks++;
    if (heap.stats.live_bytes > heap.stats.peak_bytes) heap.stats.peak_bytes = heap.stats.live_bytes;
}

/* ---- the interface ---- */

/* nothing cached fits: asks the system, and gives the cache back where that helps or the bound demands it */
static void *alloc_new(int class, size_t bytes) {
    block *evicted[CLASSES] = {0};
    lock();
    heap.tick++;
    evict(evicted, surplus(class_bytes(class)));
    unsigned colour = heap.colour++;
    unlock();
    drop_all(evicted);
    void *p = new_block(class, colour);
    if (!p && fdl_empty_cache()) p = new_block(class, colour);
    if (!p) return 0;
    lock();
    count_live(p, class, bytes);
    heap.stats.system_blocks++;
    unlock();
    return p;
}

void *fdl_alloc(size_t bytes) {
    if (bytes > (size_t)1 << (MAX_SHIFT - 1)) return 0;
    int class = class_of(bytes), large = is_large(class);
    block *evicted[CLASSES];
    int has_evicted = 0;
    void *p = 0;
    lock();
    if (heap.stats.total_blocks == heap.fail_at) {
        heap.fail_at = -1;
        unlock();
        return 0;
    }
    for (int c = class; !p && c <= class + (large ? REUSE_STEPS : 0); c++) p = take_cached(c);
    if (p) count_live(p, class, bytes);
    if (large && ++heap.tick % WINDOW == 0) {
        heap.last_peak = heap.peak;
        heap.peak = heap.held;
        if (surplus(0) > 0) {
            has_evicted = 1;
            for (int c = 0; c < CLASSES; c++) evicted[c] = 0;
            evict(evicted, surplus(0));
        }
    }
    unlock();
    if (has_evicted) drop_all(evicted);
    return p ? p : alloc_new(class, bytes);
}

void fdl_free(void *p, size_t bytes) {
    if (!p) return;
    int class = class_of(bytes);
    if (is_large(class)) class = header_of(p)->class;
    lock();
    heap.held -= class_bytes(class);
    heap.stats.live_bytes -= bytes;
    heap.stats.live_blocks--;
    keep(p, class);
    unlock();
}

void fdl_memory(fdl_memory_stats *out) {
    lock();
    *out = heap.stats;
    unlock();
}

void fdl_reset_peak(void) {
    lock();
    heap.stats.peak_bytes = heap.stats.live_bytes;
    unlock();
}

void fdl_fail_alloc(int64_t after) {
    lock();
    heap.fail_at = after < 0 ? -1 : heap.stats.total_blocks + after;
    unlock();
}

size_t fdl_empty_cache(void) {
    block *evicted[CLASSES] = {0};
    lock();
    int64_t bytes = heap.stats.cached_bytes;
    evict(evicted, bytes);
    unlock();
    drop_all(evicted);
#if defined(__GLIBC__)
    if (bytes) malloc_trim(0);
#endif
    return bytes;
}
