/* socket.c - the descriptors of server connections: in the engine's epoll while a statement waits
 * or the connection is idle, in a worker's poll while the lane is with the pool.
 *
 * Level-triggered.  What the epoll hands back is the lane's slot and the generation of its
 * connection, never a pointer: an event of a connection that is gone finds nothing.  A client
 * library may close its descriptor and get the same number again; the kernel has then forgotten
 * it, so that a change that finds nothing is an addition.
 */
#include "engine.h"
#include <errno.h>
#include <poll.h>
#include <sys/epoll.h>

enum {
    EVENTS_AT_ONCE = 64
};

static int fd_of(const orm_lane *lane)
{
    return ((const orm_conn_base *)(const void *)lane->conn)->fd;
}

/* ---- on a worker ---- */

void orm_socket_wait(const orm_lane *lane, orm_status want, const orm_budget *budget)
{
    struct pollfd fd = {.fd = fd_of(lane), .events = POLLIN};
    if (want == ORM_WANT_WRITE) fd.events |= POLLOUT;
    for (;;) {
        uint64_t now = orm_now_ns(), nap = ORM_NAP_NS;
        if (__atomic_load_n(&budget->stop, __ATOMIC_RELAXED)) return;
        if (budget->deadline_ns && now >= budget->deadline_ns) return;
        if (budget->deadline_ns && budget->deadline_ns - now < nap) nap = budget->deadline_ns - now;
        if (poll(&fd, 1, (int)(nap / ORM_NS_PER_MS) + 1) > 0) return;
    }
}

/* ---- on the engine's thread ---- */

void orm_socket_forget(orm_lane *lane)
{
    if (lane->fd < 0) return;
    (void)epoll_ctl(lane->root->epoll_fd, EPOLL_CTL_DEL, lane->fd, NULL);
    lane->fd = -1;
}

void orm_socket_watch(orm_lane *lane, orm_status want)
{
    uint32_t events = EPOLLIN | (want == ORM_WANT_WRITE ? (uint32_t)EPOLLOUT : 0u);
    int fd = fd_of(lane), epoll = lane->root->epoll_fd;
    if (fd == lane->fd && events == lane->events) return;
    if (fd != lane->fd) orm_socket_forget(lane);
    struct epoll_event event = {.events = events,
                                .data = {.u64 = (uint64_t)lane->generation << 32 | lane->slot}};
    int failed = -1;
    if (lane->fd >= 0) failed = epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
    if (failed && epoll_ctl(epoll, EPOLL_CTL_ADD, fd, &event) != 0 && errno == EEXIST)
        (void)epoll_ctl(epoll, EPOLL_CTL_MOD, fd, &event);
    lane->fd = fd;
    lane->events = events;
}

bool orm_socket_is_readable(const orm_lane *lane)
{
    struct pollfd fd = {.fd = fd_of(lane), .events = POLLIN};
    return poll(&fd, 1, 0) > 0;
}

static void event_take(orm_root *root, uint64_t mark, uint64_t until_ns)
{
    uint32_t slot = (uint32_t)mark;
    if (slot >= root->n_lanes) return;
    orm_lane *lane = root->lanes[slot];
    if (lane->fd < 0 || lane->generation != (uint32_t)(mark >> 32)) return;
    if (lane->waiting) {
        orm_live_step(lane->waiting, until_ns);
    } else {
        /* Between statements a server has nothing to say but that it goes.  An idle connection
         * is dropped, the next statement of a transaction finds out. */
        orm_socket_forget(lane);
        if (!lane->busy && !lane->tx) orm_lane_release(lane);
    }
}

void orm_socket_poll(orm_root *root, uint64_t until_ns)
{
    struct epoll_event events[EVENTS_AT_ONCE];
    int n = epoll_wait(root->epoll_fd, events, EVENTS_AT_ONCE, 0);
    for (int i = 0; i < n && !root->closed; i++) event_take(root, events[i].data.u64, until_ns);
}
