/* What this machine can do at most, by THREADS threads: one line "flops N" (float32 multiply-adds in registers, as two
 * operations each, per second), and lines "read BYTES N" and "copy BYTES N" (bytes per second; a copy counts what it
 * reads and what it writes) for working sets of BYTES in all.
 *
 * usage: limits THREADS     build: cc -O3 -march=native -ffp-contract=fast limits.c -lpthread */
#define _GNU_SOURCE
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>

#if defined(__AVX512F__)
enum { BYTES = 64, CHAINS = 24 }; /* 2 units x 4 cycles need 8 chains; the rest are registers left over */
#elif defined(__AVX__)
enum { BYTES = 32, CHAINS = 12 };
#else
enum { BYTES = 16, CHAINS = 24 };
#endif
typedef float vec __attribute__((vector_size(BYTES), aligned(4), may_alias));

enum { TRIES = 7, MAX_THREADS = 256, STREAMS = 8, HUGE_PAGE = 1 << 21 };
static const double TRY_SECONDS = 0.01;
static const size_t SIZES[] = {1 << 18, 1 << 20, 1 << 22, 1 << 24, 1 << 26, 1 << 28};

static int threads;
static pthread_barrier_t barrier;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec + 1e-9 * t.tv_nsec;
}

typedef struct {
    int kind;        /* 'f'lops, 'r'ead, 'c'opy */
    char *data;      /* this thread's part */
    size_t bytes;
    int64_t rounds;
    double sink;
} task;

static void multiply_add(task *t)
{
    vec a[CHAINS], factor = (vec){0} + 0.5f, term = (vec){0} + 1.0f;
    for (int i = 0; i < CHAINS; i++)
        a[i] = (vec){0} + (float)i;
    for (int64_t r = 0; r < t->rounds; r++) {
#pragma GCC unroll 32
        for (int i = 0; i < CHAINS; i++)
            a[i] = a[i] * factor + term;
    }
    for (int i = 0; i < CHAINS; i++)
        t->sink += a[i][0];
}

static void read_all(task *t)
{
    vec sums[STREAMS] = {{0}};
    for (int64_t r = 0; r < t->rounds; r++) {
        const vec *x = (const vec *)t->data;
        for (size_t i = 0; i < t->bytes / BYTES; i += STREAMS)
#pragma GCC unroll 8
            for (int j = 0; j < STREAMS; j++)
                sums[j] += x[i + j];
        __asm__ volatile("" ::: "memory");
    }
    for (int j = 0; j < STREAMS; j++)
        t->sink += sums[j][0];
}

static void copy_half(task *t)
{
    for (int64_t r = 0; r < t->rounds; r++) {
        memcpy(t->data + t->bytes / 2, t->data, t->bytes / 2); /* the C library knows about stores past the cache */
        __asm__ volatile("" ::: "memory");
    }
}

static void *work(void *argument)
{
    task *t = argument;
    pthread_barrier_wait(&barrier);
    (t->kind == 'f' ? multiply_add : t->kind == 'r' ? read_all : copy_half)(t);
    pthread_barrier_wait(&barrier);
    return NULL;
}

/* seconds that all threads take for so many rounds */
static double run(task *tasks, int64_t rounds)
{
    pthread_t ids[MAX_THREADS];
    pthread_barrier_init(&barrier, NULL, threads + 1);
    for (int i = 0; i < threads; i++) {
        tasks[i].rounds = rounds;
        if (pthread_create(&ids[i], NULL, work, &tasks[i]))
            exit(1);
    }
    double begin = now();
    pthread_barrier_wait(&barrier);
    pthread_barrier_wait(&barrier);
    double seconds = now() - begin;
    for (int i = 0; i < threads; i++)
        pthread_join(ids[i], NULL);
    pthread_barrier_destroy(&barrier);
    return seconds;
}

/* rounds per second, the best of some tries */
static double rate(task *tasks)
{
    int64_t rounds = 1;
    while (run(tasks, rounds) < TRY_SECONDS)
        rounds *= 2;
    double best = 0;
    for (int i = 0; i < TRIES; i++) {
        double r = rounds / run(tasks, rounds);
        best = r > best ? r : best;
    }
    return best;
}

int main(int count, char **words)
{
    threads = count > 1 ? atoi(words[1]) : 1;
    if (threads < 1 || threads > MAX_THREADS)
        return 2;
    task tasks[MAX_THREADS] = {{0}};
    for (int i = 0; i < threads; i++)
        tasks[i].kind = 'f';
    printf("flops %.6g\n", rate(tasks) * threads * CHAINS * (BYTES / 4) * 2.0);
    for (size_t i = 0; i < sizeof SIZES / sizeof *SIZES; i++) {
        size_t part = SIZES[i] / threads / (2 * STREAMS * BYTES) * (2 * STREAMS * BYTES);
        for (int j = 0; j < threads; j++) {
            tasks[j].bytes = part;
            if (posix_memalign((void **)&tasks[j].data, HUGE_PAGE, part))
                return 1;
#ifdef MADV_HUGEPAGE
            madvise(tasks[j].data, part, MADV_HUGEPAGE);
#endif
            memset(tasks[j].data, 1, part);
        }
        for (const char *kind = "rc"; *kind; kind++) {
            for (int j = 0; j < threads; j++)
                tasks[j].kind = *kind;
            printf("%s %zu %.6g\n", *kind == 'r' ? "read" : "copy", SIZES[i], rate(tasks) * part * threads);
        }
        for (int j = 0; j < threads; j++)
            free(tasks[j].data);
    }
    double sink = 0;
    for (int i = 0; i < threads; i++)
        sink += tasks[i].sink;
    return sink == 1e-300; /* keeps the loops */
}
