/* denormals.c: fdl_set_flush_denormal holds for the thread that calls it and all threads of its regions, and can be
 * taken back; the exit status says whether it does. */
#include "parallel.h"

#include <float.h>
#include <pthread.h>
#include <stdio.h>

enum { UNITS = 4000 };

static volatile float half = 0.5f, tiny = FLT_MIN, denormal = FLT_MIN / 4, two = 2;

/* one rounding to a denormal result, one denormal operand */
static void halve(void *ctx, int64_t begin, int64_t end, int thread) {
    float *out = ctx;
    (void)thread;
    for (int64_t i = begin; i < end; i++) out[i] = i % 2 ? tiny * half : denormal * two;
}

static int wrong(int on) {
    static float out[UNITS];
    int found = 0;
    fdl_parallel_for(UNITS, 1, halve, out);
    for (int i = 0; i < UNITS; i++) found += (out[i] == 0) != on;
    found += (tiny * half == 0) != on;
    return found;
}

static void *other_thread(void *arg) {
    (void)arg;
    return (void *)(long)wrong(0);
}

int main(void) {
    int found = 0;
    for (int threads = 1; threads <= 3; threads++) {
        fdl_set_num_threads(threads);
        for (int round = 0; round < 20; round++) {
            int on = round % 2;
            if (!fdl_set_flush_denormal(on)) return 77; /* this CPU cannot */
            found += wrong(on);
            pthread_t id;
            void *result = 0;
            if (!on && !pthread_create(&id, 0, other_thread, 0) && !pthread_join(id, &result)) found += result != 0;
        }
    }
    fdl_set_num_threads(1);
    printf("%d wrong\n", found);
    return found != 0;
}
