/* greeting.c - what the server says first, looked at before anything is answered.
 *
 * A server that has no TLS, or in whose place somebody says so, is sent the login in the clear by
 * the client library, which notices afterwards (CONC-648).  Its greeting tells, and is still in
 * the socket when the library is about to read it.
 */
#include "mariadb.h"
#include <errno.h>
#include <limits.h>
#include <poll.h>
#include <sys/socket.h>

enum {
    HEADER = 4,          /* three bytes of length, one of order */
    BEHIND_VERSION = 13, /* thread, first part of the challenge, a filler */
    PROTOCOL = 10,
    HAS_TLS = 0x0800,
    LONGEST = 512,
    NS_PER_MS = 1000000
};

/* Where it offers TLS; WANT_READ: there must be more to come. */
static orm_status look_at(const unsigned char *bytes, size_t n, orm_error *err)
{
    if (n < HEADER + 1) return ORM_WANT_READ;
    if (bytes[HEADER] != PROTOCOL) return ORM_OK; /* an error, which the library reads */
    size_t at = HEADER + 1;
    while (at < n && bytes[at]) at++;
    at += 1 + BEHIND_VERSION;
    if (at + 2 > n)
        return n == LONGEST ? orm_fail(err, ORM_ETLS, "the server's greeting is none")
                            : ORM_WANT_READ;
    if ((bytes[at] | bytes[at + 1] << 8) & HAS_TLS) return ORM_OK;
    return orm_fail(err, ORM_ETLS, "the server offers no TLS; nothing was sent to it");
}

/* Something to read, if it comes in time; where half a greeting is there, more of it. */
static void wait_for_more(int fd, bool has_some, uint64_t deadline)
{
    struct pollfd wait = {.fd = fd, .events = POLLIN};
    uint64_t now = orm_now_ns(), ms = deadline > now ? (deadline - now) / NS_PER_MS + 1 : 0;
    if (has_some) /* it stays readable: what is looked at is not taken */
        (void)poll(NULL, 0, 1);
    else
        (void)poll(&wait, 1, ms < INT_MAX ? (int)ms : INT_MAX);
}

orm_status maria_greeting_check(int fd, uint64_t deadline, orm_error *err)
{
    unsigned char bytes[LONGEST];
    struct sockaddr_storage peer;
    socklen_t size = sizeof peer;
    if (getpeername(fd, (struct sockaddr *)&peer, &size) < 0) return ORM_WANT_WRITE;
    for (;;) {
        ssize_t n = recv(fd, bytes, sizeof bytes, MSG_PEEK | MSG_DONTWAIT);
        bool is_gone = n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR);
        if (is_gone) return ORM_OK; /* the library says how */
        orm_status status = n < 0 ? ORM_WANT_READ : look_at(bytes, (size_t)n, err);
        if (status != ORM_WANT_READ || orm_now_ns() >= deadline) return status;
        wait_for_more(fd, n > 0, deadline);
    }
}
