/* route_driver.c - the driver's side of a route: requests out, replies in; no Python here.
 *
 * It runs on the engine's thread and on workers.  A connection is a line to the hub and a
 * descriptor that its reply makes readable.
 */
#include <errno.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "route.h"

#define PART_BYTES ((size_t)4096 - sizeof(struct route_part))
#define ROWS_PER_LOOK 32 /* between two looks at the clock */

/* ---- memory ------------------------------------------------------------------------------ */

struct route_part {
    struct route_part *previous;
    size_t used, size;
    _Alignas(16) char bytes[];
};

void *route_memory_take(route_memory *self, size_t size)
{
    size = (size + 15) & ~(size_t)15;
    struct route_part *part = self->last;
    if (!part || part->size - part->used < size) {
        size_t room = size > PART_BYTES ? size : PART_BYTES;
        part = malloc(sizeof *part + room);
        if (!part) return NULL;
        *part = (struct route_part){.previous = self->last, .size = room};
        self->last = part;
    }
    void *result = part->bytes + part->used;
    part->used += size;
    return result;
}

void *route_memory_copy(route_memory *self, const void *bytes, size_t size)
{
    char *copy = route_memory_take(self, size + 1);
    if (!copy) return NULL;
    if (size) memcpy(copy, bytes, size);
    copy[size] = '\0';
    return copy;
}

void route_memory_free(route_memory *self)
{
    for (struct route_part *part = self->last, *previous; part; part = previous) {
        previous = part->previous;
        free(part);
    }
    self->last = NULL;
}

/* ---- hub and lines ----------------------------------------------------------------------- */

struct route_hub {
    pthread_mutex_t mutex;
    int refs; /* atomic */
    int fd;
    route_request *first, *last;
    uint64_t lines;
    bool closed; /* nobody takes requests any more */
};

struct route_line {
    route_hub *hub; /* a reference */
    int refs;       /* atomic */
    int fd;
    uint64_t number;
    uint64_t expected; /* the serial whose reply is waited for; 0 = none */
    route_reply *reply;
};

static void signal_fd(int fd)
{
    uint64_t one = 1;
    while (write(fd, &one, sizeof one) < 0 && errno == EINTR) {
    }
}

static void quiet_fd(int fd)
{
    uint64_t count;
    while (read(fd, &count, sizeof count) < 0 && errno == EINTR) {
    }
}

route_hub *route_hub_new(void)
{
    route_hub *hub = calloc(1, sizeof *hub);
    if (!hub) return NULL;
    hub->refs = 1;
    hub->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (hub->fd >= 0 && pthread_mutex_init(&hub->mutex, NULL) == 0) return hub;
    if (hub->fd >= 0) (void)close(hub->fd);
    free(hub);
    return NULL;
}

void route_hub_unref(route_hub *hub)
{
    if (!hub || __atomic_sub_fetch(&hub->refs, 1, __ATOMIC_ACQ_REL)) return;
    /* each request holds a line, and each line the hub: it was closed, and its queue is empty */
    (void)close(hub->fd);
    pthread_mutex_destroy(&hub->mutex);
    free(hub);
}

int route_hub_fd(const route_hub *hub)
{
    return hub->fd;
}

static bool is_closed(route_hub *hub)
{
    pthread_mutex_lock(&hub->mutex);
    bool closed = hub->closed;
    pthread_mutex_unlock(&hub->mutex);
    return closed;
}

static void line_unref(route_line *line)
{
    if (__atomic_sub_fetch(&line->refs, 1, __ATOMIC_ACQ_REL)) return;
    route_reply_free(line->reply);
    (void)close(line->fd);
    route_hub_unref(line->hub);
    free(line);
}

uint64_t route_line_number(const route_line *line)
{
    return line->number;
}

static route_line *line_new(route_hub *hub)
{
    route_line *line = calloc(1, sizeof *line);
    if (!line) return NULL;
    line->fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    if (line->fd < 0) {
        free(line);
        return NULL;
    }
    line->refs = 1;
    line->hub = hub;
    __atomic_add_fetch(&hub->refs, 1, __ATOMIC_RELAXED);
    line->number = __atomic_add_fetch(&hub->lines, 1, __ATOMIC_RELAXED);
    return line;
}

/* ---- requests and replies ---------------------------------------------------------------- */

void route_request_free(route_request *request)
{
    if (!request) return;
    route_memory_free(&request->memory);
    line_unref(request->line);
    free(request);
}

static route_request *request_new(route_line *line, int kind, uint64_t serial)
{
    route_request *request = calloc(1, sizeof *request);
    if (!request) return NULL;
    request->kind = (uint8_t)kind;
    request->serial = serial;
    request->line = line;
    __atomic_add_fetch(&line->refs, 1, __ATOMIC_RELAXED);
    return request;
}

static void route_post(route_request *request)
{
    route_hub *hub = request->line->hub;
    pthread_mutex_lock(&hub->mutex);
    bool closed = hub->closed;
    if (!closed) {
        if (request->kind == ROUTE_RUN) request->line->expected = request->serial;
        if (hub->last)
            hub->last->next = request;
        else
            hub->first = request;
        hub->last = request;
    }
    pthread_mutex_unlock(&hub->mutex);
    if (closed)
        route_request_free(request);
    else
        signal_fd(hub->fd);
}

void route_hub_close(route_hub *hub)
{
    pthread_mutex_lock(&hub->mutex);
    hub->closed = true;
    pthread_mutex_unlock(&hub->mutex);
    for (route_request *request; (request = route_hub_take(hub));) route_request_free(request);
}

route_request *route_hub_take(route_hub *hub)
{
    pthread_mutex_lock(&hub->mutex);
    route_request *request = hub->first;
    if (request) {
        hub->first = request->next;
        if (!hub->first) hub->last = NULL;
        request->next = NULL;
    } else {
        quiet_fd(hub->fd);
    }
    pthread_mutex_unlock(&hub->mutex);
    return request;
}

/* Takes a statement back that nobody has seen yet. */
static bool request_withdraw(route_line *line, uint64_t serial)
{
    route_hub *hub = line->hub;
    route_request *found = NULL;
    pthread_mutex_lock(&hub->mutex);
    for (route_request **place = &hub->first, *last = NULL; *place; place = &(*place)->next) {
        if ((*place)->line == line && (*place)->serial == serial && (*place)->kind == ROUTE_RUN) {
            found = *place;
            *place = found->next;
            if (hub->last == found) hub->last = last;
            line->expected = 0;
            break;
        }
        last = *place;
    }
    pthread_mutex_unlock(&hub->mutex);
    route_request_free(found);
    return found != NULL;
}

route_reply *route_reply_new(void)
{
    return calloc(1, sizeof(route_reply));
}

void route_reply_free(route_reply *reply)
{
    if (!reply) return;
    route_memory_free(&reply->memory);
    free(reply);
}

void route_answer(const route_request *request, route_reply *reply)
{
    route_line *line = request->line;
    pthread_mutex_lock(&line->hub->mutex);
    bool awaited = line->expected == request->serial;
    if (awaited) {
        line->reply = reply;
        line->expected = 0;
    }
    pthread_mutex_unlock(&line->hub->mutex);
    if (awaited)
        signal_fd(line->fd);
    else
        route_reply_free(reply);
}

static route_reply *take_reply(route_line *line)
{
    pthread_mutex_lock(&line->hub->mutex);
    route_reply *reply = line->reply;
    line->reply = NULL;
    pthread_mutex_unlock(&line->hub->mutex);
    if (reply) quiet_fd(line->fd);
    return reply;
}

/* ---- the connection ---------------------------------------------------------------------- */

struct orm_conn {
    orm_conn_base base;
    route_line *line;
    uint64_t serial; /* of the last statement */
    bool left;       /* its reply is still to come, for nobody */
    bool in_transaction;
};

struct orm_stmt {
    char *sql;
    size_t len;
    const orm_value *params; /* borrowed until reset */
    size_t n_params;
    bool sent;
    route_reply *reply;
    size_t row; /* the next one to deliver */
};

static orm_status fail(orm_error *err, orm_status status, const char *message)
{
    if (!err) return status;
    *err = (orm_error){.status = status};
    (void)snprintf(err->message, sizeof err->message, "%s", message);
    return status;
}

static orm_status fail_memory(orm_error *err)
{
    return fail(err, ORM_ENOMEM, "out of memory");
}

static orm_status open_on(const orm_driver *driver, const orm_conn_config *config, orm_conn **out,
                          orm_error *err)
{
    orm_conn *conn = calloc(1, sizeof *conn);
    route_line *line = conn ? line_new(config->driver_user) : NULL;
    if (!line) {
        free(conn);
        return fail_memory(err);
    }
    conn->base = (orm_conn_base){driver, line->fd};
    conn->line = line;
    *out = conn;
    return ORM_OK;
}

static void route_close(orm_conn *conn)
{
    if (!conn) return;
    route_line *line = conn->line;
    if (conn->left) (void)request_withdraw(line, conn->serial);
    pthread_mutex_lock(&line->hub->mutex);
    line->expected = 0;
    pthread_mutex_unlock(&line->hub->mutex);
    route_request *farewell = request_new(line, ROUTE_CLOSE, conn->serial);
    if (farewell) route_post(farewell);
    line_unref(line);
    free(conn);
}

static int route_state(const orm_conn *conn)
{
    if (is_closed(conn->line->hub)) return ORM_CONN_BROKEN;
    if (conn->left) return ORM_CONN_BUSY;
    return conn->in_transaction ? ORM_CONN_IN_TX : ORM_CONN_IDLE;
}

static orm_status route_prepare(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                                orm_stmt **out, orm_error *err)
{
    (void)conn, (void)budget;
    orm_stmt *stmt = calloc(1, sizeof *stmt);
    if (stmt) stmt->sql = malloc(len + 1);
    if (!stmt || !stmt->sql) {
        free(stmt);
        return fail_memory(err);
    }
    memcpy(stmt->sql, sql, len);
    stmt->sql[len] = '\0';
    stmt->len = len;
    *out = stmt;
    return ORM_OK;
}

/* Without a reply nothing is left to wait for; with one that is to come it is `left`. */
static void route_reset(orm_conn *conn, orm_stmt *stmt)
{
    if (stmt->sent && !stmt->reply) conn->left = !request_withdraw(conn->line, conn->serial);
    route_reply_free(stmt->reply);
    stmt->reply = NULL;
    stmt->sent = false;
    stmt->params = NULL;
    stmt->n_params = stmt->row = 0;
}

static void route_finalize(orm_conn *conn, orm_stmt *stmt)
{
    if (!stmt) return;
    route_reset(conn, stmt);
    free(stmt->sql);
    free(stmt);
}

static size_t route_column_count(orm_stmt *stmt)
{
    return stmt->reply ? stmt->reply->n_columns : 0;
}

static const char *route_column_name(orm_stmt *stmt, size_t i)
{
    return stmt->reply && i < stmt->reply->n_columns ? stmt->reply->names[i] : NULL;
}

static bool route_is_readonly(orm_stmt *stmt)
{
    (void)stmt;
    return false; /* nobody here knows */
}

static orm_status route_start(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                              orm_error *err)
{
    (void)conn, (void)err;
    stmt->params = params;
    stmt->n_params = n;
    return ORM_OK;
}

/* ---- a statement on its way -------------------------------------------------------------- */

static bool copy_values(route_memory *memory, const orm_value *from, size_t n, orm_value **out)
{
    orm_value *to = *out = route_memory_take(memory, (n ? n : 1) * sizeof *to);
    bool ok = to != NULL;
    for (size_t i = 0; ok && i < n; i++) {
        to[i] = from[i];
        to[i].release = NULL;
        to[i].owner = NULL;
        if (from[i].kind == ORM_V_LIST) {
            orm_value *members;
            ok = copy_values(memory, from[i].as.list, from[i].len, &members);
            to[i].as.list = members;
        } else if (from[i].kind == ORM_V_TEXT || from[i].kind == ORM_V_BLOB ||
                   from[i].kind == ORM_V_UUID) {
            to[i].as.ptr = route_memory_copy(memory, from[i].as.ptr, from[i].len);
            ok = to[i].as.ptr != NULL;
        }
    }
    return ok;
}

static orm_status send(orm_conn *conn, orm_stmt *stmt, orm_error *err)
{
    route_request *request = request_new(conn->line, ROUTE_RUN, conn->serial + 1);
    if (!request) return fail_memory(err);
    request->sql = route_memory_copy(&request->memory, stmt->sql, stmt->len);
    request->sql_len = stmt->len;
    request->n_values = stmt->n_params;
    if (!request->sql ||
        !copy_values(&request->memory, stmt->params, stmt->n_params, &request->values)) {
        route_request_free(request);
        return fail_memory(err);
    }
    conn->serial++;
    stmt->sent = true;
    route_post(request);
    return ORM_WANT_READ;
}

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static orm_status keep_waiting(const orm_conn *conn, const orm_budget *budget, orm_error *err)
{
    if (is_closed(conn->line->hub))
        return fail(err, ORM_ECONNLOST, "the connection that runs this statement is gone");
    if (__atomic_load_n(&budget->stop, __ATOMIC_RELAXED))
        return fail(err, ORM_ECANCELLED, "the statement was cancelled");
    if (budget->deadline_ns && now_ns() >= budget->deadline_ns)
        return fail(err, ORM_EQUERYTIMEOUT, "the query did not end within its timeout");
    return ORM_WANT_READ;
}

/* Where the server gives no key by itself an INSERT … RETURNING does. */
static int64_t generated_key(const orm_stmt *stmt)
{
    const route_reply *reply = stmt->reply;
    if (reply->key || !reply->n_rows || !reply->n_columns) return reply->key;
    const orm_cell *last = &reply->cells[(reply->n_rows - 1) * reply->n_columns];
    return last->kind == ORM_V_INT && strncasecmp(stmt->sql, "INSERT", 6) == 0 ? last->as.i : 0;
}

static orm_status deliver(orm_stmt *stmt, const orm_row_target *target, const orm_budget *budget,
                          orm_exec_info *info, orm_error *err)
{
    const route_reply *reply = stmt->reply;
    if (reply->error.status < 0) {
        if (err) *err = reply->error;
        return reply->error.status;
    }
    orm_status status = ORM_OK;
    while (stmt->row < reply->n_rows && status == ORM_OK) {
        size_t row = stmt->row++;
        if (target && target->row)
            status = target->row(target->self, &reply->cells[row * reply->n_columns], err);
        if (status == ORM_OK && budget->yield_ns && stmt->row % ROWS_PER_LOOK == 0 &&
            now_ns() >= budget->yield_ns)
            return ORM_PENDING;
    }
    if (status < 0) return status;
    *info = (orm_exec_info){.affected = reply->affected,
                            .last_key = generated_key(stmt),
                            .delivered = (int64_t)reply->n_rows};
    return ORM_DONE;
}

/* ORM_OK: what was left behind has ended. */
static orm_status settle(orm_conn *conn)
{
    if (!conn->left) return ORM_OK;
    route_reply *reply = take_reply(conn->line);
    if (!reply) return ORM_WANT_READ;
    conn->in_transaction = reply->in_transaction;
    conn->left = false;
    route_reply_free(reply);
    return ORM_OK;
}

static orm_status route_settle(orm_conn *conn, orm_error *err)
{
    (void)err;
    return settle(conn);
}

static orm_status route_step(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                             orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    if (!stmt->sent) {
        orm_status status = settle(conn);
        return status == ORM_OK ? send(conn, stmt, err) : keep_waiting(conn, budget, err);
    }
    if (!stmt->reply) {
        stmt->reply = take_reply(conn->line);
        if (!stmt->reply) return keep_waiting(conn, budget, err);
        conn->in_transaction = stmt->reply->in_transaction;
    }
    return deliver(stmt, target, budget, info, err);
}

/* It names the statement: nobody else can be hit. */
typedef struct route_kill {
    orm_kill kill;
    route_request *request; /* NULL: posted */
} route_kill;

static orm_status kill_send(orm_kill *kill, orm_error *err)
{
    route_kill *self = (route_kill *)(void *)kill;
    (void)err;
    if (self->request) route_post(self->request);
    self->request = NULL;
    return ORM_OK;
}

static void kill_free(orm_kill *kill)
{
    route_kill *self = (route_kill *)(void *)kill;
    route_request_free(self->request);
    free(self);
}

static orm_status route_cancel(orm_conn *conn, orm_kill **out, orm_error *err)
{
    route_kill *self = calloc(1, sizeof *self);
    if (self) self->request = request_new(conn->line, ROUTE_CANCEL, conn->serial);
    if (!self || !self->request) {
        free(self);
        return fail_memory(err);
    }
    self->kill = (orm_kill){.send = kill_send, .free = kill_free};
    *out = &self->kill;
    return ORM_OK;
}

/* ---- the tables: one for each dialect ---------------------------------------------------- */

#define ROUTE_DRIVER(dialect)                                                       \
    static const orm_driver dialect##_route;                                        \
    static orm_status dialect##_open(const orm_conn_config *config, orm_conn **out, \
                                     orm_error *err)                                \
    {                                                                               \
        return open_on(&dialect##_route, config, out, err);                         \
    }                                                                               \
    static const orm_driver dialect##_route = {                                     \
        .size = sizeof(orm_driver),                                                 \
        .flags = ORM_DRIVER_GUEST,                                                  \
        .name = #dialect,                                                           \
        .open = dialect##_open,                                                     \
        .close = route_close,                                                       \
        .state = route_state,                                                       \
        .prepare = route_prepare,                                                   \
        .finalize = route_finalize,                                                 \
        .column_count = route_column_count,                                         \
        .column_name = route_column_name,                                           \
        .is_readonly = route_is_readonly,                                           \
        .start = route_start,                                                       \
        .step = route_step,                                                         \
        .reset = route_reset,                                                       \
        .cancel = route_cancel,                                                     \
        .settle = route_settle,                                                     \
    };
ROUTE_DRIVER(sqlite)
ROUTE_DRIVER(postgresql)
ROUTE_DRIVER(mariadb)

const orm_driver *route_driver(const char *dialect)
{
    static const orm_driver *const drivers[] = {&sqlite_route, &postgresql_route, &mariadb_route};
    for (size_t i = 0; i < sizeof drivers / sizeof *drivers; i++)
        if (strcmp(drivers[i]->name, dialect) == 0) return drivers[i];
    return NULL;
}
