/* engine.c - an engine: its descriptors, its turns, its end.
 *
 * A turn of the caller's loop ends in orm_process, orm_wait or orm_await: then the shared read
 * transaction is closed and waiting writes go out.
 */
#include "engine.h"
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/timerfd.h>
#include <unistd.h>

#define ENGINE_MAGIC 0x6f726d2eu
#define CLOSE_BUDGET_NS (2 * ORM_NS_PER_MS)

/* ---- forks: the one global of the library ---- */

static volatile uint32_t fork_generation;
static pthread_once_t fork_once = PTHREAD_ONCE_INIT;

static void after_fork(void)
{
    __atomic_add_fetch(&fork_generation, 1, __ATOMIC_RELAXED);
}

static void watch_forks(void)
{
    (void)pthread_atfork(NULL, NULL, after_fork);
}

static const void *thread_mark(void)
{
    static __thread char mark;
    return &mark;
}

orm_status orm_root_check(orm_root *root, orm_error *err)
{
    const void *self = thread_mark();
    if (ORM_UNLIKELY(root->generation != __atomic_load_n(&fork_generation, __ATOMIC_RELAXED)))
        return orm_fail(err, ORM_EFORKED, "the process was forked: open a new engine in the child");
    if (ORM_LIKELY(root->owner == self)) return ORM_OK;
    if (!root->owner) {
        root->owner = self;
        return ORM_OK;
    }
    return orm_fail(err, ORM_EMISUSE, "the engine belongs to another thread");
}

/* ---- making ---- */

static bool add_to_epoll(orm_root *root, int fd)
{
    /* no lane's slot: what they say is seen without looking at events */
    struct epoll_event event = {.events = EPOLLIN, .data = {.u64 = UINT64_MAX}};
    return fd >= 0 && epoll_ctl(root->epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

static orm_status open_descriptors(orm_root *root, orm_error *err)
{
    root->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    root->event_fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    root->timer_fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
    if (root->epoll_fd >= 0 && add_to_epoll(root, root->event_fd) &&
        add_to_epoll(root, root->timer_fd) &&
        (!root->connectors || add_to_epoll(root, orm_crew_fd(root->connectors))))
        return ORM_OK;
    return orm_fail(err, ORM_EOPERATIONAL, "cannot make the engine's descriptors (errno %d)",
                    errno);
}

static void close_descriptors(orm_root *root)
{
    int fds[] = {root->epoll_fd, root->event_fd, root->timer_fd};
    for (size_t i = 0; i < ORM_COUNT(fds); i++)
        if (fds[i] >= 0) (void)close(fds[i]);
    root->epoll_fd = root->event_fd = root->timer_fd = -1;
}

static void set_options(orm_root *root)
{
    const orm_options *options = &root->db->options;
    root->query_timeout_ns = options->query_timeout_ms * ORM_NS_PER_MS;
    root->acquire_timeout_ns = options->acquire_timeout_ms * ORM_NS_PER_MS;
    root->max_waiting = options->max_waiting;
    root->busy_timeout_ns = options->busy_timeout_ms * ORM_NS_PER_MS;
    root->inline_ns = options->inline_budget_us * ORM_NS_PER_US;
    root->no_inline = options->no_inline;
    root->shared_reads = !options->no_shared_reads;
    root->single = root->db->memory;
}

orm_status orm_engine_new(orm_db *db, orm_engine **out, orm_error *err)
{
    (void)pthread_once(&fork_once, watch_forks);
    orm_root *root = orm_alloc0(sizeof *root);
    if (!root) return orm_fail_nomem(err);
    root->head = (orm_engine){.magic = ENGINE_MAGIC, .root = root};
    root->refs = 1;
    root->db = orm_db_ref(db);
    root->driver = db->driver;
    root->dialect = db->dialect;
    root->generation = __atomic_load_n(&fork_generation, __ATOMIC_RELAXED);
    set_options(root);
    root->epoll_fd = root->event_fd = root->timer_fd = -1;
    orm_status status = orm_server_init(root, err);
    if (status >= 0) status = open_descriptors(root, err);
    if (status >= 0 && db->memory) status = orm_db_anchor(db, err);
    if (status >= 0) status = orm_plans_init(&root->plans, db->options.statement_cache_size, err);
    if (status >= 0)
        status = orm_pool_init(&root->pool, root->server ? root->max_lanes + 1 : ORM_MAX_WORKERS,
                               root->event_fd, err);
    if (status >= 0) {
        *out = &root->head;
        return ORM_OK;
    }
    orm_plans_dispose(&root->plans);
    if (root->connectors) orm_crew_close(root->connectors, true, 0);
    if (root->canceller) orm_crew_close(root->canceller, true, 0);
    close_descriptors(root);
    orm_close(root->db);
    orm_dealloc(root->lanes);
    orm_dealloc(root);
    return status;
}

void orm_root_ref(orm_root *root)
{
    root->refs++;
}

void orm_root_unref(orm_root *root)
{
    if (--root->refs) return;
    orm_schema_unref(root->schema);
    orm_close(root->db);
    orm_dealloc(root);
}

/* ---- turns ---- */

void orm_root_want_turn(orm_root *root)
{
    if (root->driving || root->processing) {
        root->wanted = true;
        return;
    }
    if (root->deferred || root->closed) return;
    root->deferred = true;
    if (root->defer) {
        root->in_callback++;
        root->defer(&root->head, root->defer_user);
        root->in_callback--;
        return;
    }
    uint64_t one = 1;
    root->self_wake = true;
    while (write(root->event_fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

bool orm_root_has_work(const orm_root *root)
{
    return root->live.count || root->stalled ||
           (root->write_queue.count && orm_writer_is_free(root)) ||
           (root->read_queue.count &&
            (root->server ? orm_server_is_free(root) : orm_reader_is_free(root)));
}

bool orm_root_is_late(const orm_root *root)
{
    return root->until_ns && orm_now_ns() >= root->until_ns;
}

static bool has_work(const orm_root *root)
{
    return root->ended.count || orm_root_has_work(root);
}

/* What waits for a lane, as far as there are any. */
static void start_queued(orm_root *root)
{
    if (root->write_queue.count) orm_write_flush(root);
    if (!root->read_queue.count) return;
    if (root->server)
        orm_server_next(root);
    else
        orm_read_next(root);
}

/* What the turn has gathered goes out. */
void orm_root_end_turn(orm_root *root)
{
    orm_root_end_shared(root);
    root->turn_reads = 0;
    root->turn_plan = NULL;
    root->wrote = false;
    root->last_writer = NULL;
    start_queued(root);
    if (!root->driving && !root->processing && has_work(root)) orm_root_want_turn(root);
}

static void collect(orm_root *root)
{
    if (root->self_wake) {
        uint64_t count;
        while (read(root->event_fd, &count, sizeof count) < 0 && errno == EINTR) {
        }
        root->self_wake = false;
        /* A worker may have written between: its lanes are found without the descriptor. */
        __atomic_store_n(&root->pool.signalled, true, __ATOMIC_RELAXED);
    }
    if (root->server) orm_connect_collect(root);
    orm_lane *lane = orm_pool_collect(&root->pool);
    while (lane) {
        orm_lane *next = lane->next;
        orm_lane_back(lane);
        lane = next;
    }
}

void orm_root_pump(orm_root *root, uint64_t until_ns)
{
    root->deferred = false;
    root->until_ns = until_ns;
    collect(root);
    if (root->server) orm_socket_poll(root, until_ns);
    orm_timer_check(root);
    orm_root_end_turn(root);
    /* Each live statement gets its share, then the time is looked at. */
    for (size_t n = root->live.count; n && root->live.count; n--) {
        orm_op *op = root->live.first;
        orm_queue_remove(op);
        orm_queue_push(&root->live, op);
        orm_live_step(op, until_ns);
        if (orm_now_ns() >= until_ns) break;
    }
    orm_tx_resume(root);
    start_queued(root);
    root->until_ns = 0;
}

/* Calls back for what is complete; at most those that are there now. */
static int call_back(orm_root *root, uint64_t until_ns)
{
    int called = 0;
    for (size_t n = root->ended.count; n && root->ended.count; n--) {
        orm_op *op = orm_queue_pop(&root->ended);
        op->state = ORM_OP_OVER;
        called++;
        if (op->fn) {
            root->in_callback++;
            op->fn(op, op->user);
            root->in_callback--;
        }
        if (called % 16 == 0 && orm_now_ns() >= until_ns) break;
    }
    return called;
}

int orm_process(orm_engine *engine, int64_t budget_us)
{
    if (!engine) return 0;
    orm_root *root = engine->root;
    if (orm_root_check(root, NULL) < 0 || root->closed || root->in_callback) return 0;
    uint64_t budget = budget_us > 0 ? (uint64_t)budget_us * ORM_NS_PER_US : 2 * ORM_NS_PER_MS;
    uint64_t until = orm_now_ns() + budget;
    orm_root_ref(root);
    root->processing++;
    root->wanted = false;
    orm_root_pump(root, until);
    int called = call_back(root, until);
    if (!root->closed && root->wanted) orm_root_end_turn(root);
    root->processing--;
    if (!root->closed && has_work(root)) orm_root_want_turn(root);
    orm_root_unref(root);
    return called;
}

int orm_wait(orm_engine *engine, int timeout_ms)
{
    if (!engine) return 0;
    orm_root *root = engine->root;
    if (orm_root_check(root, NULL) < 0 || root->closed || root->in_callback) return 0;
    if (!root->deferred && !has_work(root)) {
        struct pollfd fd = {.fd = root->epoll_fd, .events = POLLIN};
        (void)poll(&fd, 1, timeout_ms);
    }
    return orm_process(engine, 0);
}

int orm_fd(const orm_engine *engine)
{
    return engine->root->epoll_fd;
}

int orm_timeout_ms(const orm_engine *engine)
{
    const orm_root *root = engine->root;
    if (has_work(root)) return 0;
    if (!root->timer_ns || !root->pending) return -1;
    uint64_t now = orm_now_ns();
    if (now >= root->timer_ns) return 0;
    uint64_t ms = (root->timer_ns - now) / ORM_NS_PER_MS + 1;
    return ms > INT32_MAX ? INT32_MAX : (int)ms;
}

void orm_set_defer(orm_engine *engine, orm_defer_fn fn, void *user)
{
    engine->root->defer = fn;
    engine->root->defer_user = user;
}

void orm_engine_set_caller(orm_engine *engine, const void *caller)
{
    engine->root->caller = caller;
}

void orm_engine_set_observer(orm_engine *engine, orm_observer_fn fn, void *user)
{
    engine->root->observer = fn;
    engine->root->observer_user = user;
}

/* What is with a worker or being connected counts. */
static bool has_connection(const orm_lane *lane)
{
    return lane && (lane->on_worker || lane->conn || lane->attempt);
}

void orm_engine_get_stats(const orm_engine *engine, orm_engine_stats *out)
{
    orm_root *root = engine->root;
    *out = root->stats;
    out->operations = root->n_ops;
    out->plans = root->plans.count;
    out->connections = has_connection(root->writer);
    for (uint32_t i = 0; i < root->n_readers; i++)
        out->connections += has_connection(root->readers[i]);
    for (uint32_t i = 0; i < root->n_lanes; i++) out->connections += has_connection(root->lanes[i]);
    if (root->closed) return;
    pthread_mutex_lock(&root->pool.mutex);
    out->threads = root->pool.n_running;
    pthread_mutex_unlock(&root->pool.mutex);
    if (!root->server) return;
    out->threads += orm_crew_threads(root->connectors) + orm_crew_threads(root->canceller);
}

/* ---- the end ---- */

static void fail_pending(orm_root *root)
{
    while (root->pending) {
        orm_op *op = root->pending;
        if (op->state == ORM_OP_RUNNING) {
            /* On a worker: it has ended there, or is a group whose end does not matter now. */
            orm_timer_forget(op);
            continue;
        }
        if (op->state == ORM_OP_LIVE || op->state == ORM_OP_WAITING) orm_live_end(op);
        orm_op_complete(op, orm_fail(&op->error, ORM_EPOOLCLOSED, "the engine was closed"));
    }
}

/* What waits for a server is told there to end, by the workers: else it would run on. */
static void stop_running(orm_root *root)
{
    for (orm_op *op = root->pending, *next; op; op = next) {
        next = op->pending_next;
        if (op->state == ORM_OP_WAITING && !op->ends_tx) {
            orm_server_stop(op, orm_fail(&op->error, ORM_EPOOLCLOSED, "the engine was closed"));
            continue;
        }
        if (op->state != ORM_OP_RUNNING || op->grouped || op->ends_tx || !op->lane) continue;
        if (op->lane->on_worker) __atomic_store_n(&op->lane->budget.stop, 1, __ATOMIC_RELAXED);
    }
}

/* What a worker still has when nobody waits for it any more is leaked with it: a server does not
 * answer there. */
static void leave_running(orm_root *root)
{
    orm_root_ref(root);
    for (uint32_t i = 0; i < root->n_lanes; i++) {
        orm_lane *lane = root->lanes[i];
        if (!lane->on_worker) continue;
        for (orm_op *op = lane->ops; op; op = op->lane_next)
            if (!op->abandoned) orm_op_abandon(op);
    }
}

static void free_lanes(orm_root *root)
{
    orm_lane_free(root->writer);
    for (uint32_t i = 0; i < root->n_readers; i++) orm_lane_free(root->readers[i]);
    for (uint32_t i = 0; i < root->n_lanes; i++)
        if (!root->lanes[i]->on_worker) orm_lane_free(root->lanes[i]);
    root->writer = NULL;
    root->n_readers = root->n_lanes = 0;
    orm_dealloc(root->lanes);
    root->lanes = NULL;
}

static void free_ops(orm_root *root)
{
    while (root->free_ops) {
        orm_op *op = root->free_ops;
        root->free_ops = op->next;
        orm_arena_dispose(&op->arena);
        orm_dealloc(op);
    }
    root->n_free = 0;
}

static void close_root(orm_root *root)
{
    if (root->closed) return;
    __atomic_store_n(&root->closed, true, __ATOMIC_RELAXED); /* workers look at it */
    root->processing++;
    stop_running(root);
    uint64_t until = orm_now_ns() + ORM_CLOSE_NS;
    orm_connect_stop(root);
    bool all = orm_pool_stop(&root->pool, root->server ? ORM_CLOSE_NS : 0);
    if (!all) pthread_mutex_lock(&root->pool.mutex);
    orm_lane *done = orm_pool_take_done(&root->pool);
    if (!all) pthread_mutex_unlock(&root->pool.mutex);
    for (orm_lane *lane = done, *next; lane; lane = next) {
        next = lane->next;
        orm_lane_back(lane);
    }
    if (!all) leave_running(root);
    fail_pending(root);
    orm_tx_resume(root);
    /* Callbacks may start others, which fail at once: not without end. */
    for (int i = 0; i < 1000 && root->ended.count; i++) (void)call_back(root, UINT64_MAX);
    root->processing--;
    free_lanes(root);
    if (root->connectors) orm_crew_close(root->connectors, true, until);
    /* a worker that was left may be waiting there: leaked with the engine */
    if (root->canceller && all) orm_crew_close(root->canceller, false, until);
    free_ops(root);
    orm_plans_dispose(&root->plans);
    close_descriptors(root);
    orm_root_unref(root);
}

void orm_close_engine(orm_engine *engine)
{
    if (!engine) return;
    orm_root *root = engine->root;
    orm_status status = orm_root_check(root, NULL);
    if (status == ORM_EFORKED) {
        /* The parent's sessions and locks are its own: everything else is left alone. */
        if (!engine->is_tx) {
            close_descriptors(root);
            if (root->connectors) (void)close(orm_crew_fd(root->connectors));
        }
        return;
    }
    if (status < 0) return;
    if (engine->is_tx)
        orm_tx_close((orm_tx *)engine);
    else
        close_root(root);
}
