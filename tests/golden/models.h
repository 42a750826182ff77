/* models.h - the models that the golden cases speak of.
 *
 *   Publisher - Album - Track       a chain of references that cannot be NULL
 *   Track.producer -> Person        one that can; Person.mentor and .label lead on from there
 *   Match.home, Match.away -> Team  two references to one model
 *   Node.parent -> Node             a model that refers to itself
 *   Passport                        its key is a reference to Person
 *   Seat                            a key of two fields
 *   Country                         a key of text
 *   Everything                      one column of every type, all but the key nullable
 *   Paint                           an enum whose type has a name
 *   Strange                         names that need quoting
 */
#ifndef GOLDEN_MODELS_H
#define GOLDEN_MODELS_H
#include "base/base.h"

#define KEY(n) {.name = n, .type = ORM_TYPE_INT32, .primary_key = 1}
#define REF(n, to) .name = n, .type = ORM_TYPE_REF, .target = to
#define TEXT(n, length) .name = n, .type = ORM_TYPE_TEXT, .max_length = length

static const orm_field_def publisher_fields[] = {
    KEY("id"),
    {TEXT("name", 100), .unique = 1},
};
static const orm_field_def album_fields[] = {
    KEY("id"),
    {TEXT("name", 100)},
    {REF("publisher", "Publisher"), .on_delete = ORM_RESTRICT},
};
static const orm_field_def person_fields[] = {
    KEY("id"),
    {TEXT("name", 80), .index = 1},
    {REF("mentor", "Person"), .nullable = 1, .on_delete = ORM_SET_NULL},
    {REF("label", "Publisher")},
};
static const orm_field_def track_fields[] = {
    KEY("id"),
    {REF("album", "Album"), .on_delete = ORM_CASCADE},
    {TEXT("title", 100)},
    {.name = "position", .type = ORM_TYPE_INT32},
    {.name = "rating", .type = ORM_TYPE_FLOAT, .nullable = 1},
    {TEXT("note", 0), .nullable = 1},
    {REF("producer", "Person"), .nullable = 1},
};
static const orm_field_def team_fields[] = {
    KEY("id"),
    {TEXT("name", 50), .unique = 1, .index = 1},
};
static const orm_field_def match_fields[] = {
    KEY("id"),
    {REF("home", "Team")},
    {REF("away", "Team")},
    {.name = "played", .type = ORM_TYPE_DATE},
};
static const orm_field_def node_fields[] = {
    {.name = "id", .type = ORM_TYPE_INT64, .primary_key = 1},
    {REF("parent", "Node"), .nullable = 1},
    {TEXT("in", 20)}, /* a field named as a lookup */
};
static const orm_field_def passport_fields[] = {
    {REF("person", "Person"), .primary_key = 1, .on_delete = ORM_CASCADE, .on_update = ORM_CASCADE},
    {TEXT("number", 12), .unique = 1},
};
static const orm_field_def seat_fields[] = {
    {.name = "room", .type = ORM_TYPE_INT32, .primary_key = 1},
    {.name = "number", .type = ORM_TYPE_INT32, .primary_key = 1},
    {REF("person", "Person"), .nullable = 1},
};
static const char *const seat_unique[] = {"room", "person"};
static const char *const seat_index[] = {"person"};
static const orm_constraint_def seat_constraints[] = {
    {ORM_CONSTRAINT_UNIQUE, 2, "one_seat", seat_unique, NULL},
    {ORM_CONSTRAINT_CHECK, 0, NULL, NULL, "number > 0"},
    {ORM_CONSTRAINT_INDEX, 1, NULL, seat_index, "\"person\" IS NOT NULL"},
    {ORM_CONSTRAINT_UNIQUE_INDEX, 2, "ix_seat_pair", seat_unique, NULL},
};
static const orm_field_def country_fields[] = {
    {TEXT("code", 2), .primary_key = 1, .comment = "ISO's \\ code"},
    {TEXT("name", 60)},
};
static const orm_field_def city_fields[] = {
    KEY("id"),
    {REF("country", "Country")},
};
static const char *const colors[] = {"RED", "GREEN", "ULTRAMARINE", NULL};
static const orm_field_def everything_fields[] = {
    {.name = "id", .type = ORM_TYPE_INT64, .primary_key = 1},
    {.name = "flag", .type = ORM_TYPE_BOOL, .nullable = 1},
    {.name = "small", .type = ORM_TYPE_INT16, .nullable = 1},
    {.name = "number", .type = ORM_TYPE_INT32, .nullable = 1},
    {.name = "big", .type = ORM_TYPE_INT64, .nullable = 1},
    {.name = "ratio", .type = ORM_TYPE_FLOAT, .nullable = 1},
    {.name = "price", .type = ORM_TYPE_DECIMAL, .digits = 10, .places = 2, .nullable = 1},
    {.name = "exact", .type = ORM_TYPE_DECIMAL, .digits = 38, .places = 10, .nullable = 1},
    {TEXT("text", 0), .nullable = 1},
    {.name = "data", .type = ORM_TYPE_BLOB, .nullable = 1},
    {.name = "day", .type = ORM_TYPE_DATE, .nullable = 1},
    {.name = "clock", .type = ORM_TYPE_TIME, .nullable = 1},
    {.name = "moment", .type = ORM_TYPE_DATETIME, .nullable = 1},
    {.name = "instant", .type = ORM_TYPE_DATETIMETZ, .nullable = 1},
    {.name = "span", .type = ORM_TYPE_INTERVAL, .nullable = 1},
    {.name = "token", .type = ORM_TYPE_UUID, .nullable = 1},
    {.name = "tree", .type = ORM_TYPE_JSON, .nullable = 1},
    {.name = "color", .type = ORM_TYPE_ENUM, .choices = colors, .nullable = 1},
    {.name = "address", .type = ORM_TYPE_IP, .nullable = 1},
    {.name = "list", .type = ORM_TYPE_ARRAY, .nullable = 1},
};
static const orm_field_def paint_fields[] = {
    KEY("id"),
    {.name = "shade", .type = ORM_TYPE_ENUM, .choices = colors, .enum_name = "Shade"},
};
static const orm_field_def strange_fields[] = {
    {.name = "id", .column = "Id of \"it\"", .type = ORM_TYPE_INT32, .primary_key = 1},
    {TEXT("select", 0), .column = "select"},
    {.name = "long_", .column = "a_column_name_that_is_as_long_as_names_may_be_on_any_backend_00",
     .type = ORM_TYPE_INT32, .index = 1},
};

#define MODEL(n, t, f) \
    {sizeof(orm_model_def), sizeof(orm_field_def), n, t, 0, ORM_COUNT(f), f, 0, 0, NULL, NULL}
static const orm_model_def golden_models[] = {
    MODEL("Publisher", "publisher", publisher_fields),
    MODEL("Track", "track", track_fields),
    MODEL("Album", "album", album_fields),
    MODEL("Person", "person", person_fields),
    MODEL("Team", "team", team_fields),
    MODEL("Match", "match", match_fields),
    MODEL("Node", "node", node_fields),
    MODEL("Passport", "passport", passport_fields),
    {sizeof(orm_model_def), sizeof(orm_field_def), "Seat", "seat", 0, ORM_COUNT(seat_fields),
     seat_fields, ORM_COUNT(seat_constraints), sizeof(orm_constraint_def), seat_constraints, NULL},
    {sizeof(orm_model_def), sizeof(orm_field_def), "Country", "country", 0,
     ORM_COUNT(country_fields), country_fields, 0, 0, NULL, "a country"},
    MODEL("City", "city", city_fields),
    MODEL("Everything", "everything", everything_fields),
    MODEL("Paint", "paint", paint_fields),
    MODEL("Strange", "order \"by\"", strange_fields),
};
#endif
