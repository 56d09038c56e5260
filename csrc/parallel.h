/* parallel.h: fastdl's own thread pool (no OpenMP): parallel.c, cpus.c. Compiled once, with the base flags.
 * No result may depend on the number of threads: callers cut work by shape only. */
#ifndef FDL_PARALLEL_H
#define FDL_PARALLEL_H
#include <stdint.h>

/* Does units [begin, end); `thread` in [0, fdl_num_threads()) names the scratch it may use. */
typedef void (*fdl_task)(void *ctx, int64_t begin, int64_t end, int thread);

/* fn over [0, n) in pieces of at least `grain` units (halves, where n < 2 grain). Runs in the caller alone when n <= grain, with
 * one thread, inside another parallel region, or while another Python thread holds the pool. */
void fdl_parallel_for(int64_t n, int64_t grain, fdl_task fn, void *ctx);

/* SPMD region: fn once on each thread of a team of 1..want threads; fdl_barrier joins them. The size of the team is
 * known only inside: it is smaller when workers are refused, or late to wake, and 1 where parallel_for runs alone. */
typedef struct fdl_team fdl_team;
typedef void (*fdl_spmd)(void *ctx, fdl_team *team, int thread, int n_threads);
void fdl_parallel_spmd(int want, fdl_spmd fn, void *ctx);
void fdl_barrier(fdl_team *team, int thread);

/* Stopping: between `watch` and `unwatch`, the regions that this thread leads are done in pieces of some milliseconds,
 * and `poll` is asked now and then whether to go on. If not, what is left is passed over: what the kernels wrote is of no
 * use, and unwatch says so. Loops of SPMD regions look at fdl_stopped; barriers of a stopped team do not wait. */
void fdl_watch(void);
int fdl_unwatch(void);
int fdl_stopped(int thread);             /* of the region that runs */
void fdl_on_poll(int (*poll)(void));

int fdl_num_threads(void);               /* threads that a region may use now: >= 1 */
int fdl_set_num_threads(int n);          /* clamps to >= 1; surplus workers end; returns the count */
int fdl_pool_size(void);                 /* worker threads alive (the caller is not one) */
int fdl_default_num_threads(char *why, int why_size); /* affinity, cgroup quota; says why */
int fdl_set_flush_denormal(int on);      /* for this thread and the regions that it leads; 0: the CPU cannot */
int fdl_thread_failures(void);           /* thread creations that were refused since the last call */
void fdl_on_thread_failure(void (*callback)(void)); /* called, by the thread that wanted them, when some are refused */
#endif
