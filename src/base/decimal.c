/* decimal.c - decimals as text.
 *
 * A text is read once into `number`: value = 0.d0 d1 ... d(n-1) * 10^point, where the digits have
 * no zero at either end and stay where they are in the text.  Position i of the plain form is
 * then digit i for every i, those outside 0..n-1 being zeros; the point stands before `point`.
 */
#include "base.h"

/* The plain form of what can be stored has fewer digits than this (PostgreSQL's limits together),
 * so "1E+999999" costs nothing. */
#define PLAIN_MAX 150000
/* Counts in orm_decimal_info stop here: two of them may be added. */
#define COUNT_MAX 1000000000
#define EXPONENT_MAX 100000000000000000ll

typedef struct number {
    const char *digits; /* d0 in the text */
    size_t before_dot;  /* how many digits follow one another before the '.' between them */
    size_t n;           /* 0: the number is zero */
    int64_t point;
    bool negative;
} number;

static char get_digit(const number *x, int64_t i)
{
    if (i < 0 || (uint64_t)i >= x->n) return '0';
    return x->digits[(size_t)i + ((size_t)i >= x->before_dot)];
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* "E+12" up to the end of the text; values beyond every use stop at EXPONENT_MAX. */
static bool read_exponent(const char *at, const char *end, int64_t *exponent)
{
    *exponent = 0;
    if (at == end) return true;
    if (*at != 'e' && *at != 'E') return false;
    at++;
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    if (at == end) return false;
    for (; at < end; at++) {
        if (!is_digit(*at)) return false;
        *exponent = *exponent * 10 + (*at - '0');
        if (*exponent > EXPONENT_MAX) *exponent = EXPONENT_MAX;
    }
    if (negative) *exponent = -*exponent;
    return true;
}

static bool read_number(const char *text, size_t len, number *x)
{
    const char *at = text, *end = len ? text + len : text; /* NULL is an empty text too */
    int64_t exponent;
    memset(x, 0, sizeof *x);
    bool negative = at < end && *at == '-';
    if (at < end && (*at == '-' || *at == '+')) at++;
    const char *start = at, *dot = NULL;
    while (at < end && (is_digit(*at) || (*at == '.' && !dot))) {
        if (*at == '.') dot = at;
        at++;
    }
    const char *stop = at;
    if (stop - start == (dot ? 1 : 0) || !read_exponent(at, end, &exponent)) return false;
    if (!dot) dot = stop;
    while (start < stop && (*start == '0' || *start == '.')) start++;
    while (stop > start && (stop[-1] == '0' || stop[-1] == '.')) stop--;
    if (start == stop) return true;
    bool spans_dot = start < dot && dot < stop;
    x->digits = start;
    x->n = (size_t)(stop - start) - spans_dot;
    x->before_dot = spans_dot ? (size_t)(dot - start) : x->n;
    /* Behind the point, d0 stands one place further left than its distance from the point. */
    x->point = (start < dot ? dot - start : dot - start + 1) + exponent;
    x->negative = negative;
    return true;
}

/* How many digits there are before and behind the point of the plain form. */
static int64_t integer_digits(const number *x)
{
    return x->n && x->point > 0 ? x->point : 0;
}

static int64_t decimal_places(const number *x)
{
    return x->n && (int64_t)x->n > x->point ? (int64_t)x->n - x->point : 0;
}

static int to_count(int64_t n)
{
    return n > COUNT_MAX ? COUNT_MAX : (int)n;
}

bool orm_decimal_parse(const char *text, size_t len, orm_decimal_info *info)
{
    number x;
    if (!read_number(text, len, &x)) return false;
    info->digits = to_count(x.point > (int64_t)x.n ? x.point : (int64_t)x.n);
    info->integer_digits = to_count(integer_digits(&x));
    info->places = to_count(decimal_places(&x));
    info->negative = x.negative;
    info->is_zero = x.n == 0;
    if (info->is_zero) info->digits = 0;
    return true;
}

/* Digits from..to of the plain form. */
static void add_digits(orm_buf *out, const number *x, int64_t from, int64_t to)
{
    char chunk[128];
    while (from < to) {
        size_t n = 0;
        while (n < sizeof chunk && from < to) chunk[n++] = get_digit(x, from++);
        orm_buf_add(out, chunk, n);
    }
}

/* The plain form, cut behind `places`. */
static void add_plain(orm_buf *out, const number *x, int64_t places)
{
    if (integer_digits(x))
        add_digits(out, x, 0, x->point);
    else
        orm_buf_addc(out, '0');
    if (places == 0) return;
    orm_buf_addc(out, '.');
    add_digits(out, x, x->point, x->point + places);
}

static bool is_too_long(const number *x, int64_t places)
{
    return integer_digits(x) + places > PLAIN_MAX;
}

bool orm_decimal_format(orm_buf *out, const char *text, size_t len, int places)
{
    number x;
    if (!read_number(text, len, &x)) return false;
    int64_t needed = decimal_places(&x);
    if (places >= 0 && needed > places) return false;
    if (places >= 0) needed = places;
    if (is_too_long(&x, needed)) return false;
    if (x.negative) orm_buf_addc(out, '-');
    add_plain(out, &x, needed);
    return true;
}

/* Whether the digits from `cut` on are more than half of a unit before it, or half and the digit
 * before it is odd. */
static bool has_to_round_up(const number *x, int64_t cut)
{
    char first = get_digit(x, cut);
    if (first != '5') return first > '5';
    return (int64_t)x->n > cut + 1 || (get_digit(x, cut - 1) - '0') % 2 == 1;
}

/* Adds one unit in the last place to the plain number that begins at `start`. */
static void increment(orm_buf *out, size_t start)
{
    for (size_t i = out->len; i-- > start;) {
        if (out->ptr[i] == '.') continue;
        if (out->ptr[i] != '9') {
            out->ptr[i]++;
            return;
        }
        out->ptr[i] = '0';
    }
    orm_buf_addc(out, '0'); /* 9.9 became 0.0: one more digit, in front */
    if (out->failed) return;
    memmove(out->ptr + start + 1, out->ptr + start, out->len - start - 1);
    out->ptr[start] = '1';
}

static bool is_zero_text(const char *text, size_t len)
{
    for (size_t i = 0; i < len; i++)
        if (text[i] >= '1' && text[i] <= '9') return false;
    return true;
}

bool orm_decimal_quantize(orm_buf *out, const char *text, size_t len, int places)
{
    number x;
    if (places < 0) return orm_decimal_format(out, text, len, places);
    if (!read_number(text, len, &x) || is_too_long(&x, places)) return false;
    size_t start = out->len;
    if (x.negative) orm_buf_addc(out, '-');
    size_t digits = out->len;
    add_plain(out, &x, places);
    if (x.n && !out->failed && has_to_round_up(&x, x.point + places)) increment(out, digits);
    /* No minus sign before a value that became zero. */
    if (x.negative && !out->failed && is_zero_text(out->ptr + digits, out->len - digits)) {
        memmove(out->ptr + start, out->ptr + digits, out->len - digits + 1);
        out->len--;
    }
    return true;
}

static int compare_sizes(const number *a, const number *b)
{
    if (a->n == 0 || b->n == 0) return (a->n != 0) - (b->n != 0);
    if (a->point != b->point) return a->point < b->point ? -1 : 1;
    size_t n = a->n < b->n ? a->n : b->n;
    for (size_t i = 0; i < n; i++) {
        int difference = get_digit(a, (int64_t)i) - get_digit(b, (int64_t)i);
        if (difference) return difference;
    }
    return (a->n > b->n) - (a->n < b->n);
}

static int compare_bytes(const char *a, size_t a_len, const char *b, size_t b_len)
{
    size_t n = a_len < b_len ? a_len : b_len;
    int difference = n ? memcmp(a, b, n) : 0;
    return difference ? difference : (a_len > b_len) - (a_len < b_len);
}

int orm_decimal_compare(const char *a, size_t a_len, const char *b, size_t b_len)
{
    number x, y;
    bool is_a = read_number(a, a_len, &x), is_b = read_number(b, b_len, &y);
    if (!is_a && !is_b) return compare_bytes(a, a_len, b, b_len);
    if (is_a != is_b) return is_a ? -1 : 1;
    if (x.negative != y.negative) return x.negative ? -1 : 1;
    return x.negative ? compare_sizes(&y, &x) : compare_sizes(&x, &y);
}
