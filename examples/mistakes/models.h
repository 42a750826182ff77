/* What the mistakes are made with. */
#ifndef MISTAKES_MODELS_H
#define MISTAKES_MODELS_H
#include <orm/models.h>

typedef struct Album {
    int64_t id;
    const char *name;
} Album;
typedef struct Track {
    int64_t id;
    ORM_REF(Album) album;
    const char *title;
    ORM_OPT(int32_t) position;
} Track;

ORM_MODEL(Album, "album", ORM_FIELD(Album, id, .primary_key = 1), ORM_FIELD(Album, name));
ORM_MODEL(Track, "track", ORM_FIELD(Track, id, .primary_key = 1), ORM_FK(Track, album, Album),
          ORM_FIELD(Track, title), ORM_FIELD(Track, position));

orm_query *mistake(orm_engine *db, Album *album, Track *track);
#endif
