/* Preloaded into Keyside by tests: while the file that KEYSIDE_HANGS names exists, opening a file of that name without
   its ending waits, as on a disk of the network that does not answer. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static void wait_for_disk(const char *path) {
    const char *hangs = getenv("KEYSIDE_HANGS");
    size_t length = strlen(path);
    if (!hangs || strncmp(hangs, path, length) || strcmp(hangs + length, ".hangs")) return;
    while (!access(hangs, F_OK)) usleep(10000);
}

int open64(const char *path, int flags, ...) {
    static int (*next)(const char *, int, ...);
    if (!next) next = (int (*)(const char *, int, ...))dlsym(RTLD_NEXT, "open64");
    va_list more;
    va_start(more, flags);
    mode_t mode = va_arg(more, mode_t);
    va_end(more);
    wait_for_disk(path);
    return next(path, flags, mode);
}
