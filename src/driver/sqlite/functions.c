/* functions.c - the SQL functions that generated SQL calls, and the order of decimals.
 *
 * All but orm_exact are deterministic and innocuous: they may stand in indexes and in views.  NULL
 * gives NULL; numbers are taken as their text.
 */
#include "sqlite.h"
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>

/* The length of a fold whose text lies on the stack. */
enum {
    SHORT_TEXT = 256
};
/* What one match may cost before the pattern is refused: steps, and KiB. */
enum {
    MATCH_LIMIT = 1000000,
    MATCH_HEAP_KIB = 20000
};

typedef struct text_arg {
    const char *ptr;
    size_t len;
} text_arg;

/* False: the argument is NULL, or out of memory, and the result is set. */
static bool get_text(sqlite3_context *context, sqlite3_value *value, text_arg *out)
{
    if (sqlite3_value_type(value) == SQLITE_NULL) {
        sqlite3_result_null(context);
        return false;
    }
    out->ptr = (const char *)sqlite3_value_text(value);
    if (!out->ptr) {
        /* an empty blob has no text either */
        if (sqlite3_value_type(value) != SQLITE_BLOB || sqlite3_value_bytes(value) != 0) {
            sqlite3_result_error_nomem(context);
            return false;
        }
        out->ptr = "";
    }
    out->len = (size_t)sqlite3_value_bytes(value);
    return true;
}

/* An error of the data rather than of the statement: ORM_EDATA. */
static void result_data_error(sqlite3_context *context, const char *message)
{
    sqlite3_result_error(context, message, -1);
    sqlite3_result_error_code(context, SQLITE_MISMATCH);
}

/* ---- folding and affixes ------------------------------------------------------------------ */

static void fn_fold(sqlite3_context *context, int n, sqlite3_value **args)
{
    (void)n;
    text_arg text;
    if (!get_text(context, args[0], &text)) return;
    if (text.len <= SHORT_TEXT && orm_text_is_ascii(text.ptr, text.len)) {
        char folded[SHORT_TEXT];
        for (size_t i = 0; i < text.len; i++) {
            char c = text.ptr[i];
            folded[i] = c >= 'A' && c <= 'Z' ? (char)(c | 0x20) : c;
        }
        sqlite3_result_text(context, folded, (int)text.len, SQLITE_TRANSIENT);
        return;
    }
    orm_buf out;
    orm_buf_init(&out, 0);
    orm_utf8_casefold(&out, text.ptr, text.len);
    size_t len = out.len;
    char *folded = orm_buf_take(&out);
    if (folded)
        sqlite3_result_text64(context, folded, len, orm_dealloc, SQLITE_UTF8);
    else
        sqlite3_result_error_nomem(context);
}

static void fn_startswith(sqlite3_context *context, int n, sqlite3_value **args)
{
    (void)n;
    text_arg text, part;
    if (!get_text(context, args[0], &text) || !get_text(context, args[1], &part)) return;
    sqlite3_result_int(context, part.len <= text.len && memcmp(text.ptr, part.ptr, part.len) == 0);
}

static void fn_endswith(sqlite3_context *context, int n, sqlite3_value **args)
{
    (void)n;
    text_arg text, part;
    if (!get_text(context, args[0], &text) || !get_text(context, args[1], &part)) return;
    sqlite3_result_int(context, part.len <= text.len && memcmp(text.ptr + (text.len - part.len),
                                                               part.ptr, part.len) == 0);
}

/* ---- regular expressions ------------------------------------------------------------------ */

typedef struct regexp {
    pcre2_general_context *general;
    pcre2_compile_context *compile;
    pcre2_match_context *match;
    pcre2_code *code;
    pcre2_match_data *data;
} regexp;

static void *regexp_alloc(PCRE2_SIZE size, void *user)
{
    (void)user;
    return orm_alloc(size);
}

static void regexp_dealloc(void *p, void *user)
{
    (void)user;
    orm_dealloc(p);
}

static void regexp_free(void *arg)
{
    regexp *self = arg;
    if (!self) return;
    pcre2_match_data_free(self->data);
    pcre2_code_free(self->code);
    pcre2_match_context_free(self->match);
    pcre2_compile_context_free(self->compile);
    pcre2_general_context_free(self->general);
    orm_dealloc(self);
}

/* PCRE2's code of an error; a bad pattern gives a positive one, and its place. */
static int regexp_compile(regexp *self, text_arg pattern, bool caseless, size_t *place)
{
    uint32_t options = PCRE2_UTF | PCRE2_UCP | PCRE2_MATCH_INVALID_UTF | PCRE2_NEVER_BACKSLASH_C;
    if (caseless) options |= PCRE2_CASELESS;
    int code = PCRE2_ERROR_NOMEMORY;
    self->general = pcre2_general_context_create(regexp_alloc, regexp_dealloc, NULL);
    if (!self->general) return code;
    self->compile = pcre2_compile_context_create(self->general);
    self->match = pcre2_match_context_create(self->general);
    if (!self->compile || !self->match) return code;
    pcre2_set_match_limit(self->match, MATCH_LIMIT);
    pcre2_set_heap_limit(self->match, MATCH_HEAP_KIB);
    self->code = pcre2_compile((PCRE2_SPTR)pattern.ptr, pattern.len, options, &code, place,
                               self->compile);
    if (!self->code) return code == PCRE2_ERROR_HEAP_FAILED ? PCRE2_ERROR_NOMEMORY : code;
    self->data = pcre2_match_data_create(1, self->general);
    return self->data ? 0 : PCRE2_ERROR_NOMEMORY;
}

/* The compiled pattern, or NULL with the result set. */
static regexp *regexp_new(sqlite3_context *context, text_arg pattern, bool caseless)
{
    regexp *self = orm_alloc0(sizeof(*self));
    size_t place = 0;
    int code = self ? regexp_compile(self, pattern, caseless, &place) : PCRE2_ERROR_NOMEMORY;
    if (code == 0) return self;
    regexp_free(self);
    if (code == PCRE2_ERROR_NOMEMORY) {
        sqlite3_result_error_nomem(context);
        return NULL;
    }
    PCRE2_UCHAR reason[120];
    pcre2_get_error_message(code, reason, sizeof(reason));
    char *message = sqlite3_mprintf("bad regular expression at byte %llu: %s",
                                    (unsigned long long)place, (const char *)reason);
    if (message)
        result_data_error(context, message);
    else
        sqlite3_result_error_nomem(context);
    sqlite3_free(message);
    return NULL;
}

static void regexp_run(sqlite3_context *context, regexp *self, text_arg text)
{
    int code = pcre2_match(self->code, (PCRE2_SPTR)text.ptr, text.len, 0, 0, self->data,
                           self->match);
    if (code >= 0 || code == PCRE2_ERROR_NOMATCH) {
        sqlite3_result_int(context, code >= 0);
    } else if (code == PCRE2_ERROR_NOMEMORY) {
        sqlite3_result_error_nomem(context);
    } else if (code == PCRE2_ERROR_MATCHLIMIT || code == PCRE2_ERROR_HEAPLIMIT ||
               code == PCRE2_ERROR_DEPTHLIMIT) {
        result_data_error(context, "the regular expression takes too many steps on this text");
    } else {
        result_data_error(context, "the regular expression cannot be matched");
    }
}

/* (pattern, text); the user data says whether case counts.  A pattern that is the same for all
 * rows is compiled once per statement. */
static void fn_regexp(sqlite3_context *context, int n, sqlite3_value **args)
{
    (void)n;
    text_arg pattern, text;
    if (!get_text(context, args[0], &pattern) || !get_text(context, args[1], &text)) return;
    regexp *known = sqlite3_get_auxdata(context, 0);
    regexp *self = known;
    if (!self) self = regexp_new(context, pattern, sqlite3_user_data(context) != NULL);
    if (!self) return;
    regexp_run(context, self, text);
    /* last: SQLite may free it at once */
    if (!known) sqlite3_set_auxdata(context, 0, self, regexp_free);
}

/* ---- decimals ------------------------------------------------------------------------------ */

static int compare_decimals(void *user, int a_len, const void *a, int b_len, const void *b)
{
    (void)user;
    return orm_decimal_compare(a, (size_t)a_len, b, (size_t)b_len);
}

/* What a column makes of a number in text, by SQLite's rules for declared types. */
enum {
    KEEPS_TEXT,
    MAKES_NUMBER,
    MAKES_FLOAT
};

static bool type_has(const char *type, const char *word)
{
    size_t len = strlen(word);
    for (; *type; type++) {
        if (sqlite3_strnicmp(type, word, (int)len) == 0) return true;
    }
    return false;
}

static int affinity(const char *type)
{
    if (type_has(type, "INT")) return MAKES_NUMBER;
    if (type_has(type, "CHAR") || type_has(type, "CLOB") || type_has(type, "TEXT") ||
        type_has(type, "BLOB") || !*type)
        return KEEPS_TEXT;
    if (type_has(type, "REAL") || type_has(type, "FLOA") || type_has(type, "DOUB"))
        return MAKES_FLOAT;
    return MAKES_NUMBER;
}

/* A float tells 15 digits apart, an integer of 64 bits 18. */
static bool is_exact(int affinity, text_arg number)
{
    orm_decimal_info info;
    if (affinity == KEEPS_TEXT || !orm_decimal_parse(number.ptr, number.len, &info)) return true;
    bool whole = memchr(number.ptr, '.', number.len) == NULL;
    return info.digits <= (affinity == MAKES_NUMBER && whole ? 18 : 15);
}

/* (table, column, number): the number, if the column keeps all its digits.  A column of a view or
 * of nothing at all is left to the statement. */
static void fn_exact(sqlite3_context *context, int n, sqlite3_value **args)
{
    (void)n;
    text_arg table, column, number;
    if (!get_text(context, args[0], &table) || !get_text(context, args[1], &column) ||
        !get_text(context, args[2], &number))
        return;
    if (number.len > 15) { /* else it fits, whatever the column is */
        const char *type = NULL;
        int code = sqlite3_table_column_metadata(sqlite3_context_db_handle(context), NULL,
                                                 table.ptr, column.ptr, &type, NULL, NULL, NULL,
                                                 NULL);
        if (code == SQLITE_NOMEM) {
            sqlite3_result_error_nomem(context);
            return;
        }
        if (code == SQLITE_OK && !is_exact(affinity(type ? type : ""), number)) {
            char *message = sqlite3_mprintf("%s.%s: the number has more digits than a column of "
                                            "type %s keeps; a TEXT column would",
                                            table.ptr, column.ptr, type);
            if (message)
                result_data_error(context, message);
            else
                sqlite3_result_error_nomem(context);
            sqlite3_free(message);
            return;
        }
    }
    sqlite3_result_value(context, args[2]);
}

int functions_install(sqlite3 *db)
{
    static const struct {
        const char *name;
        int n;
        void (*fn)(sqlite3_context *, int, sqlite3_value **);
        bool caseless;
    } functions[] = {
        {"orm_fold", 1, fn_fold, false},         {"orm_startswith", 2, fn_startswith, false},
        {"orm_endswith", 2, fn_endswith, false}, {"orm_regexp", 2, fn_regexp, false},
        {"orm_iregexp", 2, fn_regexp, true},
    };
    int flags = SQLITE_UTF8 | SQLITE_DETERMINISTIC | SQLITE_INNOCUOUS;
    for (size_t i = 0; i < ORM_COUNT(functions); i++) {
        int code = sqlite3_create_function_v2(db, functions[i].name, functions[i].n, flags,
                                              functions[i].caseless ? db : NULL, functions[i].fn,
                                              NULL, NULL, NULL);
        if (code != SQLITE_OK) return code;
    }
    /* what it says depends on the tables: not deterministic, and not for schemas */
    int code = sqlite3_create_function_v2(db, "orm_exact", 3, SQLITE_UTF8 | SQLITE_DIRECTONLY, NULL,
                                          fn_exact, NULL, NULL, NULL);
    if (code != SQLITE_OK) return code;
    return sqlite3_create_collation_v2(db, "orm_decimal", SQLITE_UTF8, NULL, compare_decimals,
                                       NULL);
}
