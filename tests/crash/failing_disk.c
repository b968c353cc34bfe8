/* Preloaded into what the crash harness starts: a disk that fails when it is told to.
 *
 * - The control file (FIELDPROOF_DISK) is shared memory: for the agent's files (path contains /state/) and the
 *   gateway's (/gateway/ledger) what fails, and at every how many-th call.
 * - A write that fails writes nothing, or the first half: a disk may do either. A sync that fails synced nothing
 *   it was asked to.
 * - Nothing is looked up while nothing is to fail.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

enum { WRITE_EIO = 1, SYNC_EIO = 2, FULL = 4, READ_ONLY = 8, HALF = 16 };

struct rule { volatile int32_t what, every, calls, met; };
static struct rule *rules; /* [0] the agent's files, [1] the gateway's */

__attribute__((constructor)) static void begin(void)
{
    const char *path = getenv("FIELDPROOF_DISK");
    int fd = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (fd < 0) return;
    void *found = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (found != MAP_FAILED) rules = found;
    close(fd);
}

static struct rule *rule_of(int fd)
{
    char link[32], path[1024];
    if (!rules || !(rules[0].what | rules[1].what)) return NULL;
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return NULL;
    path[length] = 0;
    if (strstr(path, "/state/")) return &rules[0];
    if (strstr(path, "/gateway/ledger")) return &rules[1];
    return NULL;
}

/* The errno this call is to fail with, 0 if it is to go on. */
static int fails(struct rule *rule, int on_write)
{
    if (!rule || !rule->what || ++rule->calls % (rule->every ? rule->every : 1)) return 0;
    int error = 0;
    if (on_write) {
        if (rule->what & FULL) error = ENOSPC;
        else if (rule->what & READ_ONLY) error = EROFS;
        else if (rule->what & WRITE_EIO) error = EIO;
    } else if (rule->what & SYNC_EIO) error = EIO;
    rule->met += error != 0;
    return error;
}

#define REAL(name) static __typeof__(name) *real; if (!real) real = dlsym(RTLD_NEXT, #name)

static ssize_t failed(int error) { errno = error; return -1; }

#define WRITES(name, offset_type) \
    ssize_t name(int fd, const void *data, size_t count, offset_type at) { \
        REAL(name); \
        struct rule *rule = rule_of(fd); \
        int error = fails(rule, 1); \
        if (!error) return real(fd, data, count, at); \
        if (rule->what & HALF) real(fd, data, count / 2, at); \
        return failed(error); \
    }
WRITES(pwrite, off_t)
WRITES(pwrite64, off64_t)

ssize_t write(int fd, const void *data, size_t count)
{
    REAL(write);
    int error = fails(rule_of(fd), 1);
    return error ? failed(error) : real(fd, data, count);
}

#define SYNCS(name) int name(int fd) { REAL(name); int error = fails(rule_of(fd), 0); return error ? (int)failed(error) : real(fd); }
SYNCS(fsync)
SYNCS(fdatasync)

#define TRUNCATES(name, length_type) \
    int name(int fd, length_type length) { REAL(name); int error = fails(rule_of(fd), 1); return error ? (int)failed(error) : real(fd, length); }
TRUNCATES(ftruncate, off_t)
TRUNCATES(ftruncate64, off64_t)
