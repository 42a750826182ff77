/* script.c - several statements that take effect together, run as one on the lane's thread.
 *
 * Outside a transaction a script has its own; inside one it is a savepoint, so that its failure
 * undoes it alone.  A script that could not begin for a lock has done nothing and may be run
 * again from its start on a worker.
 */
#include "engine.h"

orm_status orm_script_begin(orm_op *op, orm_lane *lane, orm_error *err)
{
    return orm_lane_control(lane, op->tx ? ORM_CONTROL_SAVEPOINT : ORM_CONTROL_BEGIN_WRITE, err);
}

orm_status orm_script_end(orm_op *op, orm_lane *lane, orm_status status, orm_error *err)
{
    if (status >= 0)
        status = orm_lane_control(lane, op->tx ? ORM_CONTROL_RELEASE : ORM_CONTROL_COMMIT, err);
    if (status >= 0) return ORM_DONE;
    if (!op->tx) {
        orm_lane_rollback(lane);
    } else if (!orm_lane_has_lost(lane)) {
        orm_lane_undo_script(lane);
    }
    return status;
}

orm_status orm_script_step(orm_lane *lane, orm_task *task, orm_error *err)
{
    orm_status status;
    do {
        status = orm_lane_step(lane, task, err);
    } while (status == ORM_PENDING);
    return status < 0 ? status : ORM_OK;
}
