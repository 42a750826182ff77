/* mock.c - the scripted driver of the tests. */
#include "mock.h"
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>

enum {
    MAX_ANSWERS = 64,
    MAX_CONNECTIONS = 64,
    LOG_BYTES = 65536,
    LINE_BYTES = 1024,
    NAP_US = 200,
    ROWS_PER_CHECK = 32
};

typedef struct entry {
    orm_mock_answer answer;
    int used;
} entry;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static entry entries[MAX_ANSWERS];
static size_t n_entries;
/* No allocation of the library's: tests that make those fail count them. */
static char call_log[LOG_BYTES];
static size_t log_len;
static int releases;
static int ready_fds[MAX_CONNECTIONS]; /* the write ends, + 1; 0 = free */
static size_t n_connections, n_statements, n_opening;
static volatile uint64_t commits;

struct orm_conn {
    orm_conn_base base;
    int slot; /* in ready_fds */
    int state;
};

struct orm_stmt {
    char *sql;
    entry *entry; /* NULL: a transaction statement that nobody scripted */
    bool started;
    bool rewound; /* the next start goes on with the same execution */
    const orm_value *params;
    size_t n_params;
    size_t row;             /* next to deliver */
    int pending, want_read; /* still to answer */
    bool blocks;
};

/* ---- the script ---------------------------------------------------------------------------- */

void orm_mock_reset(void)
{
    pthread_mutex_lock(&lock);
    memset(entries, 0, sizeof(entries));
    n_entries = 0;
    releases = 0;
    log_len = 0;
    call_log[0] = '\0';
    pthread_mutex_unlock(&lock);
}

void orm_mock_expect(const orm_mock_answer *answer)
{
    pthread_mutex_lock(&lock);
    if (n_entries < MAX_ANSWERS) entries[n_entries++].answer = *answer;
    pthread_mutex_unlock(&lock);
}

const char *orm_mock_log(void)
{
    return call_log;
}

void orm_mock_release(void)
{
    pthread_mutex_lock(&lock);
    releases++;
    pthread_mutex_unlock(&lock);
}

void orm_mock_ready(void)
{
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < MAX_CONNECTIONS; i++) {
        if (!ready_fds[i]) continue;
        while (write(ready_fds[i] - 1, "r", 1) < 0 && errno == EINTR) continue;
    }
    pthread_mutex_unlock(&lock);
}

size_t orm_mock_connections(void)
{
    return __atomic_load_n(&n_connections, __ATOMIC_ACQUIRE);
}

size_t orm_mock_opening(void)
{
    return __atomic_load_n(&n_opening, __ATOMIC_ACQUIRE);
}

size_t orm_mock_statements(void)
{
    return __atomic_load_n(&n_statements, __ATOMIC_ACQUIRE);
}

/* What does not fit any more is left out. */
ORM_PRINTF(4, 5) static void log_add(char *to, size_t size, size_t *len, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    int n = vsnprintf(to + *len, size - *len, format, args);
    va_end(args);
    *len += n < 0 ? 0 : (size_t)n;
    if (*len >= size) *len = size - 1;
}

static void log_call(const char *verb, const char *text)
{
    pthread_mutex_lock(&lock);
    log_add(call_log, LOG_BYTES, &log_len, *text ? "%s %s\n" : "%s%s\n", verb, text);
    pthread_mutex_unlock(&lock);
}

static void log_start(const char *sql, const orm_value *params, size_t n)
{
    char line[LINE_BYTES];
    size_t len = 0;
    log_add(line, sizeof(line), &len, "%s", sql);
    for (size_t i = 0; i < n; i++) {
        const orm_value *value = &params[i];
        log_add(line, sizeof(line), &len, "%s", i ? ", " : " [");
        switch (value->kind) {
        case ORM_V_NULL: log_add(line, sizeof(line), &len, "NULL"); break;
        case ORM_V_FLOAT: log_add(line, sizeof(line), &len, "%g", value->as.f); break;
        case ORM_V_TEXT:
            log_add(line, sizeof(line), &len, "'%.*s'", (int)value->len,
                    (const char *)value->as.ptr);
            break;
        case ORM_V_BLOB: log_add(line, sizeof(line), &len, "%zu bytes", value->len); break;
        default: log_add(line, sizeof(line), &len, "%lld", (long long)value->as.i); break;
        }
    }
    if (n) log_add(line, sizeof(line), &len, "]");
    log_call("start", line);
}

static bool sql_fits(const char *pattern, const char *sql)
{
    if (!pattern) return true;
    size_t n = strlen(pattern);
    if (n && pattern[n - 1] == '*') return strncmp(pattern, sql, n - 1) == 0;
    return strcmp(pattern, sql) == 0;
}

static entry *entry_find(const char *sql)
{
    entry *found = NULL;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < n_entries && !found; i++) {
        bool left = entries[i].answer.times == 0 || entries[i].used < entries[i].answer.times;
        if (left && sql_fits(entries[i].answer.sql, sql)) found = &entries[i];
    }
    pthread_mutex_unlock(&lock);
    return found;
}

static void entry_use(entry *self)
{
    pthread_mutex_lock(&lock);
    self->used++;
    pthread_mutex_unlock(&lock);
}

static bool is_any_of(const char *sql, const char *const *words)
{
    for (; *words; words++)
        if (strncasecmp(sql, *words, strlen(*words)) == 0) return true;
    return false;
}

static const char *const begins[] = {"BEGIN", NULL};
static const char *const ends[] = {"COMMIT", "ROLLBACK", NULL};
static const char *const controls[] = {"BEGIN", "COMMIT", "ROLLBACK", "SAVEPOINT", "RELEASE", NULL};
static const char *const reading[] = {"SELECT", "WITH", NULL};

static orm_status answer_fail(const orm_mock_answer *answer, orm_error *err)
{
    orm_fail(err, answer->status, "%s", answer->message ? answer->message : "scripted error");
    if (err) {
        err->native = answer->native;
        err->flags = answer->flags;
        memcpy(err->backend, "mock", sizeof("mock"));
    }
    return answer->status;
}

/* ---- connections --------------------------------------------------------------------------- */

static bool take_release(void)
{
    pthread_mutex_lock(&lock);
    bool taken = releases > 0;
    if (taken) releases--;
    pthread_mutex_unlock(&lock);
    return taken;
}

/* Blocks as looking up a name does: nothing but its release ends it. */
static void open_block(void)
{
    __atomic_add_fetch(&n_opening, 1, __ATOMIC_ACQ_REL);
    while (!take_release()) usleep(NAP_US);
    __atomic_sub_fetch(&n_opening, 1, __ATOMIC_ACQ_REL);
}

static orm_status mock_open(const orm_conn_config *config, orm_conn **out, orm_error *err)
{
    int fds[2];
    log_call("open", config->database);
    entry *scripted = entry_find("open");
    if (scripted && scripted->answer.sql) { /* "open": not an answer to any SQL */
        entry_use(scripted);
        if (scripted->answer.blocks) open_block();
        if (scripted->answer.status < 0) return answer_fail(&scripted->answer, err);
    }
    orm_conn *conn = orm_alloc0(sizeof(*conn));
    if (!conn) return orm_fail_nomem(err);
    if (pipe2(fds, O_CLOEXEC | O_NONBLOCK) != 0) {
        orm_dealloc(conn);
        return orm_fail(err, ORM_ECONNECT, "no pipe for the mock: error %d", errno);
    }
    conn->base = (orm_conn_base){.driver = &orm_mock_driver, .fd = fds[0]};
    conn->slot = -1;
    pthread_mutex_lock(&lock);
    for (int i = 0; i < MAX_CONNECTIONS && conn->slot < 0; i++)
        if (!ready_fds[i]) conn->slot = i;
    if (conn->slot >= 0) ready_fds[conn->slot] = fds[1] + 1;
    pthread_mutex_unlock(&lock);
    if (conn->slot < 0) {
        close(fds[0]);
        close(fds[1]);
        orm_dealloc(conn);
        return orm_fail(err, ORM_ECONNECT, "the mock holds at most %d connections",
                        MAX_CONNECTIONS);
    }
    __atomic_add_fetch(&n_connections, 1, __ATOMIC_ACQ_REL);
    *out = conn;
    return ORM_OK;
}

static void mock_close(orm_conn *conn)
{
    if (!conn) return;
    log_call("close", "");
    pthread_mutex_lock(&lock);
    close(ready_fds[conn->slot] - 1);
    ready_fds[conn->slot] = 0;
    pthread_mutex_unlock(&lock);
    close(conn->base.fd);
    orm_dealloc(conn);
    __atomic_sub_fetch(&n_connections, 1, __ATOMIC_ACQ_REL);
}

static int mock_state(const orm_conn *conn)
{
    return conn->state;
}

static volatile uint64_t *mock_write_counter(orm_conn *conn)
{
    (void)conn;
    return &commits;
}

/* ---- statements ---------------------------------------------------------------------------- */

static orm_status mock_prepare(orm_conn *conn, const char *sql, size_t len, orm_budget *budget,
                               orm_stmt **out, orm_error *err)
{
    (void)conn;
    (void)budget;
    orm_stmt *stmt = orm_alloc0(sizeof(*stmt));
    if (!stmt) return orm_fail_nomem(err);
    stmt->sql = orm_strdup_n(sql, len);
    if (!stmt->sql) {
        orm_dealloc(stmt);
        return orm_fail_nomem(err);
    }
    log_call("prepare", stmt->sql);
    stmt->entry = entry_find(stmt->sql);
    orm_status status = ORM_OK;
    if (stmt->entry && stmt->entry->answer.in_prepare)
        status = answer_fail(&stmt->entry->answer, err);
    else if (!stmt->entry && !is_any_of(sql, controls))
        status = orm_fail(err, ORM_ESYNTAX, "the mock has no answer to: %s", stmt->sql);
    if (status < 0) {
        orm_dealloc(stmt->sql);
        orm_dealloc(stmt);
        return status;
    }
    __atomic_add_fetch(&n_statements, 1, __ATOMIC_ACQ_REL);
    *out = stmt;
    return ORM_OK;
}

static void mock_finalize(orm_conn *conn, orm_stmt *stmt)
{
    (void)conn;
    if (!stmt) return;
    log_call("finalize", stmt->sql);
    orm_dealloc(stmt->sql);
    orm_dealloc(stmt);
    __atomic_sub_fetch(&n_statements, 1, __ATOMIC_ACQ_REL);
}

static size_t mock_column_count(orm_stmt *stmt)
{
    return stmt->entry ? stmt->entry->answer.n_columns : 0;
}

static const char *mock_column_name(orm_stmt *stmt, size_t i)
{
    static const char *const names[] = {"c1", "c2", "c3", "c4", "c5", "c6", "c7", "c8"};
    if (i >= mock_column_count(stmt)) return NULL;
    const char *const *given = stmt->entry->answer.columns;
    return given ? given[i] : names[i % ORM_COUNT(names)];
}

static bool mock_is_readonly(orm_stmt *stmt)
{
    return is_any_of(stmt->sql, reading);
}

static orm_status mock_start(orm_conn *conn, orm_stmt *stmt, const orm_value *params, size_t n,
                             orm_error *err)
{
    (void)conn;
    if (stmt->started)
        return orm_fail(err, ORM_EMISUSE, "the statement is running; reset it first");
    log_start(stmt->sql, params, n);
    stmt->params = params;
    stmt->n_params = n;
    stmt->row = 0;
    stmt->started = true;
    if (stmt->rewound) {
        stmt->rewound = false;
        return ORM_OK;
    }
    entry *found = entry_find(stmt->sql); /* an answer that was for one execution has gone */
    if (!found && stmt->entry) {
        stmt->started = false;
        return orm_fail(err, ORM_ESYNTAX, "the mock has no further answer to: %s", stmt->sql);
    }
    stmt->entry = found;
    if (!found) return ORM_OK;
    entry_use(found);
    stmt->pending = found->answer.pending;
    stmt->want_read = found->answer.want_read;
    stmt->blocks = found->answer.blocks;
    return ORM_OK;
}

/* Blocks until released, or until the budget says to end. */
static orm_status wait_for_release(const orm_budget *budget, orm_error *err)
{
    for (;;) {
        if (take_release()) return ORM_OK;
        if (budget && __atomic_load_n(&budget->stop, __ATOMIC_ACQUIRE))
            return orm_fail(err, ORM_ECANCELLED, "the statement was cancelled");
        if (budget && budget->deadline_ns && orm_now_ns() >= budget->deadline_ns)
            return orm_fail(err, ORM_EQUERYTIMEOUT, "the statement ran into its deadline");
        usleep(NAP_US);
    }
}

/* The waits that the script wants before anything else.  ORM_OK: there are none left. */
static orm_status step_waits(orm_conn *conn, orm_stmt *stmt, orm_budget *budget, orm_error *err)
{
    char byte;
    if (stmt->pending > 0) {
        stmt->pending--;
        if (stmt->entry->answer.rewinds && budget) {
            budget->rewound = stmt->rewound = true;
            stmt->started = false;
        }
        return ORM_PENDING;
    }
    if (stmt->blocks) ORM_TRY(wait_for_release(budget, err));
    stmt->blocks = false;
    while (stmt->want_read > 0) {
        if (read(conn->base.fd, &byte, 1) != 1) return ORM_WANT_READ;
        stmt->want_read--;
    }
    return ORM_OK;
}

static orm_status step_rows(orm_stmt *stmt, const orm_row_target *target, const orm_budget *budget,
                            orm_error *err)
{
    const orm_mock_answer *answer = &stmt->entry->answer;
    orm_cell echoed[16];
    const orm_cell *cells = answer->cells;
    size_t n_rows = answer->n_rows;
    if (answer->echo) {
        for (size_t i = 0; i < stmt->n_params && i < ORM_COUNT(echoed); i++) {
            const orm_value *value = &stmt->params[i];
            echoed[i] = (orm_cell){.kind = value->kind, .len = (uint32_t)value->len};
            if (value->kind == ORM_V_BOOL) echoed[i].kind = ORM_V_INT;
            if (value->kind == ORM_V_FLOAT)
                echoed[i].as.f = value->as.f;
            else if (value->kind == ORM_V_TEXT || value->kind == ORM_V_BLOB)
                echoed[i].as.ptr = value->as.ptr;
            else
                echoed[i].as.i = value->as.i;
        }
        cells = echoed;
        n_rows = 1;
    }
    while (stmt->row < n_rows && target && target->row) {
        const orm_cell *row = cells + stmt->row++ * answer->n_columns;
        orm_status status = target->row(target->self, row, err);
        if (status == ORM_DONE) return ORM_OK;
        if (status != ORM_OK) return status;
        bool look = stmt->row % ROWS_PER_CHECK == 0 && budget && budget->yield_ns;
        if (look && orm_now_ns() >= budget->yield_ns) return ORM_PENDING;
    }
    return ORM_OK;
}

static orm_status mock_step(orm_conn *conn, orm_stmt *stmt, const orm_row_target *target,
                            orm_budget *budget, orm_exec_info *info, orm_error *err)
{
    if (!stmt->started) return orm_fail(err, ORM_EMISUSE, "the statement is not running");
    log_call("step", stmt->sql);
    if (budget) budget->rewound = false;
    if (info) *info = (orm_exec_info){0};
    const orm_mock_answer *answer = stmt->entry ? &stmt->entry->answer : NULL;
    orm_status status = answer ? step_waits(conn, stmt, budget, err) : ORM_OK;
    if (status != ORM_OK) return status;
    if (answer && answer->state_after) conn->state = answer->state_after - 1;
    if (answer && answer->status < 0) return answer_fail(answer, err);
    if (answer) status = step_rows(stmt, target, budget, err);
    if (status != ORM_OK) return status;
    if (answer && info) *info = answer->info;
    if (!answer || !answer->state_after) {
        if (is_any_of(stmt->sql, begins)) conn->state = ORM_CONN_IN_TX;
        if (is_any_of(stmt->sql, ends) && !strcasestr(stmt->sql, " TO "))
            conn->state = ORM_CONN_IDLE;
    }
    if (conn->state == ORM_CONN_IDLE && !mock_is_readonly(stmt))
        __atomic_add_fetch(&commits, 1, __ATOMIC_ACQ_REL);
    return ORM_DONE;
}

static void mock_reset(orm_conn *conn, orm_stmt *stmt)
{
    log_call("reset", stmt->sql);
    if (stmt->started && stmt->want_read > 0 && stmt->entry && stmt->entry->answer.busy_when_left)
        conn->state = ORM_CONN_BUSY;
    stmt->started = false;
    stmt->params = NULL;
    stmt->n_params = 0;
}

orm_driver orm_mock_driver = {
    .size = sizeof(orm_driver),
    .name = "mock",
    .open = mock_open,
    .close = mock_close,
    .state = mock_state,
    .prepare = mock_prepare,
    .finalize = mock_finalize,
    .column_count = mock_column_count,
    .column_name = mock_column_name,
    .is_readonly = mock_is_readonly,
    .start = mock_start,
    .step = mock_step,
    .reset = mock_reset,
    .write_counter = mock_write_counter,
};
