/* Clocks that a test can set, for one process: preloaded, this answers for the C library. The file that QUIVER_TEST_CLOCK
 * names holds the shifts; its writer fills the set that is not current, then makes it current. (Time namespaces are no
 * help: they do not shift the wall clock, and nothing once a process runs.)
 *
 * Not shifted: the kernel's own clock. A wait until an instant of the steady clock that was computed here, as std's
 * Condvar makes, lasts longer by what that clock is ahead. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

struct shift {
    int64_t wall_ns, steady_ns, since_ns, rate_ppm;
};
struct clocks {
    _Atomic int64_t current;
    struct shift shifts[2];
};

static const struct clocks *clocks;
static int (*timedwait)(pthread_cond_t *, pthread_mutex_t *, const struct timespec *);

__attribute__((constructor)) static void prepare(void) {
    const char *path = getenv("QUIVER_TEST_CLOCK");
    int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
    void *found = file < 0 ? MAP_FAILED : mmap(NULL, sizeof *clocks, PROT_READ, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) clocks = found;
    if (file >= 0) close(file);
    timedwait = dlvsym(RTLD_NEXT, "pthread_cond_timedwait", "GLIBC_2.3.2");
    if (!timedwait) timedwait = dlsym(RTLD_NEXT, "pthread_cond_timedwait");
}

static int64_t in_ns(struct timespec t) { return t.tv_sec * 1000000000 + t.tv_nsec; }

static struct timespec from_ns(int64_t ns) {
    return (struct timespec){.tv_sec = ns / 1000000000, .tv_nsec = ns % 1000000000};
}

static int64_t ahead_ns(clockid_t id) {
    struct timespec steady;
    if (!clocks) return 0;
    const struct shift *shift = &clocks->shifts[atomic_load(&clocks->current)];
    syscall(SYS_clock_gettime, CLOCK_MONOTONIC, &steady);
    int64_t drift = (in_ns(steady) - shift->since_ns) / 1000 * shift->rate_ppm / 1000;
    switch (id) {
    case CLOCK_REALTIME:
    case CLOCK_REALTIME_COARSE:
        return shift->wall_ns + drift;
    case CLOCK_MONOTONIC:
    case CLOCK_MONOTONIC_RAW:
    case CLOCK_MONOTONIC_COARSE:
    case CLOCK_BOOTTIME:
        return shift->steady_ns + drift;
    default:
        return 0;
    }
}

int clock_gettime(clockid_t id, struct timespec *t) {
    long failed = syscall(SYS_clock_gettime, id, t);
    int64_t ahead = failed ? 0 : ahead_ns(id);
    if (ahead) *t = from_ns(in_ns(*t) + ahead);
    return (int)failed;
}

int gettimeofday(struct timeval *restrict t, void *restrict zone) {
    struct timespec now;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &now);
    *t = (struct timeval){.tv_sec = now.tv_sec, .tv_usec = now.tv_nsec / 1000};
    return 0;
}

time_t time(time_t *t) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (t) *t = now.tv_sec;
    return now.tv_sec;
}

int pthread_cond_timedwait(pthread_cond_t *restrict cond, pthread_mutex_t *restrict mutex,
                           const struct timespec *restrict until) {
    struct timespec kernels = from_ns(in_ns(*until) - ahead_ns(CLOCK_REALTIME));
    return timedwait(cond, mutex, &kernels);
}
