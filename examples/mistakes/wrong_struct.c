/* expect: Track */
#include "models.h"

orm_op *insert(orm_engine *db, Track *track);

orm_op *insert(orm_engine *db, Track *track)
{
    return ORM_INSERT(db, Album, track);
}
