/* Stands between a receiver and the system: records what it writes, and makes it fail, wait, die or err about the time.
 *
 * Loaded with LD_PRELOAD. DRILL_FOLDER: only files below it are concerned. DRILL_CONTROL: a file of 64 numbers that the
 * drill changes while the receiver runs; drills/meddle.py names them. DRILL_RECORD: where operations are recorded.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <netdb.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { SEQUENCE, RECORDING, FSYNC_ERRNO, FSYNC_FAILURES, WRITE_ERRNO, WRITE_FAILURES, FSYNC_DELAY, CLOCK_OFFSET,
       DIE_AT, DIE_HOW, DNS, FILES, DIE_PID, FSYNCS, WRITES, DIE_ON, FIELDS = 64 };
enum { BEFORE, HALFWAY, AFTER };
enum { A_WRITE = 1, AN_FSYNC = 2 };
/* Kinds of files, as bits of FILES; 0 there means all. */
enum { LOG = 1, LOG_WAL = 2, DISPATCH = 4, DISPATCH_WAL = 8, OTHER = 16, FOLDER = 32 };

#define MOST_FILES 65536
static volatile int64_t *control;
static char *paths[MOST_FILES];
static const char *folder;
static int record = -1;

#define REAL(name) ({ static __typeof__(&name) real; if (!real) real = dlsym(RTLD_NEXT, #name); real; })

__attribute__((constructor)) static void begin(void) {
    folder = getenv("DRILL_FOLDER");
    const char *at = getenv("DRILL_CONTROL"), *to = getenv("DRILL_RECORD");
    if (!folder || !at) return;
    int fd = REAL(open)(at, O_RDWR | O_CLOEXEC);
    if (fd < 0) return;
    void *page = mmap(NULL, FIELDS * sizeof(int64_t), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    REAL(close)(fd);
    if (page == MAP_FAILED) return;
    control = page;
    if (to) record = REAL(open)(to, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600);
}

static int ends(const char *path, const char *end) {
    size_t have = strlen(path), wanted = strlen(end);
    return have >= wanted && !strcmp(path + have - wanted, end);
}

static int64_t kind(const char *path) {
    if (ends(path, ".dispatch.db")) return DISPATCH;
    if (ends(path, ".dispatch.db-wal")) return DISPATCH_WAL;
    if (ends(path, ".db")) return LOG;
    if (ends(path, ".db-wal")) return LOG_WAL;
    return OTHER;
}

/* While it is recorded, only the database files and their folder. */
static int is_recorded(const char *path) {
    return !strcmp(path, folder) || kind(path) != OTHER || ends(path, ".db-journal");
}

static int concerned(const char *path) {
    if (!control || ends(path, "-shm") || (control[RECORDING] && !is_recorded(path))) return 0;
    return !control[FILES] || (control[FILES] & (strcmp(path, folder) ? kind(path) : FOLDER));
}

static const char *path_of(int fd) { return fd >= 0 && fd < MOST_FILES && paths[fd] ? paths[fd] : NULL; }

static int64_t next(void) { return __atomic_add_fetch(&control[SEQUENCE], 1, __ATOMIC_SEQ_CST); }

/* One record: sequence, kind, offset, lengths of path and data, both. */
static void note(int64_t sequence, char what, const char *path, int64_t offset, const void *data, size_t size) {
    if (record < 0 || !control[RECORDING]) return;
    struct { int64_t sequence, offset; uint32_t path, size; char what, pad[7]; } head = {
        sequence, offset, (uint32_t)strlen(path), (uint32_t)size, what, {0} };
    struct iovec parts[] = { { &head, sizeof head }, { (void *)path, head.path }, { (void *)data, size } };
    if (writev(record, parts, 3) < 0) abort();
}

static int dies(int64_t sequence, int on, int how) {
    return control[DIE_AT] && sequence >= control[DIE_AT] && control[DIE_HOW] == how
        && (!control[DIE_ON] || control[DIE_ON] == on) && (!control[DIE_PID] || control[DIE_PID] == getpid());
}

static void die_if(int64_t sequence, int on, int how) {
    if (dies(sequence, on, how)) {
        control[DIE_AT] = 0;
        kill(getpid(), SIGKILL);
        for (;;) pause();
    }
}

static int fails(int failures) {
    int64_t left = control[failures];
    if (!left) return 0;
    if (left > 0) __atomic_sub_fetch(&control[failures], 1, __ATOMIC_SEQ_CST);
    return 1;
}

/* ---- files ---- */

static void opened(int fd, const char *path, int flags) {
    if (fd < 0 || fd >= MOST_FILES || !control) return;
    char whole[PATH_MAX];
    if (!realpath(path, whole)) return;
    size_t size = strlen(folder);
    if (strncmp(whole, folder, size) || (whole[size] && whole[size] != '/')) return;
    free(paths[fd]);
    paths[fd] = strdup(whole);
    if ((flags & O_CREAT) && concerned(whole)) note(next(), 'C', whole, 0, "", 0);
}

/* As on a file system that was remounted read-only: what exists cannot be opened for writing. */
static int is_read_only(const char *path, int flags) {
    if (!control || control[WRITE_ERRNO] != EROFS || !control[WRITE_FAILURES] || !(flags & (O_WRONLY | O_RDWR))) return 0;
    char whole[PATH_MAX];
    return realpath(path, whole) && !strncmp(whole, folder, strlen(folder)) && concerned(whole);
}

#define OPEN(name)                                                                   \
    int name(const char *path, int flags, ...) {                                     \
        mode_t mode = 0;                                                             \
        if (flags & (O_CREAT | O_TMPFILE)) {                                         \
            va_list more; va_start(more, flags); mode = va_arg(more, mode_t); va_end(more); \
        }                                                                            \
        if (is_read_only(path, flags)) { errno = EROFS; return -1; }                 \
        int fd = REAL(name)(path, flags, mode);                                      \
        int saved = errno; opened(fd, path, flags); errno = saved;                   \
        return fd;                                                                   \
    }
OPEN(open)
OPEN(open64)

int close(int fd) {
    if (fd >= 0 && fd < MOST_FILES && paths[fd]) { free(paths[fd]); paths[fd] = NULL; }
    return REAL(close)(fd);
}

static ssize_t write_at(ssize_t (*real)(int, const void *, size_t, off_t), int fd, const void *data, size_t size,
                        off_t offset) {
    const char *path = path_of(fd);
    if (!path || !concerned(path)) return real(fd, data, size, offset);
    int64_t sequence = next();
    __atomic_add_fetch(&control[WRITES], 1, __ATOMIC_SEQ_CST);
    die_if(sequence, A_WRITE, BEFORE);
    if (fails(WRITE_FAILURES)) { errno = (int)control[WRITE_ERRNO]; return -1; }
    if (dies(sequence, A_WRITE, HALFWAY)) {
        if (real(fd, data, size / 2, offset) < 0) abort();
        die_if(sequence, A_WRITE, HALFWAY);
    }
    note(sequence, 'W', path, offset, data, size);
    ssize_t written = real(fd, data, size, offset);
    die_if(sequence, A_WRITE, AFTER);
    return written;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset) {
    return write_at(REAL(pwrite), fd, data, size, offset);
}
ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) {
    return write_at(REAL(pwrite), fd, data, size, offset);
}

static int cut(int (*real)(int, off_t), int fd, off_t size) {
    const char *path = path_of(fd);
    if (!path || !concerned(path)) return real(fd, size);
    if (fails(WRITE_FAILURES)) { errno = (int)control[WRITE_ERRNO]; return -1; }
    note(next(), 'T', path, size, "", 0);
    return real(fd, size);
}
int ftruncate(int fd, off_t size) { return cut(REAL(ftruncate), fd, size); }
int ftruncate64(int fd, off_t size) { return cut(REAL(ftruncate), fd, size); }

static int flush(int (*real)(int), int fd) {
    const char *path = path_of(fd);
    if (!path || !concerned(path)) return real(fd);
    int64_t sequence = next();
    __atomic_add_fetch(&control[FSYNCS], 1, __ATOMIC_SEQ_CST);
    die_if(sequence, AN_FSYNC, BEFORE);
    note(sequence, 'F', path, 0, "", 0);
    if (control[FSYNC_DELAY]) usleep((useconds_t)control[FSYNC_DELAY]);
    if (fails(FSYNC_FAILURES)) { errno = (int)control[FSYNC_ERRNO]; return -1; }
    die_if(sequence, AN_FSYNC, HALFWAY);
    int result = real(fd);
    if (!result) note(next(), 'f', path, sequence, "", 0);
    die_if(sequence, AN_FSYNC, AFTER);
    return result;
}
int fsync(int fd) { return flush(REAL(fsync), fd); }
int fdatasync(int fd) { return flush(REAL(fdatasync), fd); }

int unlink(const char *path) {
    char whole[PATH_MAX];
    if (control && realpath(path, whole) && !strncmp(whole, folder, strlen(folder)) && concerned(whole))
        note(next(), 'U', whole, 0, "", 0);
    return REAL(unlink)(path);
}

/* ---- the time of day; what is measured by the monotonic clock stays true ---- */

int clock_gettime(clockid_t which, struct timespec *now) {
    int result = REAL(clock_gettime)(which, now);
    if (!result && control && which == CLOCK_REALTIME && control[CLOCK_OFFSET]) {
        int64_t micros = now->tv_sec * 1000000LL + now->tv_nsec / 1000 + control[CLOCK_OFFSET];
        now->tv_sec = micros / 1000000;
        now->tv_nsec = (micros % 1000000) * 1000;
    }
    return result;
}

time_t time(time_t *to) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (to) *to = now.tv_sec;
    return now.tv_sec;
}

/* ---- names; 1: nobody answers quickly (EAI_AGAIN), 2: nobody answers for half a minute. Names in .test are this machine. ---- */

int getaddrinfo(const char *name, const char *port, const struct addrinfo *hints, struct addrinfo **found) {
    int numeric = name && !name[strspn(name, "0123456789.:")];
    if (control && control[DNS] && name && !numeric && strcmp(name, "localhost")) {
        for (int i = 0; i < 300 && control[DNS] == 2; i++) usleep(100000);
        if (control[DNS]) return EAI_AGAIN;
    }
    if (control && name && ends(name, ".test")) name = "127.0.0.1";
    return REAL(getaddrinfo)(name, port, hints, found);
}
