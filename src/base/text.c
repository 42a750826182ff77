/* text.c - UTF-8, case folding, nearest names, hashing. */
#include "base.h"

#include "casefold_table.h"

#define HIGH_BITS 0x8080808080808080ull

static uint64_t load8(const char *p)
{
    uint64_t word;
    memcpy(&word, p, sizeof word);
    return word;
}

/* Length of the ASCII at the beginning, eight bytes at a time. */
static size_t ascii_prefix(const char *text, size_t len)
{
    size_t i = 0;
    while (i + 8 <= len && !(load8(text + i) & HIGH_BITS)) i += 8;
    while (i < len && !((unsigned char)text[i] & 0x80)) i++;
    return i;
}

bool orm_text_is_ascii(const char *text, size_t len)
{
    return ascii_prefix(text, len) == len;
}

static bool is_continuation(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

size_t orm_utf8_step(const char *text, size_t len)
{
    const unsigned char *c = (const unsigned char *)text;
    if (len == 0) return 0;
    if (c[0] < 0x80) return 1;
    if (c[0] < 0xc2) return 0;
    if (c[0] < 0xe0) return len >= 2 && is_continuation(c[1]) ? 2 : 0;
    if (len < 3 || !is_continuation(c[1]) || !is_continuation(c[2])) return 0;
    if (c[0] < 0xf0) {
        bool overlong = c[0] == 0xe0 && c[1] < 0xa0;
        bool surrogate = c[0] == 0xed && c[1] > 0x9f;
        return overlong || surrogate ? 0 : 3;
    }
    if (len < 4 || c[0] > 0xf4 || !is_continuation(c[3])) return 0;
    bool overlong = c[0] == 0xf0 && c[1] < 0x90;
    bool beyond = c[0] == 0xf4 && c[1] > 0x8f;
    return overlong || beyond ? 0 : 4;
}

bool orm_utf8_is_valid(const char *text, size_t len)
{
    for (size_t i = 0; i < len;) {
        i += ascii_prefix(text + i, len - i);
        if (i == len) return true;
        /* Text that is not ASCII here is mostly not ASCII next either. */
        do {
            size_t n = orm_utf8_step(text + i, len - i);
            if (n == 0) return false;
            i += n;
        } while (i < len && (unsigned char)text[i] >= 0x80);
    }
    return true;
}

size_t orm_utf8_length(const char *text, size_t len)
{
    size_t continuations = 0, i = 0;
    for (; i + 8 <= len; i += 8) {
        uint64_t word = load8(text + i);
        /* Bit 7 set and bit 6 clear, in every byte. */
        continuations += (size_t)__builtin_popcountll(word & ~(word << 1) & HIGH_BITS);
    }
    for (; i < len; i++) continuations += is_continuation((unsigned char)text[i]);
    return len - continuations;
}

size_t orm_utf8_cut(const char *text, size_t len, size_t max_bytes)
{
    if (len <= max_bytes && (len == 0 || !((unsigned char)text[len - 1] & 0x80))) return len;
    size_t end = len < max_bytes ? len : max_bytes;
    size_t start = end;
    while (start > 0 && end - start < 3 && is_continuation((unsigned char)text[start - 1])) start--;
    if (start > 0 && (unsigned char)text[start - 1] >= 0xc0) start--;
    /* The last character stays when it is whole; bytes that never were one stay too. */
    size_t n = orm_utf8_step(text + start, end - start);
    bool is_lead = start < end && (unsigned char)text[start] >= 0xc0;
    return is_lead && n == 0 ? start : end;
}

/* ---- case folding ---- */

static uint32_t decode(const char *text, size_t n)
{
    const unsigned char *c = (const unsigned char *)text;
    if (n == 2) return (c[0] & 0x1fu) << 6 | (c[1] & 0x3fu);
    if (n == 3) return (c[0] & 0x0fu) << 12 | (c[1] & 0x3fu) << 6 | (c[2] & 0x3fu);
    return (c[0] & 0x07u) << 18 | (c[1] & 0x3fu) << 12 | (c[2] & 0x3fu) << 6 | (c[3] & 0x3fu);
}

static size_t encode(char *out, uint32_t c)
{
    if (c < 0x80) {
        out[0] = (char)c;
        return 1;
    }
    size_t n = c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    for (size_t i = n - 1; i > 0; i--, c >>= 6) out[i] = (char)(0x80 | (c & 0x3f));
    out[0] = (char)(c | (n == 2 ? 0xc0 : n == 3 ? 0xe0 : 0xf0));
    return n;
}

/* Folds one character that is not ASCII into out (12 bytes); 0 = it folds to itself. */
static size_t fold_one(char *out, uint32_t c)
{
    size_t low = 0, high = ORM_COUNT(fold_ranges);
    while (low < high) { /* the first range that ends at or behind c */
        size_t middle = (low + high) / 2;
        if (fold_ranges[middle].last < c)
            low = middle + 1;
        else
            high = middle;
    }
    if (low == ORM_COUNT(fold_ranges) || c < fold_ranges[low].first) return 0;
    const struct fold_range *range = &fold_ranges[low];
    if (range->stride != FOLD_EXPANDS) {
        if ((c - range->first) % (uint32_t)range->stride) return 0;
        return encode(out, (uint32_t)((int32_t)c + range->delta));
    }
    const uint16_t *to = fold_expansions[(uint32_t)range->delta + (c - range->first)];
    size_t n = 0;
    for (int i = 0; i < 3 && to[i]; i++) n += encode(out + n, to[i]);
    return n;
}

/* 'A'..'Z' to lower case in all eight bytes at once; the word must be ASCII. */
static uint64_t fold8(uint64_t word)
{
    uint64_t from_a = word + 0x3f3f3f3f3f3f3f3full;   /* bit 7: >= 'A' */
    uint64_t beyond_z = word + 0x2525252525252525ull; /* bit 7: > 'Z' */
    return word | ((from_a & ~beyond_z & HIGH_BITS) >> 2);
}

static void add_folded_ascii(orm_buf *out, const char *text, size_t len)
{
    char folded[256];
    while (len) {
        size_t n = len < sizeof folded ? len : sizeof folded, i = 0;
        for (; i + 8 <= n; i += 8) {
            uint64_t word = fold8(load8(text + i));
            memcpy(folded + i, &word, sizeof word);
        }
        for (; i < n; i++)
            folded[i] = (char)(text[i] >= 'A' && text[i] <= 'Z' ? text[i] | 0x20 : text[i]);
        orm_buf_add(out, folded, n);
        text += n;
        len -= n;
    }
}

void orm_utf8_casefold(orm_buf *out, const char *text, size_t len)
{
    for (size_t i = 0; i < len && !out->failed;) {
        size_t ascii = ascii_prefix(text + i, len - i);
        add_folded_ascii(out, text + i, ascii);
        for (i += ascii; i < len && (unsigned char)text[i] >= 0x80;) {
            size_t n = orm_utf8_step(text + i, len - i);
            char folded[12];
            size_t n_folded = n ? fold_one(folded, decode(text + i, n)) : 0;
            if (n_folded)
                orm_buf_add(out, folded, n_folded);
            else
                orm_buf_add(out, text + i, n ? n : 1); /* also bytes that are no UTF-8 */
            i += n ? n : 1;
        }
    }
}

/* ---- nearest names ---- */

#define NAME_MAX_LEN 64 /* longer ones have no near names */
#define NEAREST 3

/* Damerau-Levenshtein (neighbours may be swapped), at most `bound`; bound + 1 = farther.  Rows
 * whose every entry is beyond the bound end it early. */
static size_t edit_distance(const char *a, size_t a_len, const char *b, size_t b_len, size_t bound)
{
    uint8_t rows[3][NAME_MAX_LEN + 1];
    uint8_t *before = rows[0], *above = rows[1], *row = rows[2];
    size_t difference = a_len > b_len ? a_len - b_len : b_len - a_len;
    if (difference > bound || a_len > NAME_MAX_LEN || b_len > NAME_MAX_LEN) return bound + 1;
    for (size_t j = 0; j <= b_len; j++) above[j] = (uint8_t)j;
    for (size_t i = 1; i <= a_len; i++) {
        size_t least = row[0] = (uint8_t)i;
        for (size_t j = 1; j <= b_len; j++) {
            size_t best = above[j - 1] + (size_t)(a[i - 1] != b[j - 1]);
            if (above[j] + 1u < best) best = above[j] + 1u;
            if (row[j - 1] + 1u < best) best = row[j - 1] + 1u;
            bool swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            if (swapped && before[j - 2] + 1u < best) best = before[j - 2] + 1u;
            row[j] = (uint8_t)best;
            if (best < least) least = best;
        }
        if (least > bound) return bound + 1;
        uint8_t *oldest = before;
        before = above;
        above = row;
        row = oldest;
    }
    return above[b_len] <= bound ? above[b_len] : bound + 1;
}

size_t orm_text_nearest(orm_buf *out, const char *wrong, size_t len, orm_name_fn get,
                        const void *of)
{
    struct {
        const char *name;
        size_t distance;
    } best[NEAREST];
    size_t n = 0, bound = 1 + len / 3;
    const char *name;
    for (size_t i = 0; (name = get(of, i)) != NULL; i++) {
        size_t distance = edit_distance(wrong, len, name, strlen(name), bound);
        if (distance > bound) continue;
        size_t at = n; /* behind those that are as near: the caller's order holds among equals */
        while (at > 0 && best[at - 1].distance > distance) at--;
        if (at == NEAREST) continue;
        if (n < NEAREST) n++;
        memmove(best + at + 1, best + at, (n - 1 - at) * sizeof best[0]);
        best[at].name = name;
        best[at].distance = distance;
    }
    for (size_t i = 0; i < n; i++) {
        orm_buf_adds(out, i ? ", '" : "'");
        orm_buf_adds(out, best[i].name);
        orm_buf_addc(out, '\'');
    }
    return n;
}

/* ---- hashing ---- */

uint64_t orm_hash_bytes(const void *bytes, size_t len, uint64_t seed)
{
    const char *p = bytes;
    uint64_t h = orm_hash_mix(seed, len);
    size_t i = 0;
    for (; i + 8 <= len; i += 8) h = orm_hash_mix(h, load8(p + i));
    if (i < len) {
        uint64_t word = 0;
        memcpy(&word, p + i, len - i);
        h = orm_hash_mix(h, word);
    }
    return orm_hash_mix(h, 0);
}
