/*
 * Makes calls of the C library fail, and moves the clocks, in a process that it is preloaded into.
 *
 * What to do is in a file that AUTHGEAR_FAULTS names, mapped here and written by the test, also
 * while the process runs. Its layout is known to tests/src/faults.rs.
 */

#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <link.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

/* Calls from number `from` on, counted from 1, fail, `many` of them; from 0 none does. */
struct plan {
    uint64_t from;
    uint64_t many;
    uint64_t seen;
    uint64_t failed;
};

struct control {
    struct plan allocations;
    /* Only in this process; 0 for any. */
    uint64_t process;
    /* Only those of nginx and of the module, not of the libraries that they use. */
    uint64_t own;
    /* Of those that failed, who asked: the module, and not nginx. */
    uint64_t failed_in_module;

    struct plan calls;
    uint64_t kind;
    uint64_t error;
    /* Of calls on a connection, only to this port; 0 for any. */
    uint64_t port;

    /* What is added to the clocks, in milliseconds. */
    int64_t wall;
    int64_t monotonic;
};

enum { CONNECT = 1, SOCKET = 2, RECV = 4, WRITEV = 8, EPOLL_CTL = 16, ACCEPT = 32 };

static struct control none;
static struct control *control = &none;

__attribute__((constructor)) static void map_control(void)
{
    const char *name = getenv("AUTHGEAR_FAULTS");
    int fd = name ? open(name, O_RDWR | O_CLOEXEC) : -1;
    if (fd == -1)
        return;
    void *map = mmap(NULL, sizeof(struct control), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    if (map != MAP_FAILED)
        control = map;
    close(fd);
}

static int fails(struct plan *plan)
{
    uint64_t from = __atomic_load_n(&plan->from, __ATOMIC_ACQUIRE);
    if (from == 0)
        return 0;
    uint64_t number = __atomic_add_fetch(&plan->seen, 1, __ATOMIC_RELAXED);
    if (number < from || number - from >= plan->many)
        return 0;
    __atomic_add_fetch(&plan->failed, 1, __ATOMIC_RELAXED);
    return 1;
}

struct place {
    uintptr_t code;
    int own;
    int module;
};

/* Code is nginx's, whose file comes first and has no name, the module's, or another's. */
static int look(struct dl_phdr_info *file, size_t size, void *data)
{
    struct place *place = data;
    (void)size;
    for (int n = 0; n < file->dlpi_phnum; n++) {
        uintptr_t start = file->dlpi_addr + file->dlpi_phdr[n].p_vaddr;
        if (file->dlpi_phdr[n].p_type != PT_LOAD || place->code - start >= file->dlpi_phdr[n].p_memsz)
            continue;
        place->module = strstr(file->dlpi_name, "authgear_module") != NULL;
        place->own = place->module || file->dlpi_name[0] == 0;
        return 1;
    }
    return 0;
}

static int allocation_fails(const void *caller)
{
    struct place place = { (uintptr_t)caller, 0, 0 };
    if (__atomic_load_n(&control->allocations.from, __ATOMIC_ACQUIRE) == 0)
        return 0;
    if (control->process != 0 && control->process != (uint64_t)getpid())
        return 0;
    dl_iterate_phdr(look, &place);
    if ((control->own && !place.own) || !fails(&control->allocations))
        return 0;
    if (place.module)
        __atomic_add_fetch(&control->failed_in_module, 1, __ATOMIC_RELAXED);
    errno = ENOMEM;
    return 1;
}

void *__libc_malloc(size_t);
void *__libc_calloc(size_t, size_t);
void *__libc_realloc(void *, size_t);
void *__libc_memalign(size_t, size_t);

#define CALLER __builtin_return_address(0)

void *malloc(size_t size)
{
    return allocation_fails(CALLER) ? NULL : __libc_malloc(size);
}

void *calloc(size_t count, size_t size)
{
    return allocation_fails(CALLER) ? NULL : __libc_calloc(count, size);
}

void *realloc(void *old, size_t size)
{
    return allocation_fails(CALLER) ? NULL : __libc_realloc(old, size);
}

void *memalign(size_t alignment, size_t size)
{
    return allocation_fails(CALLER) ? NULL : __libc_memalign(alignment, size);
}

void *aligned_alloc(size_t alignment, size_t size)
{
    return allocation_fails(CALLER) ? NULL : __libc_memalign(alignment, size);
}

int posix_memalign(void **block, size_t alignment, size_t size)
{
    int before = errno;
    void *p = allocation_fails(CALLER) ? NULL : __libc_memalign(alignment, size);
    errno = before;
    if (p == NULL)
        return ENOMEM;
    *block = p;
    return 0;
}

static int port_of(const struct sockaddr *address)
{
    return address->sa_family == AF_INET ? ntohs(((const struct sockaddr_in *)address)->sin_port) : 0;
}

static int call_fails(uint64_t kind, int port)
{
    if (!(control->kind & kind) || (control->port != 0 && port != -1 && control->port != (uint64_t)port)
        || !fails(&control->calls))
        return 0;
    errno = (int)control->error;
    return 1;
}

static int call_on(uint64_t kind, int fd)
{
    struct sockaddr_storage address;
    socklen_t length = sizeof(address);
    int port = 0;
    if (!(control->kind & kind) || __atomic_load_n(&control->calls.from, __ATOMIC_ACQUIRE) == 0)
        return 0;
    if (syscall(SYS_getpeername, fd, &address, &length) == 0)
        port = port_of((struct sockaddr *)&address);
    return call_fails(kind, port);
}

int socket(int family, int type, int protocol)
{
    if (family == AF_INET && call_fails(SOCKET, -1))
        return -1;
    return (int)syscall(SYS_socket, family, type, protocol);
}

int connect(int fd, const struct sockaddr *address, socklen_t length)
{
    if (call_fails(CONNECT, port_of(address)))
        return -1;
    return (int)syscall(SYS_connect, fd, address, length);
}

int accept4(int fd, struct sockaddr *address, socklen_t *length, int flags)
{
    if (call_fails(ACCEPT, -1))
        return -1;
    return (int)syscall(SYS_accept4, fd, address, length, flags);
}

ssize_t recv(int fd, void *buffer, size_t length, int flags)
{
    if (call_on(RECV, fd))
        return -1;
    return syscall(SYS_recvfrom, fd, buffer, length, flags, NULL, NULL);
}

ssize_t writev(int fd, const struct iovec *pieces, int count)
{
    if (call_on(WRITEV, fd))
        return -1;
    return syscall(SYS_writev, fd, pieces, count);
}

int epoll_ctl(int epoll, int operation, int fd, struct epoll_event *event)
{
    if (operation != EPOLL_CTL_DEL && call_fails(EPOLL_CTL, -1))
        return -1;
    return (int)syscall(SYS_epoll_ctl, epoll, operation, fd, event);
}

static void move(struct timespec *time, int64_t by)
{
    int64_t nanoseconds = time->tv_nsec + by % 1000 * 1000000;
    time->tv_sec += by / 1000;
    if (nanoseconds < 0) {
        nanoseconds += 1000000000;
        time->tv_sec--;
    } else if (nanoseconds >= 1000000000) {
        nanoseconds -= 1000000000;
        time->tv_sec++;
    }
    time->tv_nsec = nanoseconds;
}

int clock_gettime(clockid_t clock, struct timespec *time)
{
    int result = (int)syscall(SYS_clock_gettime, clock, time);
    if (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)
        move(time, control->wall);
    else if (clock == CLOCK_MONOTONIC || clock == CLOCK_MONOTONIC_COARSE || clock == CLOCK_MONOTONIC_RAW)
        move(time, control->monotonic);
    return result;
}

int gettimeofday(struct timeval *restrict now, void *restrict zone)
{
    struct timespec time;
    (void)zone;
    clock_gettime(CLOCK_REALTIME, &time);
    now->tv_sec = time.tv_sec;
    now->tv_usec = time.tv_nsec / 1000;
    return 0;
}

time_t time(time_t *result)
{
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (result != NULL)
        *result = now.tv_sec;
    return now.tv_sec;
}
