/* parallel.c: the thread pool. The caller works too; workers are made at the first region that needs them.
 *
 * One region runs at a time. `pool.busy` belongs to the thread that leads it; whoever finds it taken, or is inside a
 * region already, runs its work alone. The leader alone posts work, so a worker's mailbox is one atomic state:
 *
 *     SPIN --leader posts--> GO --worker--> RUN --worker, done--> SPIN
 *     SPIN --worker, nothing for SPIN_NS--> SLEEP --leader posts, signals--> GO
 *     GO --leader, everything is done already--> SPIN           (a late sleeper never holds a small region up)
 *
 * Spinning workers start in about 0.2 us. Where there are fewer CPUs than threads, waiting soon gives up the CPU. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "parallel.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <time.h>

enum {
    MAX_THREADS = 256,
    LINE = 64,             /* bytes that two cores must not share */
    SPIN_NS = 100 * 1000,  /* an idle worker sleeps after this */
    WAKE_NS = 300 * 1000,  /* an SPMD region goes without a worker that is not awake by then */
    YIELD_NS = 20 * 1000,  /* a waiting thread offers its CPU from then on; at once when CPUs are short */
    CROWDED = 64,          /* barriers that yield at once after one that had to: another program has the other CPU */
    EAGER = 64,            /* looks without a pause in between: a post is seen 0.1 us sooner */
    PAUSES = 32,           /* between two looks at the clock: about 1 us */
    POLL_NS = 50 * 1000 * 1000,  /* a watched region asks this often whether to go on */
    PIECE_NS = 10 * 1000 * 1000, /* and its pieces take about this long */
    ALL_TO_ALL = 4,        /* barriers up to this size: each waits for each; beyond, thread 0 collects */
    STACK_BYTES = 2 << 20  /* musl's own default is too small for kernels with stack buffers */
};

enum worker_state { SPIN, SLEEP, WAKE, GO, RUN, QUIT };

typedef struct worker {
    _Alignas(LINE) _Atomic int state;
    int thread;            /* its number in the region */
    pthread_mutex_t mutex; /* for sleeping only */
    pthread_cond_t wake;
    pthread_t id;
} worker;

/* one thread's share of a parallel_for: what is left is [next, end); anybody takes from the front */
typedef struct share {
    _Alignas(LINE) _Atomic int64_t next;
    int64_t end;
} share;

typedef struct flag {
    _Alignas(LINE) _Atomic uint64_t arrived; /* barriers that this thread has reached, ever: no reset, no wrap */
    uint64_t count;                          /* its own copy */
    int crowded;                             /* barriers to come that yield at once */
} flag;

struct fdl_team {
    int size;
    uint64_t base;                        /* `count` of every member when the region starts */
    _Alignas(LINE) _Atomic uint64_t open; /* barriers that thread 0 has opened (large teams) */
    flag flags[MAX_THREADS];
};

static struct {
    _Atomic int busy;
    _Atomic int threads;  /* asked for; 0: not decided yet */
    _Atomic int workers;  /* alive */
    _Atomic int failures; /* refused since the last question */
    _Atomic(void (*)(void)) on_failure;
    _Atomic(int (*)(void)) poll;
    _Atomic int stop;     /* what is left of the region that runs is to be passed over */
    int refused;          /* do not try again before the next fdl_set_num_threads */
    _Atomic int short_of_cpus;
    /* the region that runs now */
    fdl_spmd body;
    void *ctx;
    uint32_t fp_mode;
    worker worker[MAX_THREADS - 1];
    share share[MAX_THREADS];
    fdl_team team;
} pool;

static fdl_team solo = {.size = 1};
static _Thread_local int inside; /* this thread is in a region */
static _Thread_local int leads;  /* this thread has the pool */
static _Thread_local struct {
    int on, stopped; /* between watch and unwatch; poll said to stop */
    int64_t next;    /* when to poll */
} watched;

/* ---- waiting ---- */

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static inline void cpu_pause(void) {
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("isb" ::: "memory");
#endif
}

/* One step of a waiting loop that began with `wait = {0}`; returns the nanoseconds waited, roughly. */
typedef struct waiting {
    int steps, yields; /* yields: at once */
    int64_t start;
} waiting;

static int64_t wait_step(waiting *wait) {
    if (wait->steps > EAGER) cpu_pause();
    if (++wait->steps % PAUSES) return 0;
    int64_t now = now_ns();
    if (!wait->start) wait->start = now;
    int64_t waited = now - wait->start;
    if (pool.short_of_cpus || wait->yields || waited > YIELD_NS) sched_yield();
    return waited;
}

/* ---- floating-point mode (flush to zero, rounding): a worker computes as its leader does ---- */

static inline uint32_t fp_mode(void) {
#if defined(__x86_64__)
    return __builtin_ia32_stmxcsr() & ~0x3fu; /* without the sticky exception flags */
#elif defined(__aarch64__)
    uint64_t fpcr;
    __asm__ volatile("mrs %0, fpcr" : "=r"(fpcr));
    return (uint32_t)fpcr;
#else
    return 0;
#endif
}

static inline void set_fp_mode(uint32_t mode) {
    if (mode == fp_mode()) return;
#if defined(__x86_64__)
    __builtin_ia32_ldmxcsr(mode);
#elif defined(__aarch64__)
    uint64_t fpcr = mode;
    __asm__ volatile("msr fpcr, %0" ::"r"(fpcr));
#endif
}

int fdl_set_flush_denormal(int on) {
#if defined(__x86_64__)
    const uint32_t bits = 0x8040; /* flush to zero, denormals are zero */
#elif defined(__aarch64__)
    const uint32_t bits = 1u << 24; /* FZ: both */
#else
    const uint32_t bits = 0;
#endif
    set_fp_mode(on ? fp_mode() | bits : fp_mode() & ~bits);
    return bits != 0;
}

/* ---- workers ---- */

static void run_member(int thread) {
    fdl_team *team = &pool.team;
    team->flags[thread].count = team->base;
    pool.body(pool.ctx, team, thread, team->size);
}

/* Waits for the next post; the state then is GO, QUIT or, after a post that was taken back, SPIN. */
static int await_post(worker *w) {
    waiting wait = {0};
    for (;;) {
        int state = atomic_load_explicit(&w->state, memory_order_acquire);
        if (state != SPIN) return state;
        if (wait_step(&wait) > SPIN_NS) break;
    }
    pthread_mutex_lock(&w->mutex);
    int state = SPIN;
    if (atomic_compare_exchange_strong(&w->state, &state, SLEEP))
        while ((state = atomic_load(&w->state)) == SLEEP) pthread_cond_wait(&w->wake, &w->mutex);
    pthread_mutex_unlock(&w->mutex);
    return state;
}

static void *worker_main(void *arg) {
    worker *w = arg;
    inside = 1;
#if defined(__linux__)
    pthread_setname_np(pthread_self(), "fastdl");
#endif
    for (;;) {
        int state = await_post(w);
        if (state == QUIT) return 0;
        if (state == WAKE) atomic_compare_exchange_strong(&w->state, &state, SPIN);
        if (state != GO || !atomic_compare_exchange_strong(&w->state, &state, RUN)) continue;
        set_fp_mode(pool.fp_mode);
        run_member(w->thread);
        atomic_store_explicit(&w->state, SPIN, memory_order_release);
    }
}

/* leader only */
static void post(worker *w, int state) {
    if (atomic_exchange(&w->state, state) != SLEEP) return;
    pthread_mutex_lock(&w->mutex);
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->mutex);
}

static int start_worker(worker *w) {
    pthread_attr_t attr;
    sigset_t all, old;
    atomic_store(&w->state, SPIN);
    pthread_mutex_init(&w->mutex, 0);
    pthread_cond_init(&w->wake, 0);
    pthread_attr_init(&attr);
    pthread_attr_setstacksize(&attr, STACK_BYTES);
    sigfillset(&all); /* signals are for the program's own threads */
    pthread_sigmask(SIG_SETMASK, &all, &old);
    int refused = pthread_create(&w->id, &attr, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &old, 0);
    pthread_attr_destroy(&attr);
    return !refused;
}

/* leader only: makes workers up to `want`, or to the first refusal; returns how many of them there are */
static int have_workers(int want) {
    int have = atomic_load_explicit(&pool.workers, memory_order_relaxed);
    while (have < want && !pool.refused) {
        if (start_worker(&pool.worker[have])) {
            atomic_store(&pool.workers, ++have);
        } else {
            pool.refused = 1;
            atomic_fetch_add(&pool.failures, want - have);
            void (*callback)(void) = atomic_load(&pool.on_failure);
            if (callback) callback();
        }
    }
    return have < want ? have : want;
}

/* ---- leading a region ---- */

static void reset_team(void) {
    for (int i = 0; i < MAX_THREADS; i++) {
        atomic_store(&pool.team.flags[i].arrived, 0);
        pool.team.flags[i].count = 0;
    }
    atomic_store(&pool.team.open, 0);
}

static int take_pool(void) {
    if (inside || atomic_load_explicit(&pool.busy, memory_order_relaxed)) return 0;
    if (atomic_exchange_explicit(&pool.busy, 1, memory_order_acquire)) return 0;
    inside = leads = 1;
    return 1;
}

static void give_pool(void) {
    inside = leads = 0;
    atomic_store_explicit(&pool.busy, 0, memory_order_release);
}

static void set_region(fdl_spmd body, void *ctx, int size) {
    pool.body = body;
    pool.ctx = ctx;
    pool.fp_mode = fp_mode();
    pool.team.size = size;
    /* every member passed the same barriers as thread 0, so no flag is ahead of this */
    pool.team.base = pool.team.flags[0].count;
}

static void await_worker(worker *w) {
    waiting wait = {0};
    for (int state; (state = atomic_load_explicit(&w->state, memory_order_acquire)) == GO || state == RUN;)
        wait_step(&wait);
}

/* ---- stopping ---- */

void fdl_watch(void) {
    if (inside) return;
    watched.on = 1;
    watched.next = 0;
}

int fdl_unwatch(void) {
    int stopped = watched.stopped;
    watched.on = watched.stopped = 0;
    return stopped;
}

void fdl_on_poll(int (*poll)(void)) { atomic_store(&pool.poll, poll); }

/* for the thread that called watch */
static int poll_now(void) {
    int (*poll)(void) = atomic_load(&pool.poll);
    if (!watched.on || watched.stopped || !poll) return watched.stopped;
    int64_t now = now_ns();
    if (!watched.next) watched.next = now + POLL_NS;
    if (now < watched.next) return 0;
    watched.on = 0; /* poll may run kernels of its own */
    watched.stopped = poll();
    watched.on = 1;
    watched.next = now_ns() + POLL_NS;
    return watched.stopped;
}

int fdl_stopped(int thread) {
    if (thread > 0) return atomic_load_explicit(&pool.stop, memory_order_relaxed);
    int stopped = poll_now();
    if (stopped && leads) atomic_store_explicit(&pool.stop, 1, memory_order_relaxed);
    return stopped;
}

/* leader only, after a region: members of a stopped team have passed different numbers of barriers */
static void forget_stop(void) {
    if (!atomic_load_explicit(&pool.stop, memory_order_relaxed)) return;
    reset_team();
    atomic_store(&pool.stop, 0);
}

/* ---- parallel_for ---- */

typedef struct loop {
    fdl_task fn;
    void *ctx;
    int64_t grain, quantum;
    int watched;
} loop;

/* Half of what is left of a share, at least a grain: few pieces while all goes well, small ones to balance the end. */
static int take_piece(share *s, const loop *l, int64_t most, int64_t *begin, int64_t *end) {
    int64_t from = atomic_load_explicit(&s->next, memory_order_relaxed), to;
    do {
        int64_t left = s->end - from, size = (left / 2 + l->quantum - 1) / l->quantum * l->quantum;
        if (left <= 0) return 0;
        if (size > most) size = most;
        if (size < l->grain) size = l->grain;
        to = left - size < l->grain ? s->end : from + size;
    } while (!atomic_compare_exchange_weak_explicit(&s->next, &from, to, memory_order_relaxed, memory_order_relaxed));
    *begin = from;
    *end = to;
    return 1;
}

/* `size` units took `ns`: how many take PIECE_NS, at most ten times as many */
static int64_t next_size(int64_t size, int64_t ns) {
    if (ns < PIECE_NS / 10) return 10 * size;
    double next = (double)size * PIECE_NS / ns;
    return next < 1 ? 1 : (int64_t)next;
}

static void loop_member(void *ctx, fdl_team *team, int thread, int n_threads) {
    loop *l = ctx;
    int64_t begin, end, most = l->watched ? l->grain : INT64_MAX;
    (void)team;
    for (int i = 0; i < n_threads; i++) /* its own share first, then what the others have left */
        while (take_piece(&pool.share[(thread + i) % n_threads], l, most, &begin, &end)) {
            int64_t start = l->watched ? now_ns() : 0;
            l->fn(l->ctx, begin, end, thread);
            if (!l->watched) continue;
            if (fdl_stopped(thread)) return;
            most = next_size(end - begin, now_ns() - start);
        }
}

static void loop_alone(const loop *l, int64_t n) {
    int64_t most = watched.on && !inside ? l->grain : n;
    int outer = inside;
    for (int64_t begin = 0, end; begin < n && !watched.stopped; begin = end) {
        int64_t start = most < n ? now_ns() : 0;
        end = n - begin <= most ? n : begin + most;
        inside = 1;
        l->fn(l->ctx, begin, end, 0);
        inside = outer;
        if (end < n && !poll_now()) {
            most = next_size(end - begin, now_ns() - start);
            if (most < l->grain) most = l->grain;
        }
    }
}

void fdl_parallel_for(int64_t n, int64_t grain, fdl_task fn, void *ctx) {
    if (n <= 0) return;
    if (grain < 1) grain = 1;
    int threads = n <= grain ? 1 : fdl_num_threads();
    /* units that are many and small are elements: cut between cache lines */
    loop l = {fn, ctx, grain, grain >= 1024 ? 64 : 1, watched.on};
    if (threads == 1 || watched.stopped || !take_pool()) {
        loop_alone(&l, n);
        return;
    }
    int64_t pieces = n / grain < 2 ? 2 : n / grain;
    int size = 1 + have_workers((pieces < threads ? (int)pieces : threads) - 1);
    for (int i = 0; i < size; i++) {
        int64_t from = n / size * i + n % size * i / size, to = n / size * (i + 1) + n % size * (i + 1) / size;
        atomic_store_explicit(&pool.share[i].next, from / l.quantum * l.quantum, memory_order_relaxed);
        pool.share[i].end = i + 1 < size ? to / l.quantum * l.quantum : n;
    }
    set_region(loop_member, &l, size);
    for (int i = 1; i < size; i++) {
        pool.worker[i - 1].thread = i;
        post(&pool.worker[i - 1], GO);
    }
    run_member(0);
    for (int i = 1; i < size; i++) { /* nothing is left: who has not begun need not */
        int state = GO;
        if (!atomic_compare_exchange_strong(&pool.worker[i - 1].state, &state, SPIN)) await_worker(&pool.worker[i - 1]);
    }
    forget_stop();
    give_pool();
}

/* ---- SPMD regions ---- */

/* The first `count` workers, woken; those that do not wake in time are left out. Returns how many there are. */
static int gather(worker *ready[], int count) {
    int n = 0, late = 0;
    for (int i = 0; i < count; i++)
        if (atomic_load_explicit(&pool.worker[i].state, memory_order_relaxed) == SLEEP) post(&pool.worker[i], WAKE);
    waiting wait = {0};
    for (int i = 0; i < count; i++) {
        worker *w = &pool.worker[i];
        while (atomic_load_explicit(&w->state, memory_order_acquire) == WAKE && !late) late = wait_step(&wait) > WAKE_NS;
        if (atomic_load_explicit(&w->state, memory_order_acquire) != WAKE) ready[n++] = w;
    }
    return n;
}

void fdl_parallel_spmd(int want, fdl_spmd fn, void *ctx) {
    int threads = want <= 1 ? 1 : fdl_num_threads();
    if (want < threads) threads = want;
    if (threads <= 1 || !take_pool()) {
        int outer = inside;
        inside = 1;
        fn(ctx, &solo, 0, 1);
        inside = outer;
        return;
    }
    worker *ready[MAX_THREADS];
    int n = gather(ready, have_workers(threads - 1));
    set_region(fn, ctx, 1 + n);
    for (int i = 0; i < n; i++) {
        ready[i]->thread = i + 1;
        post(ready[i], GO);
    }
    run_member(0);
    for (int i = 0; i < n; i++) await_worker(ready[i]);
    forget_stop();
    give_pool();
}

static inline void await_count(flag *mine, _Atomic uint64_t *at, uint64_t count) {
    waiting wait = {.yields = mine->crowded > 0};
    if (mine->crowded) mine->crowded--;
    while (atomic_load_explicit(at, memory_order_acquire) < count) {
        if (wait_step(&wait) > YIELD_NS) mine->crowded = CROWDED;
        if (atomic_load_explicit(&pool.stop, memory_order_relaxed)) return;
    }
}

void fdl_barrier(fdl_team *team, int thread) {
    if (team->size == 1) return;
    flag *mine = &team->flags[thread];
    uint64_t count = ++mine->count;
    atomic_store_explicit(&mine->arrived, count, memory_order_release);
    if (team->size <= ALL_TO_ALL || thread == 0)
        for (int i = 0; i < team->size; i++)
            if (i != thread) await_count(mine, &team->flags[i].arrived, count);
    if (team->size <= ALL_TO_ALL) return;
    if (thread == 0)
        atomic_store_explicit(&team->open, count, memory_order_release);
    else
        await_count(mine, &team->open, count);
}

/* ---- the number of threads ---- */

int fdl_num_threads(void) {
    int n = atomic_load_explicit(&pool.threads, memory_order_relaxed);
    return n ? n : fdl_set_num_threads(fdl_default_num_threads(0, 0));
}

int fdl_set_num_threads(int n) {
    n = n < 1 ? 1 : n > MAX_THREADS ? MAX_THREADS : n;
    if (inside) { /* a region cannot end its own workers */
        atomic_store(&pool.threads, n);
        return n;
    }
    waiting wait = {0};
    while (!take_pool()) wait_step(&wait);
    atomic_store(&pool.threads, n);
    pool.refused = 0;
    pool.short_of_cpus = n > fdl_default_num_threads(0, 0);
    int have = atomic_load(&pool.workers);
    for (int i = n - 1; i < have; i++) post(&pool.worker[i], QUIT);
    for (int i = n - 1; i < have; i++) {
        pthread_join(pool.worker[i].id, 0);
        pthread_mutex_destroy(&pool.worker[i].mutex);
        pthread_cond_destroy(&pool.worker[i].wake);
    }
    if (n - 1 < have) atomic_store(&pool.workers, n - 1);
    give_pool();
    return n;
}

int fdl_pool_size(void) { return atomic_load(&pool.workers); }
int fdl_thread_failures(void) { return atomic_exchange(&pool.failures, 0); }
void fdl_on_thread_failure(void (*callback)(void)) { atomic_store(&pool.on_failure, callback); }

/* ---- fork: only the forking thread lives on in the child, whatever the others were doing ---- */

static void after_fork_in_child(void) {
    atomic_store(&pool.workers, 0); /* made anew when needed */
    pool.refused = 0;
    reset_team(); /* a thread that is gone may have been ahead of thread 0 */
    atomic_store(&pool.stop, 0);
    inside = leads = 0;
    atomic_store(&pool.busy, 0);
}

__attribute__((constructor)) static void on_load(void) { pthread_atfork(0, 0, after_fork_in_child); }
