/* lane.c - a connection with its prepared statements: the one place where statements run.
 *
 * Every statement of every operation goes through orm_lane_step, whoever holds the lane: the
 * engine's thread with a short budget, a worker with a long one.  A lane has at most one
 * statement under way.
 */
#include "engine.h"
#include "../sql/dialect.h"

static const char *control_sql(const orm_lane *lane, int control)
{
    const orm_dialect *dialect = lane->root->dialect;
    switch (control) {
    case ORM_CONTROL_BEGIN:
        return dialect->begin_read ? dialect->begin_read : "START TRANSACTION READ ONLY";
    case ORM_CONTROL_BEGIN_WRITE: return dialect->begin_write ? dialect->begin_write : "BEGIN";
    case ORM_CONTROL_COMMIT: return "COMMIT";
    case ORM_CONTROL_SAVEPOINT: return "SAVEPOINT orm_script";
    case ORM_CONTROL_RELEASE: return "RELEASE SAVEPOINT orm_script";
    case ORM_CONTROL_UNDO: return "ROLLBACK TO orm_script";
    default: return "ROLLBACK";
    }
}

orm_lane *orm_lane_new(orm_root *root)
{
    orm_lane *lane = orm_alloc0(sizeof *lane);
    if (!lane) return NULL;
    lane->prepared = orm_alloc0(root->plans.n_slots * sizeof *lane->prepared);
    if (!lane->prepared) {
        orm_dealloc(lane);
        return NULL;
    }
    lane->root = root;
    lane->driver = root->driver;
    lane->fd = -1;
    return lane;
}

orm_status orm_lane_open(orm_lane *lane)
{
    if (lane->conn) return ORM_OK;
    orm_conn_config config;
    orm_db_config(lane->root->db, &config);
    lane->opened = lane->driver->open(&config, &lane->conn, &lane->error);
    if (lane->opened < 0) {
        lane->conn = NULL;
    } else if (lane->driver->write_counter) {
        lane->counter = lane->driver->write_counter(lane->conn);
    }
    return lane->opened;
}

void orm_lane_close(orm_lane *lane)
{
    if (!lane->conn) return;
    orm_socket_forget(lane);
    lane->generation++;
    orm_lane_abandon(lane, &lane->text);
    for (uint32_t i = 0; i < lane->root->plans.n_slots; i++) {
        lane->driver->finalize(lane->conn, lane->prepared[i].stmt);
        lane->prepared[i] = (orm_prepared){0};
    }
    for (int i = 0; i < ORM_CONTROL_COUNT; i++) {
        lane->driver->finalize(lane->conn, lane->control[i]);
        lane->control[i] = NULL;
    }
    lane->driver->close(lane->conn);
    lane->conn = NULL;
    lane->counter = NULL;
    lane->shared = lane->traced = false;
}

void orm_lane_free(orm_lane *lane)
{
    if (!lane) return;
    orm_lane_close(lane);
    for (size_t i = 0; i < lane->n_notes; i++) orm_dealloc(lane->notes[i].sql);
    orm_dealloc(lane->prepared);
    orm_dealloc(lane->notes);
    orm_dealloc(lane);
}

void orm_lane_arm(orm_lane *lane, uint64_t yield_ns, uint64_t deadline_ns, uint64_t lock_ns)
{
    lane->budget.yield_ns = yield_ns;
    lane->budget.deadline_ns = deadline_ns;
    lane->budget.lock_deadline_ns = lock_ns;
    lane->budget.rewound = false;
    __atomic_store_n(&lane->budget.stop, 0, __ATOMIC_RELAXED);
}

bool orm_lane_in_transaction(const orm_lane *lane)
{
    return lane->conn && lane->driver->state(lane->conn) == ORM_CONN_IN_TX;
}

bool orm_lane_has_lost(const orm_lane *lane)
{
    if (!lane->conn) return true;
    int state = lane->driver->state(lane->conn);
    return state == ORM_CONN_IDLE || state == ORM_CONN_BROKEN;
}

/* Observers are a convenience: a note for which there is no memory is dropped. */
static void add_note(orm_lane *lane, const orm_task *task, orm_status status)
{
    if (lane->n_notes == lane->max_notes) {
        size_t max = lane->max_notes ? lane->max_notes * 2 : 8;
        orm_note *notes = orm_realloc(lane->notes, max * sizeof *notes);
        if (!notes) return;
        lane->notes = notes;
        lane->max_notes = max;
    }
    char *sql = orm_strdup_n(task->plan->sql, task->plan->sql_len);
    if (!sql) return;
    lane->notes[lane->n_notes++] = (orm_note){
        .sql = sql,
        .len = task->plan->sql_len,
        .duration_ns = orm_now_ns() - task->began_ns,
        .rows = task->info.affected ? task->info.affected : task->info.delivered,
        .params = (uint32_t)task->n_params,
        .status = status < 0 ? status : ORM_OK,
    };
}

void orm_lane_tell(orm_lane *lane)
{
    orm_root *root = lane->root;
    for (size_t i = 0; i < lane->n_notes; i++) {
        orm_note *note = &lane->notes[i];
        orm_event event = {.sql = {note->sql, note->len},
                           .duration_ns = note->duration_ns,
                           .rows = note->rows,
                           .params = note->params,
                           .status = note->status,
                           .inline_ = lane->inline_};
        root->in_callback++;
        if (root->observer) root->observer(&event, root->observer_user);
        root->in_callback--;
        orm_dealloc(note->sql);
    }
    lane->n_notes = 0;
}

/* The prepared statement of a plan: one index when it is known.  Statements of plans that were
 * dropped from the cache go when their slot is used again. */
static orm_status find_stmt(orm_lane *lane, orm_task *task, orm_budget *budget, orm_error *err)
{
    orm_plan *plan = task->plan;
    const orm_driver *driver = lane->driver;
    if (plan->serial == 0) {
        task->once = true;
        return driver->prepare(lane->conn, plan->sql, plan->sql_len, budget, &task->stmt, err);
    }
    orm_prepared *prepared = &lane->prepared[plan->slot];
    uint32_t epoch = __atomic_load_n(&lane->root->epoch, __ATOMIC_RELAXED);
    if (ORM_UNLIKELY(prepared->serial != plan->serial || prepared->epoch != epoch)) {
        driver->finalize(lane->conn, prepared->stmt);
        *prepared = (orm_prepared){.epoch = epoch};
        ORM_TRY(
            driver->prepare(lane->conn, plan->sql, plan->sql_len, budget, &prepared->stmt, err));
        prepared->serial = plan->serial;
    }
    task->stmt = prepared->stmt;
    return ORM_OK;
}

static void end_task(orm_lane *lane, orm_task *task)
{
    if (!task->stmt) return;
    lane->driver->reset(lane->conn, task->stmt);
    if (task->once) lane->driver->finalize(lane->conn, task->stmt);
    task->stmt = NULL;
    task->started = task->once = task->again = false;
}

void orm_lane_abandon(orm_lane *lane, orm_task *task)
{
    end_task(lane, task);
}

static orm_status find(orm_lane *lane, orm_task *task, orm_budget *budget, orm_error *err)
{
    if (task->stmt) return ORM_OK;
    if (ORM_UNLIKELY(lane->observed)) task->began_ns = orm_now_ns();
    return find_stmt(lane, task, budget, err);
}

orm_status orm_lane_find(orm_lane *lane, orm_task *task, orm_error *err)
{
    return find(lane, task, &lane->budget, err);
}

/* Its table has changed since it was prepared: once more, from the beginning. */
static orm_status find_anew(orm_lane *lane, orm_task *task, orm_budget *budget, orm_error *err)
{
    orm_prepared *prepared = &lane->prepared[task->plan->slot];
    bool kept = task->plan->serial && prepared->serial == task->plan->serial;
    end_task(lane, task);
    if (kept) {
        lane->driver->finalize(lane->conn, prepared->stmt);
        *prepared = (orm_prepared){0};
    }
    orm_error_clear(err);
    return find_stmt(lane, task, budget, err);
}

/* The driver's step; a worker waits here for a server, the engine's thread never. */
static orm_status drive(orm_lane *lane, orm_task *task, orm_budget *budget, orm_error *err)
{
    for (;;) {
        orm_status status = lane->driver->step(lane->conn, task->stmt, &task->target, budget,
                                               &task->info, err);
        if (status != ORM_WANT_READ && status != ORM_WANT_WRITE) return status;
        if (!lane->on_worker) return status;
        orm_socket_wait(lane, status, budget);
    }
}

/* In a transaction that has failed nothing can be run again. */
static bool may_run_again(const orm_lane *lane, const orm_task *task, orm_status status)
{
    return status == ORM_ECACHEDSTMT && !task->again &&
           lane->driver->state(lane->conn) < ORM_CONN_FAILED_TX;
}

static orm_status step(orm_lane *lane, orm_task *task, orm_budget *budget, orm_error *err)
{
    const orm_driver *driver = lane->driver;
    orm_status status = find(lane, task, budget, err);
restart:
    if (status >= 0 && !task->started) {
        status = driver->start(lane->conn, task->stmt, task->params, task->n_params, err);
        task->started = status >= 0;
        task->info = (orm_exec_info){0};
    }
    if (status >= 0) status = drive(lane, task, budget, err);
    if (status >= ORM_PENDING) {
        if (status == ORM_PENDING && budget->rewound) task->started = false;
        return status;
    }
    if (ORM_UNLIKELY(may_run_again(lane, task, status))) {
        status = find_anew(lane, task, budget, err);
        task->again = true;
        goto restart;
    }
    if (status >= 0 && task->at_end) status = task->at_end(task->target.self, err);
    /* it could not be run again: whoever tries once more may meet any connection */
    if (ORM_UNLIKELY(status == ORM_ECACHEDSTMT))
        __atomic_add_fetch(&lane->root->epoch, 1, __ATOMIC_RELAXED);
    end_task(lane, task);
    if (ORM_UNLIKELY(lane->observed)) add_note(lane, task, status);
    return status;
}

orm_status orm_lane_step(orm_lane *lane, orm_task *task, orm_error *err)
{
    return step(lane, task, &lane->budget, err);
}

/* Text of our own, which is not in the cache of plans; `keep` holds its statement.  What waits
 * for a server on the engine's thread gives back ORM_WANT_…: the same call goes on with it. */
static orm_status exec_text(orm_lane *lane, const char *sql, size_t len, orm_stmt **keep,
                            orm_budget *budget, orm_error *err)
{
    orm_task *task = &lane->text;
    if (!task->stmt) {
        lane->text_plan = (orm_plan){.sql = sql, .sql_len = len};
        *task = (orm_task){.plan = &lane->text_plan};
        if (lane->observed) task->began_ns = orm_now_ns();
        if (keep) {
            if (!*keep) ORM_TRY(lane->driver->prepare(lane->conn, sql, len, budget, keep, err));
            task->stmt = *keep;
        }
    }
    lane->text_plan.sql = sql;
    orm_status status;
    do {
        status = step(lane, task, budget, err);
    } while (status == ORM_PENDING);
    return status == ORM_DONE ? ORM_OK : status;
}

bool orm_lane_has_text(const orm_lane *lane)
{
    return lane->text.stmt != NULL;
}

/* Only remembered: the next statement takes it along. */
static orm_status lead(orm_lane *lane, const char *sql, size_t len, orm_error *err)
{
    orm_plan plan = {.sql = sql, .sql_len = len};
    orm_task task = {.plan = &plan};
    ORM_TRY(lane->driver->lead(lane->conn, sql, len, err));
    if (ORM_UNLIKELY(lane->observed)) {
        task.began_ns = orm_now_ns();
        add_note(lane, &task, ORM_OK);
    }
    return ORM_OK;
}

orm_status orm_lane_begin(orm_lane *lane, const char *sql, size_t len, orm_error *err)
{
    return lane->driver->lead ? lead(lane, sql, len, err) : orm_lane_exec(lane, sql, len, err);
}

/* Where the statement of a control is kept; a savepoint's on a server is sent as text. */
static orm_stmt **kept(orm_lane *lane, int control)
{
    bool as_text = lane->root->server && control >= ORM_CONTROL_SAVEPOINT;
    return as_text ? NULL : &lane->control[control];
}

/* What undoes must not need memory when memory is what has run out: it is prepared before there
 * is anything to undo.  A server's connection that cannot be rolled back is given up instead. */
static orm_status ready(orm_lane *lane, int control, orm_error *err)
{
    orm_stmt **keep = &lane->control[control];
    const char *sql = control_sql(lane, control);
    if (ORM_LIKELY(*keep) || lane->root->server) return ORM_OK;
    return lane->driver->prepare(lane->conn, sql, strlen(sql), &lane->budget, keep, err);
}

orm_status orm_lane_control(orm_lane *lane, int control, orm_error *err)
{
    const char *sql = control_sql(lane, control);
    bool saves = control == ORM_CONTROL_SAVEPOINT;
    bool begins = saves || control == ORM_CONTROL_BEGIN || control == ORM_CONTROL_BEGIN_WRITE;
    if (begins && lane->driver->lead) return lead(lane, sql, strlen(sql), err);
    if (begins) ORM_TRY(ready(lane, saves ? ORM_CONTROL_UNDO : ORM_CONTROL_ROLLBACK, err));
    if (saves) ORM_TRY(ready(lane, ORM_CONTROL_RELEASE, err));
    return exec_text(lane, sql, strlen(sql), kept(lane, control), &lane->budget, err);
}

orm_status orm_lane_exec(orm_lane *lane, const char *sql, size_t len, orm_error *err)
{
    return exec_text(lane, sql, len, NULL, &lane->budget, err);
}

static orm_status undo(orm_lane *lane, const char *sql, size_t len, orm_stmt **keep, orm_error *err)
{
    orm_budget budget = {.stop = 0}; /* its own: what was told to stop must still be undone */
    if (lane->root->server) budget.deadline_ns = orm_now_ns() + ORM_SETTLE_NS;
    return exec_text(lane, sql, len, keep, &budget, err);
}

orm_status orm_lane_undo(orm_lane *lane, const char *sql, size_t len, orm_error *err)
{
    return undo(lane, sql, len, NULL, err);
}

static void undo_control(orm_lane *lane, int control)
{
    const char *sql = control_sql(lane, control);
    (void)undo(lane, sql, strlen(sql), lane->root->server ? NULL : &lane->control[control], NULL);
}

void orm_lane_undo_script(orm_lane *lane)
{
    undo_control(lane, ORM_CONTROL_UNDO);
    undo_control(lane, ORM_CONTROL_RELEASE);
}

void orm_lane_rollback(orm_lane *lane)
{
    if (!lane->conn || lane->driver->state(lane->conn) == ORM_CONN_IDLE) return;
    undo_control(lane, ORM_CONTROL_ROLLBACK);
}

void orm_lane_end_shared(orm_lane *lane)
{
    if (!lane->shared) return;
    lane->shared = false;
    orm_lane_arm(lane, 0, 0, 0);
    if (orm_lane_control(lane, ORM_CONTROL_COMMIT, NULL) < 0) orm_lane_rollback(lane);
}
