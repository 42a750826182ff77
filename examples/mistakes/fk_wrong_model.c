/* expect: struct Album * */
#include "models.h"

typedef struct Genre {
    int64_t id;
} Genre;
ORM_MODEL(Genre, "genre", ORM_FIELD(Genre, id, .primary_key = 1));

typedef struct Song {
    int64_t id;
    ORM_REF(Album) album;
} Song;
ORM_MODEL(Song, "song", ORM_FIELD(Song, id, .primary_key = 1), ORM_FK(Song, album, Genre));
