/* plans.c - compiled statements by shape, and what their runs have shown.
 *
 * A bounded table: open addressing over the shape keys, whose words are compared on a hit, and a
 * clock that drops what was not used lately.  A plan's slot is the index of its prepared
 * statement in every lane; its serial says whether what lies there is still its own.
 */
#include "engine.h"

#define STACK_WORDS 192
#define RAW_TEXT_MAX ((size_t)16 << 10)  /* longer SQL of the caller is not kept, */
#define OWN_TEXT_MAX ((size_t)256 << 10) /* and longer SQL of our own neither */

orm_status orm_plans_init(orm_plans *plans, uint32_t size, orm_error *err)
{
    memset(plans, 0, sizeof *plans);
    uint32_t table = 16;
    while (table < size * 2) table *= 2;
    plans->n_slots = size;
    plans->mask = table - 1;
    plans->slots = orm_alloc0(size * sizeof *plans->slots);
    plans->table = orm_alloc0(table * sizeof *plans->table);
    plans->used = orm_alloc0(size);
    if (plans->slots && plans->table && plans->used) return ORM_OK;
    orm_plans_dispose(plans);
    return orm_fail_nomem(err);
}

void orm_plans_dispose(orm_plans *plans)
{
    for (uint32_t i = 0; plans->slots && i < plans->n_slots; i++) orm_plan_unref(plans->slots[i]);
    orm_dealloc(plans->slots);
    orm_dealloc(plans->table);
    orm_dealloc(plans->used);
    plans->slots = NULL;
    plans->table = NULL;
    plans->used = NULL;
}

orm_plan *orm_plans_find(orm_plans *plans, uint64_t key, const uint64_t *words, size_t n)
{
    for (uint32_t i = (uint32_t)key & plans->mask; plans->table[i]; i = (i + 1) & plans->mask) {
        uint32_t slot = plans->table[i] - 1;
        orm_plan *plan = plans->slots[slot];
        if (plan->key != key || plan->n_words != n) continue;
        if (memcmp(plan->words, words, n * sizeof *words) != 0) continue;
        plans->used[slot] = 1;
        return orm_plan_ref(plan);
    }
    return NULL;
}

/* Takes a plan out of the table; those behind it in its run of entries move up. */
static void remove_entry(orm_plans *plans, uint32_t slot)
{
    uint32_t i = (uint32_t)plans->slots[slot]->key & plans->mask;
    while (plans->table[i] != slot + 1) i = (i + 1) & plans->mask;
    uint32_t hole = i;
    for (i = (i + 1) & plans->mask; plans->table[i]; i = (i + 1) & plans->mask) {
        uint32_t home = (uint32_t)plans->slots[plans->table[i] - 1]->key & plans->mask;
        if (((i - home) & plans->mask) < ((i - hole) & plans->mask)) continue;
        plans->table[hole] = plans->table[i];
        hole = i;
    }
    plans->table[hole] = 0;
}

static uint32_t find_free_slot(orm_plans *plans)
{
    if (plans->count < plans->n_slots) return plans->count++;
    while (plans->used[plans->hand]) {
        plans->used[plans->hand] = 0;
        plans->hand = (plans->hand + 1) % plans->n_slots;
    }
    uint32_t slot = plans->hand;
    plans->hand = (plans->hand + 1) % plans->n_slots;
    remove_entry(plans, slot);
    orm_plan_unref(plans->slots[slot]);
    plans->slots[slot] = NULL;
    return slot;
}

void orm_plans_add(orm_plans *plans, orm_plan *plan)
{
    uint32_t slot = find_free_slot(plans);
    plan->slot = slot;
    plan->serial = ++plans->serial;
    plans->slots[slot] = orm_plan_ref(plan);
    plans->used[slot] = 0; /* it stays when it is met again before the hand comes round */
    uint32_t i = (uint32_t)plan->key & plans->mask;
    while (plans->table[i]) i = (i + 1) & plans->mask;
    plans->table[i] = slot + 1;
}

orm_status orm_plans_get(orm_root *root, int kind, const orm_query *query, const orm_write *write,
                         orm_plan **out, orm_error *err)
{
    uint64_t stack[STACK_WORDS], *words = stack, key = 0;
    size_t n = orm_plan_shape(kind, query, write, words, STACK_WORDS, &key);
    if (n > STACK_WORDS) {
        words = orm_alloc(n * sizeof *words);
        if (!words) return orm_fail_nomem(err);
        (void)orm_plan_shape(kind, query, write, words, n, &key);
    }
    orm_plan *plan = orm_plans_find(&root->plans, key, words, n);
    if (words != stack) orm_dealloc(words);
    if (ORM_LIKELY(plan != NULL)) {
        root->stats.plan_hits++;
        *out = plan;
        return ORM_OK;
    }
    ORM_TRY(orm_compile(root->dialect, kind, query, write, &plan, err));
    root->stats.plans_compiled++;
    if (plan->sql_len <= OWN_TEXT_MAX) orm_plans_add(&root->plans, plan);
    *out = plan;
    return ORM_OK;
}

/* SQL of the caller: the words of its shape are its kind and the text itself. */
orm_status orm_plans_get_raw(orm_root *root, const char *sql, size_t len, orm_plan **out,
                             orm_error *err)
{
    size_t n = len / sizeof(uint64_t) + 2;
    uint64_t *words = orm_alloc0(n * sizeof *words);
    if (!words) return orm_fail_nomem(err);
    words[0] = ORM_OP_RAW;
    memcpy(words + 1, sql, len);
    uint64_t key = orm_hash_mix(orm_hash_bytes(sql, len, ORM_OP_RAW), len);
    orm_plan *plan = len <= RAW_TEXT_MAX ? orm_plans_find(&root->plans, key, words, n) : NULL;
    if (!plan) plan = orm_plan_new_raw(sql, len, key, words, n);
    orm_dealloc(words);
    if (!plan) return orm_fail_nomem(err);
    if (plan->serial == 0 && len <= RAW_TEXT_MAX) orm_plans_add(&root->plans, plan);
    *out = plan;
    return ORM_OK;
}

/* ---- history: bit 31 says that the plan has run, bits 16..23 how often it overflowed, the low
 * half how many quick runs on a worker it still owes before it may run inline again. ---- */
#define HISTORY_KNOWN (1u << 31)
#define HISTORY_OWES 0xffffu

bool orm_plan_is_quick(const orm_plan *plan)
{
    if (!(plan->history & HISTORY_KNOWN)) return plan->flags & ORM_PLAN_BOUNDED;
    return (plan->history & HISTORY_OWES) == 0;
}

void orm_plan_note_overflow(orm_plan *plan)
{
    uint32_t level = (plan->history >> 16) & 0xff;
    if (level < 10) level++;
    plan->history = HISTORY_KNOWN | level << 16 | 1u << level;
}

void orm_plan_note_run(orm_plan *plan, uint64_t ns, uint64_t rows)
{
    /* Known to be bounded: what took long was the disk, or opening the connection. */
    if (plan->flags & ORM_PLAN_BOUNDED && !plan->history) return;
    uint32_t level = (plan->history >> 16) & 0xff, owes = plan->history & HISTORY_OWES;
    if (ns > ORM_QUICK_NS + rows * ORM_QUICK_ROW_NS)
        owes = 1u << level;
    else if (owes)
        owes--;
    plan->history = HISTORY_KNOWN | level << 16 | owes;
}
