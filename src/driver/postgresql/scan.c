/* scan.c - what a statement's text says by itself.
 *
 * Not a parser: it walks over words, and past strings, quoted names, comments and dollar-quoted
 * bodies, whose contents mean nothing here.  What it cannot know it answers with care: a
 * statement "only reads" when it begins like a query and has no word of a write anywhere.
 */
#include "postgresql.h"

#include <strings.h>

typedef struct scanner {
    const char *at, *end;
} scanner;

static bool is_word_start(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || c == '_' || (unsigned char)c >= 128;
}

static bool is_word(char c)
{
    return is_word_start(c) || (c >= '0' && c <= '9') || c == '$';
}

/* Behind the closing quote; doubled quotes stay inside.  escapes: backslashes count too. */
static void skip_quoted(scanner *s, char quote, bool escapes)
{
    for (s->at++; s->at < s->end; s->at++) {
        if (escapes && *s->at == '\\' && s->at + 1 < s->end) {
            s->at++;
        } else if (*s->at == quote) {
            if (s->at + 1 == s->end || s->at[1] != quote) {
                s->at++;
                return;
            }
            s->at++;
        }
    }
}

/* Block comments nest. */
static void skip_comment(scanner *s)
{
    size_t depth = 0;
    while (s->at < s->end) {
        bool two = s->end - s->at > 1;
        if (two && s->at[0] == '/' && s->at[1] == '*') {
            depth++;
            s->at += 2;
        } else if (two && s->at[0] == '*' && s->at[1] == '/') {
            depth--;
            s->at += 2;
            if (depth == 0) return;
        } else {
            s->at++;
        }
    }
}

/* $tag$ … $tag$; false when no tag stands here. */
static bool skip_dollar_quoted(scanner *s)
{
    const char *tag_end = s->at + 1;
    while (tag_end < s->end && *tag_end != '$' && is_word(*tag_end)) tag_end++;
    if (tag_end == s->end || *tag_end != '$') return false;
    size_t len = (size_t)(tag_end + 1 - s->at);
    const char *tag = s->at;
    for (s->at += len; (size_t)(s->end - s->at) >= len; s->at++) {
        if (memcmp(s->at, tag, len) == 0) {
            s->at += len;
            return true;
        }
    }
    s->at = s->end;
    return true;
}

/* $1, or the beginning of a dollar-quoted text. */
static void scan_dollar(scanner *s, pg_scan *out)
{
    uint32_t n = 0;
    if (s->at + 1 == s->end || s->at[1] < '0' || s->at[1] > '9') {
        if (!skip_dollar_quoted(s)) s->at++;
        return;
    }
    for (s->at++; s->at < s->end && *s->at >= '0' && *s->at <= '9'; s->at++) {
        if (n <= PG_MAX_PARAMS) n = n * 10 + (uint32_t)(*s->at - '0');
    }
    if (n > out->n_params) out->n_params = n;
}

static bool is_one_of(const char *word, size_t len, const char *const *list)
{
    for (; *list; list++) {
        if (strlen(*list) == len && strncasecmp(*list, word, len) == 0) return true;
    }
    return false;
}

static void scan_word(scanner *s, pg_scan *out)
{
    static const char *const queries[] = {"select", "with", "values", "table", "show", NULL};
    static const char *const writes[] = {"insert", "update", "delete", "merge",
                                         "into",   "call",   NULL};
    static const char *const commits[] = {"commit", "end", NULL};
    const char *word = s->at;
    while (s->at < s->end && is_word(*s->at)) s->at++;
    size_t len = (size_t)(s->at - word);
    if (out->empty) {
        out->reads = is_one_of(word, len, queries);
        out->commits = is_one_of(word, len, commits);
    } else if (is_one_of(word, len, writes)) {
        out->reads = false;
    }
    /* E'it\'s' */
    bool escapes = len == 1 && (*word == 'e' || *word == 'E');
    if (escapes && s->at < s->end && *s->at == '\'') skip_quoted(s, '\'', true);
}

void pg_scan_sql(const char *sql, size_t len, pg_scan *out)
{
    scanner s = {sql, sql + len};
    *out = (pg_scan){.empty = true};
    while (s.at < s.end) {
        char c = *s.at;
        bool two = s.end - s.at > 1;
        if (c == ' ' || c == ';' || (c >= '\t' && c <= '\r')) {
            s.at++;
            continue;
        }
        if (two && c == '-' && s.at[1] == '-') {
            while (s.at < s.end && *s.at != '\n') s.at++;
            continue;
        }
        if (two && c == '/' && s.at[1] == '*') {
            skip_comment(&s);
            continue;
        }
        if (c == '(' && out->empty) { /* (SELECT …) UNION … begins with what is inside */
            s.at++;
            continue;
        }
        if (is_word_start(c))
            scan_word(&s, out);
        else if (c == '\'' || c == '"')
            skip_quoted(&s, c, false);
        else if (c == '$')
            scan_dollar(&s, out);
        else
            s.at++;
        out->empty = false;
    }
}
