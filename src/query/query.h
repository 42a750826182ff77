/* query.h - a query is a value: a chain of immutable nodes, newest first.
 *
 * Each step adds one node that refers to its parent, so deriving costs one allocation and
 * changes nothing.  Every node carries the rolling shape key of the chain up to it: operations,
 * fields, lookups and the shape-relevant facts of values, never values themselves.  Two chains
 * with equal keys are compared by orm_query_shape before a plan is reused.
 *
 * The root of a model's queries exists once, in the schema's memory: its references are the
 * schema's, so that beginning and dropping a query allocates nothing.  A failed step adds an
 * ERROR node, and every later step returns it unchanged.
 */
#ifndef ORM_QUERY_H
#define ORM_QUERY_H
#include "../schema/schema.h"

enum { ORM_STEP_ROOT = 1, ORM_STEP_FILTER, ORM_STEP_EXCLUDE, ORM_STEP_ORDER, ORM_STEP_LIMIT,
       ORM_STEP_RELATED, ORM_STEP_SEARCH, ORM_STEP_FLAGS, ORM_STEP_ERROR, ORM_STEP_MATCH };

/* Facts of a condition's value that change the SQL text. */
enum {
    ORM_FACT_NULL = 1,                /* the value is NULL */
    ORM_FACT_EMPTY = 2,               /* an empty list */
    ORM_FACT_HAS_NULL = 4,            /* a list with a NULL among others */
    ORM_FACT_INTS = 8,                /* a list of integers only (sent as one JSON text) */
    ORM_FACT_JSON = 16,               /* a long list of texts without NUL bytes: one JSON text */
    ORM_FACT_TRUE = 32,               /* isnull=True */
    ORM_FACT_QUERY = 64,              /* a subquery */
    ORM_FACT_RAW = 128                /* no condition: a value of a term's own SQL */
};
typedef struct orm_query_cond {
    orm_path path;
    orm_value value;                  /* owned; NULLs are taken out of lists */
    uint8_t facts;                    /* ORM_FACT_… */
    uint16_t list_size;               /* members sent one by one: padded to a power of two */
} orm_query_cond;

/* A term of an expression.  Its conditions and values stand in the node's conds, in the order of
 * the terms. */
typedef struct orm_query_term {
    uint8_t op;                       /* ORM_TERM_… */
    uint32_t n;                       /* AND, OR: operands; SQL: values */
    uint32_t sql_len, n_joins;
    const char *sql;
    const orm_path *joins;
} orm_query_term;

struct orm_query {
    volatile int refs;                /* atomic */
    uint8_t step;                     /* ORM_STEP_… */
    bool has_order, has_slice;
    uint8_t nesting;                  /* of subqueries in the chain's conditions; 0 = none */
    uint32_t depth;                   /* nodes down to the root; the root's is 1 */
    uint32_t flags;                   /* ORM_QUERY_… */
    uint32_t n_words, n_values;       /* of the whole chain up to this node, see shape.c */
    uint64_t *words;                  /* this node's own part of the shape */
    uint32_t n;                       /* conds, paths or fields of this node */
    uint32_t n_terms;
    uint64_t key;                     /* rolling shape key */
    const orm_model *model;
    orm_query *parent;                /* owned reference; NULL at the root */
    int64_t limit, offset;            /* in force after this node; -1, 0 = none */
    union {
        orm_query_cond *conds;        /* FILTER, EXCLUDE, MATCH; SEARCH: one, with the text */
        orm_path *paths;              /* ORDER, RELATED */
        orm_error *error;             /* ERROR */
    } as;
    union {
        uint16_t *search_fields;      /* SEARCH: n of them */
        orm_query_term *terms;        /* MATCH: n_terms of them, conds beside */
    };
    /* conds, paths or fields, and the words, follow in the same allocation */
};

#define ORM_QUERY_NESTING 6           /* subqueries within subqueries: parsers are no deeper */
#define ORM_TERM_NESTING 64           /* operators within each other */
#define ORM_LIST_MEMBERS 32766        /* of a list that is sent as single parameters */
#define ORM_LIST_JSON 512             /* longer lists of texts are sent as one JSON text */

/* Whether the condition sends a value (a subquery sends its own); `IS NULL` and constants do
 * not. */
static inline bool orm_query_cond_has_value(const orm_query_cond *cond)
{
    return (cond->facts & (ORM_FACT_NULL | ORM_FACT_EMPTY | ORM_FACT_QUERY)) == 0 &&
           cond->path.lookup != ORM_LOOKUP_ISNULL;
}

/* The chain's shape as words, root first; the number of words it needs.  Nothing is written when
 * that is more than `max`.  Equal words mean equal SQL. */
size_t orm_query_shape(const orm_query *query, uint64_t *words, size_t max);
/* The chain's values in the order in which the compiler numbers them: root first, conditions in
 * order, a subquery's values in its condition's place; limit and offset are not among them.
 * Borrowed pointers; returns the number needed, and writes nothing when that is more than max. */
size_t orm_query_values(const orm_query *query, const orm_value **values, size_t max);
/* The nodes of the chain, root first: depth of them. */
void orm_query_nodes(const orm_query *query, const orm_query **nodes);
/* What the steps of query.c and match.c share: a node on top of `parent` with room for `payload`
 * bytes and `words` words behind it (NULL: parent stays the caller's); the failed query (takes
 * `query`); taking condition i; dropping conditions that no node has; ending a new node. */
orm_query *orm_query_node(orm_query *parent, int step, size_t n, size_t payload, size_t words);
orm_query *orm_query_fail(orm_query *query, const orm_error *error);
orm_status orm_query_cond_take(orm_query *node, const orm_cond *cond, size_t i, orm_error *err);
orm_status orm_query_value_take(orm_value *out, const orm_value *value, orm_error *err);
orm_status orm_query_conds_check(const orm_cond *conds, size_t n, orm_error *err);
void orm_query_conds_drop(const orm_cond *conds, size_t n);
void orm_query_node_dispose(orm_query *node);
/* Fills the node's words (their number is known from its allocation), its key and its counts
 * from its parent and its payload; the last thing done to a new node. */
void orm_query_node_seal(orm_query *node);
/* How many words a node needs for these paths, or conditions with these values. */
size_t orm_query_paths_words(const orm_path *paths, size_t n);
size_t orm_query_conds_words(const orm_cond *conds, size_t n);
static inline size_t orm_query_text_words(size_t len)
{
    return 1 + (len + 7) / 8;
}

/* A readable form for tests and messages: `Track.filter(album.name iexact ?).limit(?)`. */
void orm_query_dump(const orm_query *query, orm_buf *out);
#endif
