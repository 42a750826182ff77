/* budget.c - how long a step may go on.
 *
 * Two handlers, installed once per connection, read the budget of the call that runs.  The
 * progress handler is called every thousand steps of SQLite's machine (its cost does not show)
 * and never calls sqlite3_interrupt, which would hit every statement of the connection.
 */
#include "sqlite.h"
#include <time.h>

enum {
    PROGRESS_STEPS = 1000
};

void budget_enter(orm_conn *conn, orm_budget *budget, sqlite3_stmt *running, bool may_rewind)
{
    conn->budget = budget;
    conn->running = running;
    conn->stop = STOP_NONE;
    conn->may_rewind = may_rewind;
    conn->yield_due = false;
}

void budget_leave(orm_conn *conn)
{
    conn->budget = NULL;
}

int budget_check(const orm_budget *budget)
{
    if (__atomic_load_n(&budget->stop, __ATOMIC_ACQUIRE)) return STOP_CANCEL;
    if (!budget->deadline_ns && !budget->yield_ns) return STOP_NONE;
    uint64_t now = orm_now_ns();
    if (budget->deadline_ns && now >= budget->deadline_ns) return STOP_DEADLINE;
    if (budget->yield_ns && now >= budget->yield_ns) return STOP_YIELD;
    return STOP_NONE;
}

/* A yield is first left to the next row, where the statement can simply go on later; only when
 * another thousand steps bring none is it interrupted, and started again.
 *
 * SQLite also asks after a statement has committed and before step returns: whoever says stop
 * there gets SQLITE_INTERRUPT for what has taken effect.  A statement that is over is not busy. */
static int on_progress(void *arg)
{
    orm_conn *conn = arg;
    if (!conn->budget || (conn->running && !sqlite3_stmt_busy(conn->running))) return 0;
    int stop = budget_check(conn->budget);
    if (stop == STOP_NONE) return 0;
    if (stop == STOP_YIELD) {
        bool again = conn->yield_due;
        conn->yield_due = true;
        if (!again || !conn->may_rewind) return 0;
    }
    conn->stop = stop;
    return 1;
}

static void nap(uint64_t ns)
{
    struct timespec time = {.tv_sec = (time_t)(ns / 1000000000u),
                            .tv_nsec = (long)(ns % 1000000000u)};
    nanosleep(&time, NULL);
}

/* The wait for a lock: naps of growing length, so that short locks cost little and long ones
 * few wake-ups.  Returning 0 gives up with SQLITE_BUSY. */
static int on_busy(void *arg, int count)
{
    static const uint64_t naps_us[] = {200, 500, 1000, 2000, 5000, 10000};
    orm_conn *conn = arg;
    orm_budget *budget = conn->budget;
    if (!budget || !budget->lock_deadline_ns) return 0;
    if (__atomic_load_n(&budget->stop, __ATOMIC_ACQUIRE)) {
        conn->stop = STOP_CANCEL;
        return 0;
    }
    uint64_t now = orm_now_ns();
    if (budget->deadline_ns && now >= budget->deadline_ns) {
        conn->stop = STOP_DEADLINE;
        return 0;
    }
    if (now >= budget->lock_deadline_ns) return 0;
    size_t i = (size_t)count < ORM_COUNT(naps_us) ? (size_t)count : ORM_COUNT(naps_us) - 1;
    uint64_t ns = naps_us[i] * 1000;
    uint64_t left = budget->lock_deadline_ns - now;
    nap(ns < left ? ns : left);
    return 1;
}

void budget_install(orm_conn *conn)
{
    sqlite3_progress_handler(conn->db, PROGRESS_STEPS, on_progress, conn);
    sqlite3_busy_handler(conn->db, on_busy, conn);
}
