/* session.c - what the caller's own SQL may leave in a session, and taking it away.
 *
 * Settings, temporary tables, advisory locks, LISTEN and variables outlive the statement that made
 * them, and the next borrower of the connection must see none.  Taking them away costs a round
 * trip or two, so it is done only behind a text that may have left something.  The text is
 * not parsed: it is harmless when it begins with one of the words below, calls nothing but what
 * is known to be harmless, and has nothing in it that this scanner does not understand.  Whatever
 * else it is, the session is renewed: an error here costs time and nothing more.
 */
#include "engine.h"
#include <stdio.h>

enum {
    LONGEST_WORD = 24
};

/* Lists of words, each between spaces.  Statements that leave nothing by themselves: */
static const char verbs[] =
    " alter analyze begin commit create delete drop explain insert merge replace rollback "
    "select show table truncate update values with ";

/* What may stand before "(" and leaves nothing. */
static const char calls[] =
    " abs all and any array array_agg as avg between bigint bool_and bool_or boolean by "
    "cardinality case cast ceil ceiling char char_length check coalesce concat concat_ws "
    "conflict connection_id convert cos count cume_dist current_timestamp date date_add "
    "date_format date_part date_sub date_trunc datetime day decimal default dense_rank "
    "distinct double else except exists exp extract filter first_value float floor "
    "format from from_unixtime generate_series greatest group group_concat having hex "
    "hour if ifnull in instr int integer intersect interval is join json json_agg "
    "json_array json_build_object json_extract json_object jsonb key lag last_value "
    "lateral lead least left length like limit ln log lower lpad ltrim max md5 min "
    "minute mod month not now ntile nullif numeric nvl offset on or order ordinality "
    "over partition pg_backend_pid position power random rank recursive references "
    "regexp_replace repeat replace returning reverse right round row row_number rpad "
    "rtrim second select set sign sin smallint some sqrt string_agg substr substring sum "
    "text then time timestamp timestampdiff timestamptz to_char to_date to_timestamp "
    "trim truncate union unique unix_timestamp unnest upper using uuid values varchar "
    "version when where within xor year ";

/* Behind these stands a name, and may be followed by "(" too: INSERT INTO t (a). */
static const char before_names[] = " add as exists index into recursive table with ";

static const char temporary[] = " temp temporary ";

static bool is_in(const char *word, const char *list)
{
    char wanted[LONGEST_WORD + 3];
    snprintf(wanted, sizeof wanted, " %s ", word);
    return strstr(list, wanted) != NULL;
}

static bool is_word(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_';
}

typedef struct scanner {
    const char *at, *end;
    char word[LONGEST_WORD + 1], last[LONGEST_WORD + 1]; /* small letters; "" = none */
    bool begun;
} scanner;

static void read_word(scanner *s)
{
    size_t n = 0;
    memcpy(s->last, s->word, sizeof s->last);
    for (; s->at < s->end && is_word(*s->at); s->at++) {
        char c = *s->at >= 'A' && *s->at <= 'Z' ? (char)(*s->at - 'A' + 'a') : *s->at;
        if (n < LONGEST_WORD) s->word[n++] = c;
    }
    s->word[n] = '\0';
}

/* Behind a text or a quoted name; false when a backslash or the end of the text leaves open where
 * that is. */
static bool skip_quoted(scanner *s)
{
    char quote = *s->at++;
    for (; s->at < s->end && *s->at != '\\'; s->at++)
        if (*s->at == quote) {
            s->at++;
            memcpy(s->last, s->word, sizeof s->last);
            s->word[0] = '\0';
            return true;
        }
    return false;
}

/* A parenthesis: what stands before it? */
static bool may_open(const scanner *s)
{
    return !s->word[0] || is_in(s->word, calls) || is_in(s->last, before_names);
}

/* One step; false when it is not understood, or leaves something. */
static bool step(scanner *s)
{
    char c = *s->at;
    if (is_word(c)) {
        read_word(s);
        bool first = !s->begun;
        s->begun = true;
        return first ? is_in(s->word, verbs) : !is_in(s->word, temporary);
    }
    if (c == '\'' || c == '"' || c == '`') return skip_quoted(s);
    if (c == '(' && !may_open(s)) return false;
    if (c == '$') return ++s->at < s->end && *s->at >= '0' && *s->at <= '9'; /* else a quote */
    if (strchr("@#\\", c) || (unsigned char)c >= 128) return false;
    if (s->at + 1 < s->end && ((c == '-' && s->at[1] == '-') || (c == '/' && s->at[1] == '*')))
        return false; /* a comment, which may be none to the server */
    if (!strchr(" \t\r\n.", c)) s->word[0] = '\0';
    s->at++;
    return true;
}

bool orm_sql_leaves_traces(const char *sql, size_t len)
{
    scanner s = {.at = sql, .end = sql + len};
    while (s.at < s.end)
        if (!step(&s)) return true;
    return false;
}

/* MariaDB's list of statements that commit first, by their first word. */
static const char committing[] =
    " alter analyze cache change check create drop flush grant lock optimize rename repair reset "
    "revoke truncate unlock ";

bool orm_sql_commits(const char *sql, size_t len)
{
    scanner s = {.at = sql, .end = sql + len};
    for (int n = 0; n < 4; n++) { /* CREATE OR REPLACE TEMPORARY */
        while (s.at < s.end && strchr(" \t\r\n", *s.at)) s.at++;
        read_word(&s);
        if (n == 0 && (!s.word[0] || !is_in(s.word, committing))) return false;
        if (s.word[0] && is_in(s.word, temporary)) return false;
    }
    return true;
}

void orm_lane_renew(orm_lane *lane)
{
    const orm_driver *driver = lane->driver;
    lane->traced = false;
    if (lane->conn && (!driver->renew || driver->renew(lane->conn, NULL) < 0)) orm_lane_close(lane);
}
