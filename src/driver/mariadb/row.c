/* row.c - a row of the binary protocol as cells.
 *
 * Texts and blobs are fetched into buffers of up to 4 KiB that belong to the statement; what is
 * longer is fetched once more, whole.  The bindings are made again when the server answers with
 * other types than the time before (the result of `SELECT ?` has the type of the parameter).
 *
 * What the column's type can hold and a cell cannot is handed out as its text, which the decoder
 * of a model's column refuses by name while the other rows stay readable: dates with a zero
 * (0000-00-00), times below zero or of a day and more, unsigned integers above INT64_MAX.
 */
#include "mariadb.h"
#include <errmsg.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    BUFFER_BYTES = 4096,
    BINARY_CHARSET = 63
};

/* ---- bindings -------------------------------------------------------------------------------- */

static uint8_t column_kind(const MYSQL_FIELD *field)
{
    bool is_binary = field->charsetnr == BINARY_CHARSET;
    switch (field->type) {
    case MYSQL_TYPE_TINY:
    case MYSQL_TYPE_SHORT:
    case MYSQL_TYPE_INT24:
    case MYSQL_TYPE_LONG:
    case MYSQL_TYPE_LONGLONG:
    case MYSQL_TYPE_YEAR: return field->flags & UNSIGNED_FLAG ? COLUMN_UNSIGNED : COLUMN_INT;
    case MYSQL_TYPE_FLOAT: return COLUMN_FLOAT;
    case MYSQL_TYPE_DOUBLE: return COLUMN_DOUBLE;
    case MYSQL_TYPE_BIT: return COLUMN_BIT;
    case MYSQL_TYPE_DATE:
    case MYSQL_TYPE_NEWDATE: return COLUMN_DATE;
    case MYSQL_TYPE_TIME:
    case MYSQL_TYPE_TIME2: return COLUMN_TIME;
    case MYSQL_TYPE_DATETIME:
    case MYSQL_TYPE_DATETIME2:
    case MYSQL_TYPE_TIMESTAMP:
    case MYSQL_TYPE_TIMESTAMP2: return COLUMN_DATETIME;
    case MYSQL_TYPE_DECIMAL:
    case MYSQL_TYPE_NEWDECIMAL:
    case MYSQL_TYPE_JSON: return COLUMN_TEXT;
    case MYSQL_TYPE_GEOMETRY: return COLUMN_BLOB;
    default: return is_binary ? COLUMN_BLOB : COLUMN_TEXT;
    }
}

static bool is_bytes(const maria_column *column)
{
    return column->kind == COLUMN_TEXT || column->kind == COLUMN_BLOB;
}

static bool column_bind(orm_stmt *stmt, maria_column *column, MYSQL_BIND *bind,
                        const MYSQL_FIELD *field)
{
    static const enum enum_field_types types[] = {
        [COLUMN_INT] = MYSQL_TYPE_LONGLONG, [COLUMN_UNSIGNED] = MYSQL_TYPE_LONGLONG,
        [COLUMN_FLOAT] = MYSQL_TYPE_FLOAT,  [COLUMN_DOUBLE] = MYSQL_TYPE_DOUBLE,
        [COLUMN_TEXT] = MYSQL_TYPE_STRING,  [COLUMN_BLOB] = MYSQL_TYPE_BLOB,
        [COLUMN_BIT] = MYSQL_TYPE_BLOB,     [COLUMN_DATE] = MYSQL_TYPE_DATE,
        [COLUMN_TIME] = MYSQL_TYPE_TIME,    [COLUMN_DATETIME] = MYSQL_TYPE_DATETIME,
    };
    column->kind = column_kind(field);
    bind->buffer_type = types[column->kind];
    bind->buffer = &column->as;
    bind->buffer_length = sizeof(column->as);
    bind->is_unsigned = column->kind == COLUMN_UNSIGNED;
    bind->is_null = &column->is_null;
    bind->error = &column->is_cut;
    bind->length = &column->len;
    if (column->kind == COLUMN_BIT) bind->buffer_length = sizeof(column->as.bits);
    if (!is_bytes(column)) return true;
    /* room for the longest value of the column, and for the NUL that the library likes to add */
    column->size = field->length < BUFFER_BYTES ? field->length + 1 : BUFFER_BYTES;
    column->bytes = orm_arena_alloc(&stmt->arena, column->size);
    bind->buffer = column->bytes;
    bind->buffer_length = column->size;
    return column->bytes != NULL;
}

static uint64_t types_hash(const MYSQL_FIELD *fields, size_t n)
{
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++) {
        hash = orm_hash_mix(hash, (uint64_t)fields[i].type << 32 | fields[i].charsetnr);
        hash = orm_hash_mix(hash, (uint64_t)(fields[i].flags & UNSIGNED_FLAG) << 32 |
                                      (fields[i].length & UINT32_MAX));
    }
    return hash | 1;
}

static uint64_t names_hash(const MYSQL_FIELD *fields, size_t n)
{
    uint64_t hash = n;
    for (size_t i = 0; i < n; i++)
        hash = orm_hash_bytes(fields[i].name, strlen(fields[i].name), hash);
    return hash | 1;
}

void columns_dispose(orm_stmt *stmt)
{
    columns_release(stmt);
    orm_arena_dispose(&stmt->arena);
    stmt->columns = NULL;
    stmt->types = 0;
}

static orm_status columns_make(orm_stmt *stmt, const MYSQL_FIELD *fields, size_t n, orm_error *err)
{
    size_t columns_size = n * sizeof(*stmt->columns), results_size = n * sizeof(*stmt->results),
           cells_size = n * sizeof(*stmt->cells);
    columns_dispose(stmt);
    orm_arena_init(&stmt->arena, 1024);
    maria_column *columns = orm_arena_alloc(&stmt->arena, columns_size);
    stmt->results = orm_arena_alloc(&stmt->arena, results_size);
    stmt->cells = orm_arena_alloc(&stmt->arena, cells_size);
    if (!columns || !stmt->results || !stmt->cells) return orm_fail_nomem(err);
    memset(columns, 0, columns_size);
    memset(stmt->results, 0, results_size);
    memset(stmt->cells, 0, cells_size);
    for (size_t i = 0; i < n; i++)
        if (!column_bind(stmt, &columns[i], &stmt->results[i], &fields[i]))
            return orm_fail_nomem(err);
    stmt->columns = columns;
    return ORM_OK;
}

orm_status columns_bind(orm_stmt *stmt, orm_error *err)
{
    const MYSQL *mysql = stmt->conn->mysql;
    size_t n = stmt->n_columns;
    const MYSQL_FIELD *fields = mariadb_stmt_fetch_fields(stmt->handle);
    if (!fields) return orm_fail_nomem(err);
    /* the library takes new types over into the statement's own list, but no new names */
    bool is_fresh = mysql->fields && mysql->field_count == n;
    uint64_t shape = names_hash(is_fresh ? mysql->fields : fields, n);
    uint64_t types = types_hash(fields, n);
    if (stmt->shape && shape != stmt->shape) {
        orm_fail(err, ORM_ECACHEDSTMT,
                 "the columns of the result have changed since the statement was prepared");
        err->native = CR_NEW_STMT_METADATA;
        return ORM_ECACHEDSTMT;
    }
    stmt->shape = shape;
    if (types == stmt->types) return ORM_OK;
    ORM_TRY(columns_make(stmt, fields, n, err));
    if (mysql_stmt_bind_result(stmt->handle, stmt->results))
        return maria_fail(stmt->conn, stmt->handle, err);
    stmt->types = types;
    return ORM_OK;
}

/* ---- cells ----------------------------------------------------------------------------------- */

static void cell_set_int(orm_cell *cell, int kind, int64_t i)
{
    cell->kind = (uint8_t)kind;
    cell->len = 0;
    cell->as.i = i;
}

static void cell_set_note(orm_cell *cell, maria_column *column, int len)
{
    cell->kind = ORM_V_TEXT;
    cell->as.ptr = column->note;
    cell->len = len > 0 && len < (int)sizeof(column->note) ? (uint32_t)len
                                                           : (uint32_t)strlen(column->note);
}

static void read_unsigned(orm_cell *cell, maria_column *column)
{
    uint64_t u = column->as.u;
    if (u <= INT64_MAX)
        cell_set_int(cell, ORM_V_INT, (int64_t)u);
    else
        cell_set_note(cell, column,
                      snprintf(column->note, sizeof(column->note), "%llu", (unsigned long long)u));
}

/* Big-endian, as many bytes as the column needs. */
static void read_bits(orm_cell *cell, maria_column *column)
{
    uint64_t u = 0;
    for (size_t i = 0; i < column->len && i < sizeof(column->as.bits); i++)
        u = u << 8 | column->as.bits[i];
    column->as.u = u;
    read_unsigned(cell, column);
}

/* A FLOAT holds some seven digits: it becomes the double that reads like it, not the nearest one
 * (0.1 rather than 0.10000000149). */
static double double_of_single(float single)
{
    char text[32];
    for (int digits = 6; digits <= 9; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, (double)single);
        if (strtof(text, NULL) == single) break;
    }
    return strtod(text, NULL);
}

static bool is_day(const MYSQL_TIME *time)
{
    return orm_civil_is_valid((int)time->year, (int)time->month, (int)time->day);
}

static int64_t days_of(const MYSQL_TIME *time)
{
    return orm_days_from_civil((int)time->year, (int)time->month, (int)time->day);
}

static int64_t clock_of(const MYSQL_TIME *time)
{
    int64_t seconds = ((int64_t)time->hour * 60 + time->minute) * 60 + time->second;
    return seconds * ORM_US_PER_SECOND + (int64_t)time->second_part;
}

static void read_date(orm_cell *cell, maria_column *column)
{
    const MYSQL_TIME *time = &column->as.time;
    if (is_day(time))
        cell_set_int(cell, ORM_V_DATE, days_of(time));
    else
        cell_set_note(cell, column,
                      snprintf(column->note, sizeof(column->note), "%04u-%02u-%02u",
                               time->year % 10000, time->month % 100, time->day % 100));
}

static void read_datetime(orm_cell *cell, maria_column *column)
{
    const MYSQL_TIME *time = &column->as.time;
    if (is_day(time))
        cell_set_int(cell, ORM_V_DATETIME, days_of(time) * ORM_US_PER_DAY + clock_of(time));
    else
        cell_set_note(cell, column,
                      snprintf(column->note, sizeof(column->note), "%04u-%02u-%02u %02u:%02u:%02u",
                               time->year % 10000, time->month % 100, time->day % 100,
                               time->hour % 100, time->minute % 100, time->second % 100));
}

static void read_time(orm_cell *cell, maria_column *column)
{
    const MYSQL_TIME *time = &column->as.time;
    unsigned hours = time->day * 24 + time->hour;
    if (!time->neg && hours < 24)
        cell_set_int(cell, ORM_V_TIME, clock_of(time));
    else
        cell_set_note(cell, column,
                      snprintf(column->note, sizeof(column->note), "%s%02u:%02u:%02u.%06lu",
                               time->neg ? "-" : "", hours % 10000, time->minute % 100,
                               time->second % 100, time->second_part % 1000000));
}

/* A value that the buffer was too small for. */
static orm_status read_long(orm_stmt *stmt, size_t i, orm_error *err)
{
    maria_column *column = &stmt->columns[i];
    unsigned long len = column->len;
    MYSQL_BIND bind = {.buffer_type = stmt->results[i].buffer_type};
    my_bool is_null = 0, is_cut = 0;
    unsigned long got = 0;
    if (column->long_size < len + 1) {
        char *bigger = orm_realloc(column->long_, len + 1);
        if (!bigger) return orm_fail_nomem(err);
        column->long_ = bigger;
        column->long_size = len + 1;
    }
    bind.buffer = column->long_;
    bind.buffer_length = column->long_size;
    bind.is_null = &is_null;
    bind.error = &is_cut;
    bind.length = &got;
    if (mysql_stmt_fetch_column(stmt->handle, &bind, (unsigned)i, 0))
        return maria_fail(stmt->conn, stmt->handle, err);
    return ORM_OK;
}

static orm_status read_bytes(orm_stmt *stmt, size_t i, orm_cell *cell, orm_error *err)
{
    maria_column *column = &stmt->columns[i];
    bool is_long = column->len > column->size;
    if (column->len > UINT32_MAX)
        return orm_fail(err, ORM_EDATA, "column %zu holds %lu bytes; expected less than 4 GiB",
                        i + 1, column->len);
    if (is_long) ORM_TRY(read_long(stmt, i, err));
    cell->kind = column->kind == COLUMN_TEXT ? ORM_V_TEXT : ORM_V_BLOB;
    cell->as.ptr = is_long ? column->long_ : column->bytes;
    cell->len = (uint32_t)column->len;
    return ORM_OK;
}

static void cell_read(orm_cell *cell, maria_column *column)
{
    switch (column->kind) {
    case COLUMN_INT: cell_set_int(cell, ORM_V_INT, column->as.i); break;
    case COLUMN_UNSIGNED: read_unsigned(cell, column); break;
    case COLUMN_BIT: read_bits(cell, column); break;
    case COLUMN_FLOAT:
        cell->kind = ORM_V_FLOAT;
        cell->as.f = double_of_single(column->as.single);
        break;
    case COLUMN_DOUBLE:
        cell->kind = ORM_V_FLOAT;
        cell->as.f = column->as.f;
        break;
    case COLUMN_DATE: read_date(cell, column); break;
    case COLUMN_TIME: read_time(cell, column); break;
    default: read_datetime(cell, column); break;
    }
}

orm_status columns_read(orm_stmt *stmt, size_t *bytes, orm_error *err)
{
    size_t total = 0;
    for (size_t i = 0, n = stmt->n_columns; i < n; i++) {
        maria_column *column = &stmt->columns[i];
        orm_cell *cell = &stmt->cells[i];
        if (column->is_null) {
            cell_set_int(cell, ORM_V_NULL, 0);
        } else if (is_bytes(column)) {
            ORM_TRY(read_bytes(stmt, i, cell, err));
            total += cell->len;
        } else {
            cell_read(cell, column);
        }
    }
    *bytes = total;
    return ORM_OK;
}

void columns_release(orm_stmt *stmt)
{
    for (size_t i = 0; stmt->columns && i < stmt->n_columns; i++) {
        orm_dealloc(stmt->columns[i].long_);
        stmt->columns[i].long_ = NULL;
        stmt->columns[i].long_size = 0;
    }
}
