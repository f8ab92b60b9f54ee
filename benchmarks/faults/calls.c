// A preload library whose calls fail or are slow, like disks that are full, broken or remote. Set by environment:
//   FAULT_CALLS   which of write fsync rename pread read
//   FAULT_PATH    a part of the file's name
//   FAULT_ARM     a file that must exist; optional
//   FAULT_CHANCE  probability that a call is hit; 1 if not set
//   FAULT_ERRNO   error to fail with; not set: it only takes longer
//   FAULT_SLEEP   seconds
//   FAULT_SAID    a file that gets a line for each call that was hit; optional
// gcc -shared -fPIC -O1 -o calls.so calls.c -ldl
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <time.h>
#include <unistd.h>

#define REAL(name, ...) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))(__VA_ARGS__)

static int is_hit(const char *call, const char *path) {
    const char *calls = getenv("FAULT_CALLS"), *part = getenv("FAULT_PATH"), *arm = getenv("FAULT_ARM");
    const char *chance = getenv("FAULT_CHANCE"), *seconds = getenv("FAULT_SLEEP"), *said = getenv("FAULT_SAID");
    unsigned int number;
    if (!calls || !part || !strstr(path, part) || (said && !strcmp(path, said))) return 0;
    const char *found = strstr(calls, call);  // "read" is in "pread" too
    while (found && found != calls && found[-1] != ' ') found = strstr(found + 1, call);
    if (!found || (arm && access(arm, F_OK))) return 0;
    if (chance && (getrandom(&number, sizeof number, 0) < 0 || number / 4294967296.0 >= atof(chance))) return 0;
    if (said) {
        char line[4200];
        int length = snprintf(line, sizeof line, "%s %s\n", call, path), file = open(said, O_WRONLY | O_CREAT | O_APPEND, 0644);
        if (file >= 0 && REAL(write, file, line, length) == length) close(file);
    }
    if (seconds) {
        double all = atof(seconds);
        struct timespec pause = {(time_t)all, (long)((all - (time_t)all) * 1e9)};
        nanosleep(&pause, NULL);
    }
    if (!getenv("FAULT_ERRNO")) return 0;
    errno = atoi(getenv("FAULT_ERRNO"));
    return 1;
}

static int is_hit_of(const char *call, int file) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) return 0;
    path[length] = 0;
    return is_hit(call, path);
}

ssize_t write(int file, const void *data, size_t size) {
    return is_hit_of("write", file) ? -1 : REAL(write, file, data, size);
}

ssize_t read(int file, void *data, size_t size) { return is_hit_of("read", file) ? -1 : REAL(read, file, data, size); }

ssize_t pread64(int file, void *data, size_t size, off64_t offset) {
    return is_hit_of("pread", file) ? -1 : REAL(pread64, file, data, size, offset);
}

ssize_t pread(int file, void *data, size_t size, off_t offset) { return pread64(file, data, size, offset); }

int fsync(int file) { return is_hit_of("fsync", file) ? -1 : REAL(fsync, file); }

int rename(const char *from, const char *to) {
    return is_hit("rename", from) || is_hit("rename", to) ? -1 : REAL(rename, from, to);
}
