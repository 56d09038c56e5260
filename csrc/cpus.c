/* cpus.c: how many threads suit this process: the CPUs it may run on, and the share of them that its container
 * grants (cgroup v1 or v2). Linux keeps these in files; FASTDL_CGROUP_ROOT names a folder to read them from instead
 * of "/" (for tests). Compiled once, with the base flags. */
#if defined(__linux__) && !defined(_GNU_SOURCE)
#define _GNU_SOURCE
#endif
#include "parallel.h"

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__APPLE__)
#include <sys/sysctl.h>
#endif

enum { PATH_BYTES = 4096 };

#if defined(__linux__)

static int affinity_cpus(void) {
    for (int cpus = 1024; cpus <= 1 << 18; cpus *= 4) { /* the kernel refuses sets smaller than its own */
        cpu_set_t *set = CPU_ALLOC(cpus);
        if (!set) break;
        int known = !sched_getaffinity(0, CPU_ALLOC_SIZE(cpus), set);
        int count = known ? CPU_COUNT_S(CPU_ALLOC_SIZE(cpus), set) : 0;
        CPU_FREE(set);
        if (known) return count;
    }
    return 0;
}

/* quota / period of one cgroup folder; 0: none given */
static double quota_v2(const char *folder) {
    char path[PATH_BYTES + 32];
    double quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", folder);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    int read = fscanf(file, "%lf %lf", &quota, &period); /* "max 100000" without a limit */
    fclose(file);
    return read == 2 && quota > 0 && period > 0 ? quota / period : 0;
}

static double quota_v1(const char *folder) {
    static const char *const names[] = {"cpu.cfs_quota_us", "cpu.cfs_period_us"};
    double value[2] = {0, 0};
    for (int i = 0; i < 2; i++) {
        char path[PATH_BYTES + 32];
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        FILE *file = fopen(path, "r");
        if (!file) return 0;
        if (fscanf(file, "%lf", &value[i]) != 1) value[i] = 0;
        fclose(file);
    }
    return value[0] > 0 && value[1] > 0 ? value[0] / value[1] : 0;
}

/* Smallest quota from `group` up to the mount point: a limit holds for everything below it. Folders that are not
 * there are passed over: inside a container the path is often the host's, and the mount shows the container's own. */
static double smallest_quota(const char *mount, const char *group, double (*quota_of)(const char *)) {
    char folder[PATH_BYTES];
    double smallest = 0;
    if (snprintf(folder, sizeof folder, "%s%s", mount, group) >= (int)sizeof folder) return 0;
    for (;;) {
        double quota = quota_of(folder);
        if (quota > 0 && (!smallest || quota < smallest)) smallest = quota;
        char *slash = strrchr(folder, '/');
        if (!slash || strlen(folder) <= strlen(mount)) return smallest;
        *slash = 0;
    }
}

static int has_controller(const char *list, const char *name) {
    size_t size = strlen(name);
    for (const char *at = list; (at = strstr(at, name)); at += size)
        if ((at == list || at[-1] == ',') && (at[size] == ',' || !at[size])) return 1;
    return 0;
}

static double cgroup_quota(void) {
    const char *root = getenv("FASTDL_CGROUP_ROOT");
    char path[PATH_BYTES], line[PATH_BYTES];
    double smallest = 0;
    if (!root) root = "";
    snprintf(path, sizeof path, "%s/proc/self/cgroup", root);
    FILE *file = fopen(path, "r");
    if (!file) return 0;
    while (fgets(line, sizeof line, file)) { /* hierarchy:controllers:/group */
        char *controllers = strchr(line, ':'), *group = controllers ? strchr(controllers + 1, ':') : 0;
        if (!group) continue;
        *group++ = 0;
        controllers++;
        group[strcspn(group, "\n")] = 0;
        int v2 = !*controllers;
        if (!v2 && !has_controller(controllers, "cpu")) continue;
        static const char *const mounts[2][2] = {{"cpu", "cpu,cpuacct"}, {"", "unified"}};
        for (int i = 0; i < 2; i++) {
            snprintf(path, sizeof path, "%s/sys/fs/cgroup%s%s", root, *mounts[v2][i] ? "/" : "", mounts[v2][i]);
            double quota = smallest_quota(path, group, v2 ? quota_v2 : quota_v1);
            if (quota > 0 && (!smallest || quota < smallest)) smallest = quota;
        }
    }
    fclose(file);
    return smallest;
}

#else

static int affinity_cpus(void) { return 0; }
static double cgroup_quota(void) { return 0; }

#endif

static int online_cpus(void) {
#if defined(__APPLE__)
    int cores = 0; /* a slow core would hold the others up */
    size_t size = sizeof cores;
    if (!sysctlbyname("hw.perflevel0.physicalcpu", &cores, &size, 0, 0) && cores > 0) return cores;
#endif
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (int)online : 1;
}

int fdl_default_num_threads(char *why, int why_size) {
    int affinity = affinity_cpus(), cpus = affinity ? affinity : online_cpus();
    double quota = cgroup_quota();
    int whole = quota < cpus ? (int)quota : cpus, granted = whole + (quota > whole), count = cpus;
    if (quota > 0 && granted < cpus) count = granted;
    if (why && why_size > 0) {
        int n = snprintf(why, why_size, "%s%d CPU%s", affinity ? "affinity allows " : "", cpus, cpus == 1 ? "" : "s");
        if (n < why_size && quota > 0) snprintf(why + n, why_size - n, ", cgroup quota is %.4g CPUs", quota);
        else if (n < why_size) snprintf(why + n, why_size - n, ", no cgroup quota");
    }
    return count;
}
