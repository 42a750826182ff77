/* The guide's story with callbacks on an epoll loop, over orm/orm.h alone: models are tables of
 * fields, rows arrive as cells in a sink of the program's own.
 */
#include <inttypes.h>
#include <orm/loop/epoll.h>
#include <orm/orm.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static const orm_field_def album_fields[] = {
    {.name = "id", .type = ORM_TYPE_INT64, .primary_key = 1},
    {.name = "name", .type = ORM_TYPE_TEXT, .max_length = 100},
};
static const orm_field_def track_fields[] = {
    {.name = "id", .type = ORM_TYPE_INT64, .primary_key = 1},
    {.name = "album", .type = ORM_TYPE_REF, .target = "Album"},
    {.name = "title", .type = ORM_TYPE_TEXT, .max_length = 100},
    {.name = "position", .type = ORM_TYPE_INT32},
};
#define MODEL(name_, table_, fields_)                                                      \
    {                                                                                      \
        .size = sizeof(orm_model_def), .field_size = sizeof(orm_field_def), .name = name_, \
        .table = table_, .n_fields = sizeof fields_ / sizeof *fields_, .fields = fields_   \
    }
static const orm_model_def album_def = MODEL("Album", "album", album_fields);
static const orm_model_def track_def = MODEL("Track", "track", track_fields);

/* ---- a sink that prints tracks, with the album's name where the query joined it ---- */

typedef struct printer {
    orm_sink sink;
    size_t rows, columns;
} printer;

static orm_status printer_begin(orm_sink *sink, const orm_layout *layout, orm_error *err)
{
    (void)err;
    ((printer *)sink)->columns = layout->n_columns;
    return ORM_OK;
}

static orm_status printer_row(orm_sink *sink, const orm_cell *cells, orm_error *err)
{
    printer *self = (printer *)sink;
    (void)err;
    self->rows++;
    printf("  %" PRId64 ". %.*s, album %" PRId64, cells[3].as.i, (int)cells[2].len,
           (const char *)cells[2].as.ptr, cells[1].as.i);
    if (self->columns > 4) printf(" (%.*s)", (int)cells[5].len, (const char *)cells[5].as.ptr);
    printf("\n");
    return ORM_OK;
}

static size_t printer_mark(const orm_sink *sink)
{
    return ((const printer *)sink)->rows;
}

static void printer_rewind(orm_sink *sink, size_t mark)
{
    ((printer *)sink)->rows = mark;
}

static const orm_sink_vtable printer_vtable = {
    sizeof(orm_sink_vtable), 0, printer_begin, printer_row, printer_mark, printer_rewind};

/* ---- the story: one step after the other, each started when the one before has ended ---- */

typedef struct story {
    orm_engine *engine;
    orm_schema *schema;
    const orm_model *album, *track;
    printer out;
    int step;
    bool over;
    int64_t album_id;
} story;

static orm_op *next_op(story *s)
{
    static const uint16_t name[] = {1}, track[] = {1, 2, 3};
    orm_value album_row[] = {orm_text("Fantasies")};
    const char *titles[] = {"Help I'm Alive", "Sick Muse"};
    orm_query *tracks = orm_query_new(s->track);
    switch (s->step++) {
    case 0: orm_query_unref(tracks); return orm_create_all(s->engine, s->schema);
    case 1: orm_query_unref(tracks); return orm_insert(s->engine, s->album, name, 1, album_row);
    case 2:
    case 3: {
        orm_value row[] = {orm_int(s->album_id), orm_text(titles[s->step - 3]),
                           orm_int(s->step - 2)};
        orm_query_unref(tracks);
        return orm_insert(s->engine, s->track, track, 3, row);
    }
    case 4:
        printf("a track:\n");
        return orm_get(s->engine, orm_query_where(tracks, "title", orm_text("Sick Muse")),
                       &s->out.sink);
    case 5:
        printf("with its album:\n");
        return orm_all(s->engine, orm_query_select_related(tracks, "album"), &s->out.sink);
    case 6:
        return orm_count(s->engine,
                         orm_query_where(tracks, "album__name__iexact", orm_text("fantasies")));
    default: orm_query_unref(tracks); return NULL;
    }
}

static void on_done(orm_op *op, void *user)
{
    story *s = user;
    if (orm_op_status(op) < 0) {
        fprintf(stderr, "%s\n", orm_op_error(op)->message);
        s->over = true;
    }
    if (orm_op_kind(op) == ORM_OP_INSERT && !s->album_id) s->album_id = orm_op_number(op);
    if (orm_op_kind(op) == ORM_OP_COUNT) printf("iexact: %" PRId64 "\n", orm_op_number(op));
    orm_op_free(op);
    orm_op *next = s->over ? NULL : next_op(s);
    if (next)
        orm_then(next, on_done, s);
    else
        s->over = true;
}

static int run(story *s)
{
    struct epoll_event events[8];
    orm_epoll db;
    int loop = epoll_create1(EPOLL_CLOEXEC);
    if (loop < 0 || orm_epoll_open(&db, loop, s->engine) < 0) return 1;
    orm_then(next_op(s), on_done, s);
    while (!s->over) {
        int n = epoll_wait(loop, events, 8, orm_epoll_timeout(&db, -1));
        for (int i = 0; i < n; i++) (void)orm_epoll_is_mine(&db, &events[i]);
        (void)orm_epoll_turn(&db);
    }
    orm_epoll_close(&db);
    (void)close(loop);
    return 0;
}

int main(int argc, char **argv)
{
    const char *url = argc > 1 ? argv[1] : "sqlite:///:memory:";
    story s = {.out = {.sink = {&printer_vtable, 0}}};
    orm_error err = {0};
    orm_db *db = NULL;
    orm_model *album = NULL, *track = NULL;
    s.schema = orm_schema_new();
    if (!s.schema || orm_schema_add(s.schema, &album_def, &album, &err) < 0 ||
        orm_schema_add(s.schema, &track_def, &track, &err) < 0 ||
        orm_open(url, NULL, &db, &err) < 0 || orm_engine_new(db, &s.engine, &err) < 0) {
        fprintf(stderr, "%s\n", err.message);
        return 1;
    }
    s.album = album;
    s.track = track;
    int rc = run(&s);
    orm_close_engine(s.engine);
    orm_close(db);
    orm_schema_unref(s.schema);
    return rc;
}
