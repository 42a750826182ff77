/* expect: albums */
#include "models.h"

orm_query *mistake(orm_engine *db, Album *album, Track *track)
{
    (void)album;
    (void)track;
    return orm_query_select_related(ORM_FROM(db, Track), ORM_NAME(Track, albums));
}
