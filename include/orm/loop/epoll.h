/* orm/loop/epoll.h - an engine in an epoll loop.  Header only.
 *
 *     orm_epoll db;
 *     orm_epoll_open(&db, epoll_fd, engine);       // adds the engine's descriptor to the loop
 *     for (;;) {
 *         int n = epoll_wait(epoll_fd, events, MAX, orm_epoll_timeout(&db, -1));
 *         for (int i = 0; i < n; i++)
 *             if (!orm_epoll_is_mine(&db, &events[i])) ...;   // the program's own descriptors
 *         orm_epoll_turn(&db);                     // the end of this turn: calls back
 *     }
 *     orm_epoll_close(&db);                        // before orm_close_engine
 *
 * The struct is the caller's and stays where it is from open to close.  Events of the engine
 * carry its address in data.ptr.  Callbacks run inside orm_epoll_turn only, on its thread.
 */
#ifndef ORM_LOOP_EPOLL_H
#define ORM_LOOP_EPOLL_H

#include <orm/orm.h>
#include <sys/epoll.h>

#ifdef __cplusplus
extern "C" {
#endif

typedef struct orm_epoll {
    orm_engine *engine;               /* borrowed */
    int fd;                           /* the loop's epoll descriptor */
    bool due;                         /* the engine asked for the end of this turn */
} orm_epoll;

static inline void orm_epoll_defer_(orm_engine *engine, void *user)
{
    (void)engine;
    ((orm_epoll *)user)->due = true;
}

/* 0, or -1 with errno as epoll_ctl left it. */
static inline int orm_epoll_open(orm_epoll *self, int epoll_fd, orm_engine *engine)
{
    struct epoll_event event = {EPOLLIN, {self}};
    self->engine = engine;
    self->fd = epoll_fd;
    self->due = false;
    if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, orm_fd(engine), &event) < 0) return -1;
    orm_set_defer(engine, orm_epoll_defer_, self);
    return 0;
}

static inline void orm_epoll_close(orm_epoll *self)
{
    orm_set_defer(self->engine, NULL, NULL);
    (void)epoll_ctl(self->fd, EPOLL_CTL_DEL, orm_fd(self->engine), NULL);
}

/* What to wait for: the loop's own timeout (ms, -1 = for ever), or 0 when this turn is due. */
static inline int orm_epoll_timeout(const orm_epoll *self, int timeout_ms)
{
    return self->due ? 0 : timeout_ms;
}

/* Whether the event is the engine's; it then gets its turn. */
static inline bool orm_epoll_is_mine(orm_epoll *self, const struct epoll_event *event)
{
    if (event->data.ptr != self) return false;
    self->due = true;
    return true;
}

/* Ends the turn.  Returns the number of operations that were called back. */
static inline int orm_epoll_turn(orm_epoll *self)
{
    if (!self->due) return 0;
    self->due = false;
    return orm_process(self->engine, 0);
}

#ifdef __cplusplus
}
#endif
#endif
