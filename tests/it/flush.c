/* A disk whose flushes of the database's log take long, or fail: as the file named by FLUSH_FLAG says. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static char said(void) {
    const char *path = getenv("FLUSH_FLAG");
    FILE *flag = path ? fopen(path, "r") : NULL;
    int word = flag ? fgetc(flag) : 0;
    if (flag) fclose(flag);
    return word > 0 ? (char)word : 0;
}

static int is_log(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path);
    return length > 4 && strncmp(path + length - 4, "-wal", 4) == 0;
}

static int flush(const char *name, int fd) {
    int (*real)(int) = (int (*)(int))dlsym(RTLD_NEXT, name);
    while (is_log(fd) && said() == 's') usleep(10000);
    if (is_log(fd) && said() == 'f') {
        errno = EIO;
        return -1;
    }
    return real(fd);
}

int fdatasync(int fd) { return flush("fdatasync", fd); }
int fsync(int fd) { return flush("fsync", fd); }
