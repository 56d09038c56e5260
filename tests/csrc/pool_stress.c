/* pool_stress.c: the thread pool and the allocator under load from several threads. `make check-deep` runs it under
 * ThreadSanitizer and AddressSanitizer; the exit status says whether every result was right. */
#include "alloc.h"
#include "parallel.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { UNITS = 20000, PHASES = 100, ROUNDS = 150 };

typedef struct phases {
    int at[256]; /* the phase that each member is in */
    int wrong;
} phases;

static void count_visits(void *ctx, int64_t begin, int64_t end, int thread) {
    unsigned char *visits = ctx;
    (void)thread;
    for (int64_t i = begin; i < end; i++) visits[i]++;
}

/* a region inside a region runs alone */
static void count_nested(void *ctx, int64_t begin, int64_t end, int thread) {
    (void)thread;
    fdl_parallel_for(end - begin, 1, count_visits, (unsigned char *)ctx + begin);
}

static void step_together(void *ctx, fdl_team *team, int thread, int n_threads) {
    phases *p = ctx;
    for (int phase = 1; phase <= PHASES; phase++) {
        p->at[thread] = phase;
        fdl_barrier(team, thread);
        if (thread == 0)
            for (int i = 0; i < n_threads; i++) p->wrong += p->at[i] != phase;
        fdl_barrier(team, thread);
    }
}

static int work(unsigned *seed) {
    int wrong = 0;
    int64_t n = rand_r(seed) % UNITS, grain = 1 + rand_r(seed) % 3000;
    unsigned char *visits = fdl_alloc(n);
    memset(visits, 0, n);
    fdl_parallel_for(n, grain, rand_r(seed) % 4 ? count_visits : count_nested, visits);
    for (int64_t i = 0; i < n; i++) wrong += visits[i] != 1;
    fdl_free(visits, n);
    phases p = {{0}, 0};
    fdl_parallel_spmd(1 + rand_r(seed) % 6, step_together, &p);
    return wrong + p.wrong;
}

static int churn(unsigned *seed) {
    int wrong = 0;
    unsigned char *block[20];
    size_t bytes[20];
    for (int i = 0; i < 20; i++) {
        bytes[i] = rand_r(seed) % (rand_r(seed) % 8 ? 5000 : 3000000);
        block[i] = fdl_alloc(bytes[i]);
        if (bytes[i]) block[i][0] = block[i][bytes[i] - 1] = i;
    }
    for (int i = 0; i < 20; i++) {
        if (bytes[i]) wrong += block[i][0] != i || block[i][bytes[i] - 1] != i;
        fdl_free(block[i], bytes[i]);
    }
    return wrong;
}

/* ---- stopping: what is left of a watched region is passed over, and the next region is whole again ---- */

static int poll_always(void) { return 1; }

static void spin(void *ctx, int64_t begin, int64_t end, int thread) {
    _Atomic int64_t *done = ctx;
    (void)thread;
    for (volatile int64_t i = 0; i < (end - begin) * 2000; i++) {}
    *done += end - begin;
}

static void step_until_stopped(void *ctx, fdl_team *team, int thread, int n_threads) {
    (void)ctx, (void)n_threads;
    while (!fdl_stopped(thread)) fdl_barrier(team, thread);
}

static int stop_regions(unsigned *seed) {
    _Atomic int64_t done = 0;
    int64_t n = 10 * 1000 * 1000;
    int wrong = 0;
    fdl_watch();
    fdl_parallel_for(n, 10, spin, &done);
    fdl_parallel_for(n, 10, spin, &done); /* of the same kernel */
    wrong += !fdl_unwatch() || done >= n;
    wrong += work(seed);
    fdl_watch();
    fdl_parallel_spmd(4, step_until_stopped, 0);
    wrong += !fdl_unwatch() || fdl_unwatch();
    return wrong + work(seed);
}

static void *load(void *arg) {
    unsigned seed = (unsigned)(size_t)arg;
    size_t wrong = 0;
    for (int round = 0; round < ROUNDS; round++) wrong += work(&seed) + churn(&seed);
    return (void *)wrong;
}

int main(void) {
    pthread_t thread[3];
    unsigned seed = 7;
    size_t wrong = 0;
    fdl_on_poll(poll_always);
    for (int threads = 1; threads <= 6; threads++) {
        fdl_set_num_threads(threads);
        for (size_t i = 0; i < 3; i++) pthread_create(&thread[i], 0, load, (void *)(i + 10 * threads));
        for (int round = 0; round < 10; round++) {
            fdl_set_num_threads(1 + rand_r(&seed) % 5);
            wrong += work(&seed);
            if (round < 2) wrong += stop_regions(&seed);
            fdl_empty_cache();
        }
        for (int i = 0; i < 3; i++) {
            void *result;
            pthread_join(thread[i], &result);
            wrong += (size_t)result;
        }
    }
    fdl_memory_stats stats;
    fdl_empty_cache();
    fdl_memory(&stats);
    wrong += stats.live_bytes != 0 || stats.cached_bytes != 0 || stats.live_blocks != 0;
    printf("%zu wrong, %lld blocks, %lld of them new\n", wrong, (long long)stats.total_blocks, (long long)stats.system_blocks);
    fdl_set_num_threads(1);
    return wrong || fdl_pool_size();
}
