/* batch.c - rows that wait for the engine's thread.
 *
 * A worker may not touch the caller's sink, and some sinks may not run while a statement is
 * open: their rows are copied here, one piece of the arena for each row (its cells, then the
 * bytes that they point at), and given to the sink afterwards.
 */
#include "engine.h"

typedef struct row {
    struct row *next;
    orm_cell cells[];
} row;

struct orm_batch {
    orm_arena arena;
    row *first, **last;
};

orm_batch *orm_batch_new(void)
{
    orm_batch *batch = orm_alloc(sizeof *batch);
    if (!batch) return NULL;
    orm_arena_init(&batch->arena, 4096);
    batch->first = NULL;
    batch->last = &batch->first;
    return batch;
}

void orm_batch_free(orm_batch *batch)
{
    if (!batch) return;
    orm_arena_dispose(&batch->arena);
    orm_dealloc(batch);
}

void orm_batch_clear(orm_batch *batch)
{
    orm_arena_reset(&batch->arena);
    batch->first = NULL;
    batch->last = &batch->first;
}

static bool has_bytes(const orm_cell *cell)
{
    return cell->kind == ORM_V_TEXT || cell->kind == ORM_V_BLOB || cell->kind == ORM_V_UUID;
}

orm_status orm_batch_add(orm_batch *batch, const orm_cell *cells, size_t n, orm_error *err)
{
    size_t bytes = 0;
    for (size_t i = 0; i < n; i++)
        if (has_bytes(&cells[i])) bytes += cells[i].len;
    row *copy = orm_arena_alloc(&batch->arena, sizeof *copy + n * sizeof *cells + bytes);
    if (!copy) return orm_fail_nomem(err);
    char *to = (char *)(copy->cells + n);
    copy->next = NULL;
    for (size_t i = 0; i < n; i++) {
        copy->cells[i] = cells[i];
        if (!has_bytes(&cells[i])) continue;
        if (cells[i].len) memcpy(to, cells[i].as.ptr, cells[i].len);
        copy->cells[i].as.ptr = to;
        to += cells[i].len;
    }
    *batch->last = copy;
    batch->last = &copy->next;
    return ORM_OK;
}

const orm_cell *orm_batch_next(orm_batch *batch)
{
    row *next = batch->first;
    if (!next) return NULL;
    batch->first = next->next;
    if (!batch->first) batch->last = &batch->first;
    return next->cells;
}
