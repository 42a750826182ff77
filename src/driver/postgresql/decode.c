/* decode.c - the server's binary results as cells.
 *
 * Cells point into the result where they can; texts that are made here lie in the row's arena.
 * A value that no kind of cell can hold comes as text in the server's own notation ('infinity',
 * '0044-03-15 BC', 'NaN'): whoever expects a date then says by name which column has none, and
 * the rows before and after stay readable.
 */
#include "postgresql.h"

#include <arpa/inet.h>
#include <math.h>
#include <stdio.h>

typedef struct source {
    const uint8_t *bytes;
    int len;
    orm_arena *arena;
} source;

static uint64_t read_big(const uint8_t *p, int n)
{
    uint64_t out = 0;
    for (int i = 0; i < n; i++) out = out << 8 | p[i];
    return out;
}

static int64_t read_i64(const uint8_t *p)
{
    return (int64_t)read_big(p, 8);
}

static int32_t read_i32(const uint8_t *p)
{
    return (int32_t)(uint32_t)read_big(p, 4);
}

static int16_t read_i16(const uint8_t *p)
{
    return (int16_t)(uint16_t)read_big(p, 2);
}

static bool cell_set_int(orm_cell *cell, int kind, int64_t i)
{
    cell->kind = (uint8_t)kind;
    cell->as.i = i;
    return true;
}

static bool cell_set_bytes(orm_cell *cell, int kind, const void *ptr, size_t len)
{
    cell->kind = (uint8_t)kind;
    cell->len = (uint32_t)len;
    cell->as.ptr = ptr;
    return ptr != NULL;
}

/* A text made here; false: out of memory. */
static bool cell_copy_text(orm_cell *cell, const source *from, const char *text)
{
    size_t len = strlen(text);
    return cell_set_bytes(cell, ORM_V_TEXT, orm_arena_copy(from->arena, text, len), len);
}

/* ---- numbers ------------------------------------------------------------------------------ */

static bool decode_float(const source *from, orm_cell *cell)
{
    double value;
    if (from->len == 4) {
        uint32_t bits = (uint32_t)read_big(from->bytes, 4);
        float narrow;
        memcpy(&narrow, &bits, sizeof narrow);
        value = (double)narrow;
    } else {
        uint64_t bits = read_big(from->bytes, 8);
        memcpy(&value, &bits, sizeof value);
    }
    if (isnan(value)) return cell_copy_text(cell, from, "NaN");
    cell->kind = ORM_V_FLOAT;
    cell->as.f = value;
    return true;
}

/* Groups of four decimal digits, the first of them worth 10000^weight. */
static bool numeric_write(orm_buf *out, const uint8_t *groups, int n_groups, int weight, int scale)
{
    for (int i = 0; i <= weight || i == 0; i++) {
        int group = i <= weight && i < n_groups ? read_i16(groups + i * 2) : 0;
        if (out->len > 0 && out->ptr[out->len - 1] != '-')
            orm_buf_addf(out, "%04d", group);
        else if (group || i >= weight)
            orm_buf_addi(out, group);
    }
    if (scale > 0) orm_buf_addc(out, '.');
    for (int done = 0, i = weight + 1; done < scale; i++) {
        char digits[16];
        int group = i >= 0 && i < n_groups ? read_i16(groups + i * 2) : 0;
        snprintf(digits, sizeof digits, "%04d", group);
        for (int k = 0; k < 4 && done < scale; k++, done++) orm_buf_addc(out, digits[k]);
    }
    return !out->failed;
}

static bool decode_numeric(const source *from, orm_cell *cell)
{
    enum {
        NEGATIVE = 0x4000,
        NOT_A_NUMBER = 0xC000,
        INFINITE = 0xD000,
        MINUS_INFINITE = 0xF000
    };
    int n_groups = read_i16(from->bytes), weight = read_i16(from->bytes + 2);
    int sign = (int)read_big(from->bytes + 4, 2), scale = read_i16(from->bytes + 6);
    if (sign == NOT_A_NUMBER) return cell_copy_text(cell, from, "NaN");
    if (sign == INFINITE) return cell_copy_text(cell, from, "Infinity");
    if (sign == MINUS_INFINITE) return cell_copy_text(cell, from, "-Infinity");
    orm_buf text;
    orm_buf_init(&text, 0);
    if (sign == NEGATIVE) orm_buf_addc(&text, '-');
    bool ok = numeric_write(&text, from->bytes + 8, n_groups, weight, scale) &&
              cell_set_bytes(cell, ORM_V_TEXT, orm_arena_copy(from->arena, text.ptr, text.len),
                             text.len);
    orm_buf_dispose(&text);
    return ok;
}

/* ---- dates and times ---------------------------------------------------------------------- */

static bool is_date(int64_t days)
{
    return days >= ORM_DATE_MIN && days <= ORM_DATE_MAX;
}

/* A day beyond the calendar of the kinds, as the server writes it. */
static int strange_day_write(char *out, size_t size, int64_t days, const char *time)
{
    enum {
        CYCLE_DAYS = 146097,
        CYCLE_YEARS = 400
    }; /* the calendar repeats itself */
    int year, month, day;
    int64_t cycles = days / CYCLE_DAYS - (days < 0);
    orm_civil_from_days((int32_t)(days - cycles * CYCLE_DAYS), &year, &month, &day);
    year += (int)cycles * CYCLE_YEARS;
    bool before = year <= 0;
    return snprintf(out, size, "%04d-%02d-%02d%s%s", before ? 1 - year : year, month, day, time,
                    before ? " BC" : "");
}

static bool decode_date(const source *from, orm_cell *cell)
{
    char text[48];
    int32_t raw = read_i32(from->bytes);
    if (raw == INT32_MAX) return cell_copy_text(cell, from, "infinity");
    if (raw == INT32_MIN) return cell_copy_text(cell, from, "-infinity");
    int64_t days = raw + PG_EPOCH_DAYS;
    if (is_date(days)) return cell_set_int(cell, ORM_V_DATE, days);
    strange_day_write(text, sizeof text, days, "");
    return cell_copy_text(cell, from, text);
}

static void time_write(char out[24], int64_t us)
{
    int64_t seconds = us / ORM_US_PER_SECOND;
    snprintf(out, 24, "%02d:%02d:%02d.%06d", (int)(seconds / 3600), (int)(seconds / 60 % 60),
             (int)(seconds % 60), (int)(us % ORM_US_PER_SECOND));
}

static bool decode_time(const source *from, orm_cell *cell)
{
    char text[24];
    int64_t us = read_i64(from->bytes);
    if (us >= 0 && us < ORM_US_PER_DAY) return cell_set_int(cell, ORM_V_TIME, us);
    time_write(text, us); /* 24:00:00 */
    return cell_copy_text(cell, from, text);
}

/* A time with a zone is no kind: its text. */
static bool decode_timetz(const source *from, orm_cell *cell)
{
    char time[24], text[48];
    int west = read_i32(from->bytes + 8);
    int off = west < 0 ? -west : west;
    time_write(time, read_i64(from->bytes));
    snprintf(text, sizeof text, "%s%c%02d:%02d", time, west > 0 ? '-' : '+', off / 3600,
             off / 60 % 60);
    return cell_copy_text(cell, from, text);
}

static bool decode_timestamp(const source *from, orm_cell *cell, int kind)
{
    char text[64], time[32];
    int64_t raw = read_i64(from->bytes);
    if (raw == INT64_MAX) return cell_copy_text(cell, from, "infinity");
    if (raw == INT64_MIN) return cell_copy_text(cell, from, "-infinity");
    int64_t days = raw / ORM_US_PER_DAY, us = raw % ORM_US_PER_DAY;
    if (us < 0) {
        us += ORM_US_PER_DAY;
        days--;
    }
    days += PG_EPOCH_DAYS;
    if (is_date(days)) return cell_set_int(cell, kind, days * ORM_US_PER_DAY + us);
    time[0] = ' ';
    time_write(time + 1, us);
    if (kind == ORM_V_DATETIMETZ) memcpy(time + strlen(time), "+00", 4);
    strange_day_write(text, sizeof text, days, time);
    return cell_copy_text(cell, from, text);
}

/* Days are 24 hours long; months have no length, and stay a text. */
static bool decode_interval(const source *from, orm_cell *cell)
{
    char text[80];
    int64_t us = read_i64(from->bytes), total;
    int32_t days = read_i32(from->bytes + 8), months = read_i32(from->bytes + 12);
    if (months == 0 && !__builtin_mul_overflow((int64_t)days, ORM_US_PER_DAY, &total) &&
        !__builtin_add_overflow(total, us, &total))
        return cell_set_int(cell, ORM_V_INTERVAL, total);
    snprintf(text, sizeof text, "%d months %d days %lld microseconds", months, days, (long long)us);
    return cell_copy_text(cell, from, text);
}

/* ---- the rest ----------------------------------------------------------------------------- */

enum {
    INET_V4 = 2,
    INET_HEADER = 4
};

/* family, bits of the network, whether it is one, length, address */
static bool decode_inet(const source *from, orm_cell *cell)
{
    char text[INET6_ADDRSTRLEN + 8];
    bool v4 = from->bytes[0] == INET_V4;
    int bits = from->bytes[1], whole = v4 ? 32 : 128;
    if (!inet_ntop(v4 ? AF_INET : AF_INET6, from->bytes + INET_HEADER, text, sizeof text))
        return false;
    size_t len = strlen(text);
    if (bits != whole || from->bytes[2]) snprintf(text + len, sizeof text - len, "/%d", bits);
    return cell_copy_text(cell, from, text);
}

/* Labels of enums are texts; what else extensions and users define comes as text where it is
 * one, and as the server's bytes otherwise. */
static bool decode_other(const source *from, Oid type, orm_cell *cell)
{
    const char *text = (const char *)from->bytes;
    size_t len = (size_t)from->len;
    bool is_text = type >= PG_FIRST_USER_TYPE && orm_utf8_is_valid(text, len) &&
                   !(len && memchr(text, 0, len));
    return cell_set_bytes(cell, is_text ? ORM_V_TEXT : ORM_V_BLOB, text, len);
}

/* Bytes that a value of the type has at least. */
static int type_bytes(Oid type)
{
    switch (type) {
    case PG_BOOL: return 1;
    case PG_INT2: return 2;
    case PG_INT4:
    case PG_OID:
    case PG_DATE:
    case PG_FLOAT4:
    case PG_INET:
    case PG_CIDR: return 4;
    case PG_INT8:
    case PG_FLOAT8:
    case PG_TIME:
    case PG_TIMESTAMP:
    case PG_TIMESTAMPTZ:
    case PG_NUMERIC: return 8;
    case PG_TIMETZ: return 12;
    case PG_UUID:
    case PG_INTERVAL: return 16;
    case PG_JSONB: return 1;
    default: return 0;
    }
}

/* The bytes hold a whole value: from here on only memory can be missing. */
static bool is_whole(const source *from, Oid type)
{
    if (from->len < type_bytes(type)) return false;
    if (type == PG_NUMERIC) {
        int groups = read_i16(from->bytes);
        return groups >= 0 && from->len >= 8 + 2 * groups;
    }
    if (type == PG_INET || type == PG_CIDR) {
        int whole = from->bytes[0] == INET_V4 ? 4 : 16;
        return from->bytes[3] == whole && from->len >= INET_HEADER + whole;
    }
    return true;
}

static bool value_decode(const source *from, Oid type, orm_cell *cell)
{
    switch (type) {
    case PG_BOOL: return cell_set_int(cell, ORM_V_BOOL, from->bytes[0] != 0);
    case PG_INT2: return cell_set_int(cell, ORM_V_INT, read_i16(from->bytes));
    case PG_INT4: return cell_set_int(cell, ORM_V_INT, read_i32(from->bytes));
    case PG_OID: return cell_set_int(cell, ORM_V_INT, (int64_t)read_big(from->bytes, 4));
    case PG_INT8: return cell_set_int(cell, ORM_V_INT, read_i64(from->bytes));
    case PG_FLOAT4:
    case PG_FLOAT8: return decode_float(from, cell);
    case PG_NUMERIC: return decode_numeric(from, cell);
    case PG_TEXT:
    case PG_VARCHAR:
    case PG_BPCHAR:
    case PG_NAME:
    case PG_CHAR:
    case PG_JSON:
    case PG_UNKNOWN: return cell_set_bytes(cell, ORM_V_TEXT, from->bytes, (size_t)from->len);
    case PG_JSONB: /* behind a version number */
        return cell_set_bytes(cell, ORM_V_TEXT, from->bytes + 1, (size_t)from->len - 1);
    case PG_BYTEA: return cell_set_bytes(cell, ORM_V_BLOB, from->bytes, (size_t)from->len);
    case PG_UUID: return cell_set_bytes(cell, ORM_V_UUID, from->bytes, 16);
    case PG_DATE: return decode_date(from, cell);
    case PG_TIME: return decode_time(from, cell);
    case PG_TIMETZ: return decode_timetz(from, cell);
    case PG_TIMESTAMP: return decode_timestamp(from, cell, ORM_V_DATETIME);
    case PG_TIMESTAMPTZ: return decode_timestamp(from, cell, ORM_V_DATETIMETZ);
    case PG_INTERVAL: return decode_interval(from, cell);
    case PG_INET:
    case PG_CIDR: return decode_inet(from, cell);
    case PG_VOID: cell->kind = ORM_V_NULL; return true;
    default: return decode_other(from, type, cell);
    }
}

orm_status pg_row_decode(const PGresult *result, int row, orm_cell *cells, orm_arena *arena,
                         orm_error *err)
{
    int n = PQnfields(result);
    for (int i = 0; i < n; i++) {
        orm_cell *cell = &cells[i];
        cell->len = 0;
        if (PQgetisnull(result, row, i)) {
            cell->kind = ORM_V_NULL;
            continue;
        }
        source from = {(const uint8_t *)PQgetvalue(result, row, i), PQgetlength(result, row, i),
                       arena};
        Oid type = PQftype(result, i);
        if (!is_whole(&from, type))
            return orm_fail(err, ORM_EINTERNAL, "column '%.60s' of the answer is cut short",
                            PQfname(result, i));
        if (!value_decode(&from, type, cell)) return orm_fail_nomem(err);
    }
    return ORM_OK;
}

bool pg_cell_int(const PGresult *result, int row, int column, int64_t *out)
{
    orm_cell cell;
    Oid type = PQftype(result, column);
    if (type != PG_INT2 && type != PG_INT4 && type != PG_INT8) return false;
    if (PQgetisnull(result, row, column)) return false;
    source from = {(const uint8_t *)PQgetvalue(result, row, column),
                   PQgetlength(result, row, column), NULL};
    if (!is_whole(&from, type) || !value_decode(&from, type, &cell)) return false;
    *out = cell.as.i;
    return true;
}
