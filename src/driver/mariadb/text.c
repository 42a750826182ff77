/* text.c - what SQL text can be known by.
 *
 * The server parses; this only looks at words, to tell what may be run twice, what ends a
 * transaction, and whether there is a second statement behind the first.  Doubt counts as
 * writing.  A comment that the server executes counts as text.
 */
#include "mariadb.h"
#include <strings.h>

typedef struct scanner {
    const char *at, *end;
    const char *word; /* the token that was read */
    size_t len;
} scanner;

static bool is_word_char(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' ||
           c == '$' || (c & 0x80);
}

static bool is_blank(char c)
{
    return c == ' ' || (c >= '\t' && c <= '\r');
}

static void skip_line(scanner *s)
{
    while (s->at < s->end && *s->at != '\n') s->at++;
}

/* Blanks and comments. */
static void skip_blank(scanner *s)
{
    while (s->at < s->end) {
        size_t left = (size_t)(s->end - s->at);
        const char *p = s->at;
        if (is_blank(*p)) {
            s->at++;
        } else if (*p == '#') {
            skip_line(s);
        } else if (*p == '-' && left > 1 && p[1] == '-' && (left == 2 || is_blank(p[2]))) {
            skip_line(s);
        } else if (*p == '/' && left > 2 && p[1] == '*' && p[2] != '!' &&
                   !(p[2] == 'M' && left > 3 && p[3] == '!')) {
            const char *close = memmem(p + 2, left - 2, "*/", 2);
            s->at = close ? close + 2 : s->end;
        } else {
            return;
        }
    }
}

static void skip_quoted(scanner *s, char quote)
{
    while (s->at < s->end && *s->at != quote) {
        if (*s->at == '\\' && quote != '`') s->at++;
        if (s->at < s->end) s->at++;
    }
    if (s->at < s->end) s->at++;
}

/* The next word, quoted thing or single character; false at the end. */
static bool next(scanner *s)
{
    skip_blank(s);
    if (s->at >= s->end) return false;
    s->word = s->at;
    char c = *s->at++;
    if (c == '\'' || c == '"' || c == '`')
        skip_quoted(s, c);
    else if (is_word_char(c))
        while (s->at < s->end && is_word_char(*s->at)) s->at++;
    s->len = (size_t)(s->at - s->word);
    return true;
}

static bool word_is(const scanner *s, const char *const *words)
{
    for (; *words; words++)
        if (strlen(*words) == s->len && strncasecmp(*words, s->word, s->len) == 0) return true;
    return false;
}

/* The first word, behind parentheses. */
static bool first_word(scanner *s)
{
    while (next(s))
        if (*s->word != '(') return true;
    return false;
}

bool text_is_empty(const char *sql, size_t len)
{
    scanner s = {.at = sql, .end = sql + len};
    while (next(&s))
        if (*s.word != ';') return false;
    return true;
}

size_t text_first_statement(const char *sql, size_t len, bool *is_single)
{
    scanner s = {.at = sql, .end = sql + len};
    *is_single = true;
    while (next(&s)) {
        if (*s.word != ';') continue;
        size_t first = (size_t)(s.word - sql);
        *is_single = text_is_empty(s.at, (size_t)(s.end - s.at));
        return *is_single ? first : len;
    }
    return len;
}

bool text_reads(const char *sql, size_t len)
{
    static const char *const reading[] = {"select", "with",     "values",  "table",
                                          "show",   "describe", "explain", NULL};
    static const char *const doubtful[] = {
        "into",     "update",         "share",    "insert",       "delete",
        "replace",  "nextval",        "setval",   "lastval",      "next",
        "previous", "last_insert_id", "get_lock", "release_lock", "release_all_locks",
        "analyze",  "load_file",      NULL};
    scanner s = {.at = sql, .end = sql + len};
    if (!first_word(&s) || !word_is(&s, reading)) return false;
    while (next(&s)) {
        bool assigns = *s.word == ':' && s.at < s.end && *s.at == '=';
        bool executed = *s.word == '/' && s.at < s.end && *s.at == '*';
        if (assigns || executed || word_is(&s, doubtful)) return false;
    }
    return true;
}

bool text_is_dml(const char *sql, size_t len)
{
    static const char *const words[] = {"select", "insert", "update", "delete", "replace",
                                        "with",   "values", "table",  "do",     NULL};
    scanner s = {.at = sql, .end = sql + len};
    return first_word(&s) && word_is(&s, words);
}

bool text_calls(const char *sql, size_t len)
{
    static const char *const words[] = {"call", NULL};
    scanner s = {.at = sql, .end = sql + len};
    return first_word(&s) && word_is(&s, words);
}
