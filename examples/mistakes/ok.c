#include "models.h"

orm_query *mistake(orm_engine *db, Album *album, Track *track)
{
    (void)album;
    (void)track;
    return ORM_FILTER(ORM_FROM(db, Track), ORM_REL(Track, album, name, iexact, "x"),
                      ORM_IS(Track, position, 3), ORM_CMP(Track, title, isnull, false));
}
