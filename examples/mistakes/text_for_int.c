/* expect: orm_value_type_does_not_fit_this_field */
#include "models.h"

orm_query *mistake(orm_engine *db, Album *album, Track *track)
{
    (void)album;
    (void)track;
    return ORM_FILTER(ORM_FROM(db, Track), ORM_CMP(Track, position, gte, "three"));
}
