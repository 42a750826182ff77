/* The guide's story in C: two models, a sparse key, loading, joining, filtering across. */
#include <inttypes.h>
#include <orm/models.h>
#include <stdio.h>

typedef struct Album {
    int64_t id;
    const char *name;
} Album;
typedef struct Track {
    int64_t id;
    ORM_REF(Album) album;
    const char *title;
    int32_t position;
} Track;

ORM_MODEL(Album, "album", ORM_FIELD(Album, id, .primary_key = 1),
          ORM_FIELD(Album, name, .max_length = 100));
ORM_MODEL(Track, "track", ORM_FIELD(Track, id, .primary_key = 1), ORM_FK(Track, album, Album),
          ORM_FIELD(Track, title, .max_length = 100), ORM_FIELD(Track, position));

static Album albums[] = {{.name = "Malibu"}, {.name = "Fantasies"}};
static Track tracks[] = {{0, {1, 1, NULL}, "The Bird", 1},
                         {0, {1, 1, NULL}, "Heart don't stand a chance", 2},
                         {0, {1, 1, NULL}, "The Waters", 3},
                         {0, {2, 1, NULL}, "Help I'm Alive", 1},
                         {0, {2, 1, NULL}, "Sick Muse", 2}};

#define TRY(op, out) \
    if ((status = orm_await(op, out, err)) < 0) return status

static orm_status story(orm_engine *db, orm_error *err)
{
    orm_status status;
    orm_auto_result *one = NULL, *joined = NULL, *exact = NULL, *iexact = NULL;
    TRY(orm_create_all(db, NULL), NULL);
    for (int i = 0; i < 2; i++) TRY(ORM_INSERT(db, Album, &albums[i]), NULL);
    for (int i = 0; i < 5; i++) TRY(ORM_INSERT(db, Track, &tracks[i]), NULL);

    /* The key is there, the album is not: until it is loaded. */
    TRY(orm_get(db, ORM_WHERE(db, Track, ORM_IS(Track, title, "The Bird")), NULL), &one);
    Track *bird = ORM_ONE(Track, one);
    printf("%s: album %" PRId64 "%s\n", bird->title, bird->album.id,
           bird->album.obj ? "" : " [sparse]");
    TRY(orm_load(db, one, ORM_NAME(Track, album)), NULL);
    printf("%s: album %s\n", bird->title, bird->album.obj->name);

    orm_query *all = orm_query_select_related(ORM_FROM(db, Track), ORM_NAME(Track, album));
    TRY(orm_all(db, all, NULL), &joined);
    ORM_EACH(Track, t, joined)
        printf("%" PRId32 ". %s (%s)\n", t->position, t->title, t->album.obj->name);

    orm_query *same = ORM_WHERE(db, Track, ORM_REL(Track, album, name, exact, "Fantasies"));
    TRY(orm_all(db, same, NULL), &exact);
    orm_query *alike = ORM_WHERE(db, Track, ORM_REL(Track, album, name, iexact, "fantasies"));
    TRY(orm_all(db, alike, NULL), &iexact);
    printf("exact: %zu, iexact: %zu\n", orm_result_count(exact), orm_result_count(iexact));
    TRY(orm_get(db, ORM_WHERE(db, Track, ORM_IS(Track, title, "?")), NULL), NULL); /* none */
    return ORM_OK;
}

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "sqlite:///:memory:"; /* postgresql://…, mariadb://… */
    orm_error err = {0}; /* errors are values: no exception, no "last error" */
    orm_auto_engine *db = NULL;
    if (ORM_CONNECT(url, &db, &err, &Album_model, &Track_model) >= 0) (void)story(db, &err);
    printf("%s: %s\n", orm_status_name(err.status), err.message);
    return err.status != ORM_ENOMATCH;
}
