/* script.c - several statements that take effect together, run as one on the lane's thread.
 *
 * Outside a transaction a script has its own; inside one it is a savepoint, so that its failure
 * undoes it alone.  A script that could not begin for a lock has done nothing and may be run
 * again from its start on a worker.
 */
#include "engine.h"

/* `*ended`: the body is done, and what failed is its end. */
static orm_status run_once(orm_op *op, orm_lane *lane, orm_run_fn body, bool *ended)
{
    orm_error *err = &op->error;
    int first = op->tx ? ORM_CONTROL_SAVEPOINT : ORM_CONTROL_BEGIN_WRITE;
    int last = op->tx ? ORM_CONTROL_RELEASE : ORM_CONTROL_COMMIT;
    *ended = true;
    ORM_TRY(orm_lane_control(lane, first, err));
    orm_status status = body(op, lane);
    *ended = status >= 0;
    if (status >= 0) status = orm_lane_control(lane, last, err);
    if (status >= 0) return ORM_DONE;
    if (!op->tx) {
        orm_lane_rollback(lane);
    } else if (!orm_lane_has_lost(lane)) {
        orm_lane_undo_script(lane);
    }
    return status;
}

/* On some servers a statement that is stale, because its table has changed, takes the transaction
 * that it is in with it, so that the lane cannot run it again.  All of the script can be: nothing
 * of it is left, and every statement is prepared anew now. */
static bool may_run_again(const orm_op *op, const orm_lane *lane, orm_status status)
{
    int rest = op->tx ? ORM_CONN_IN_TX : ORM_CONN_IDLE;
    return status == ORM_ECACHEDSTMT && lane->driver->state(lane->conn) == rest;
}

orm_status orm_script_run(orm_op *op, orm_lane *lane, orm_run_fn body)
{
    bool ended;
    orm_status status = run_once(op, lane, body, &ended);
    if (ORM_LIKELY(ended || !may_run_again(op, lane, status))) return status;
    orm_error_clear(&op->error);
    orm_op_rewind(op);
    return run_once(op, lane, body, &ended);
}

orm_status orm_script_step(orm_lane *lane, orm_task *task, orm_error *err)
{
    orm_status status;
    do {
        status = orm_lane_step(lane, task, err);
    } while (status == ORM_PENDING);
    return status < 0 ? status : ORM_OK;
}
