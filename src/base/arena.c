/* arena.c - many small pieces, one free.
 *
 * Chunks double from the size asked for at the start up to CHUNK_MAX; a piece larger than the
 * next chunk gets a chunk that fits it.  With ORM_ARENA_DEBUG every piece is a block of its own,
 * so that address sanitizers see one byte beyond a piece, and use after a reset.
 */
#include "base.h"

#define ALIGNMENT ((size_t)16)
#define CHUNK_MIN ((size_t)256)
#define CHUNK_MAX ((size_t)1 << 20)
#define PIECE_MAX (SIZE_MAX / 4)

struct orm_arena_chunk {
    struct orm_arena_chunk *next; /* the one made before */
    size_t size;                  /* of its bytes, without this header */
    _Alignas(16) char bytes[];
};

void orm_arena_init(orm_arena *arena, size_t first_chunk)
{
    memset(arena, 0, sizeof *arena);
    arena->chunk_size = first_chunk < CHUNK_MIN   ? CHUNK_MIN
                        : first_chunk > CHUNK_MAX ? CHUNK_MAX
                                                  : first_chunk;
}

static void free_chunks(struct orm_arena_chunk *chunk)
{
    while (chunk) {
        struct orm_arena_chunk *next = chunk->next;
        orm_dealloc(chunk);
        chunk = next;
    }
}

void orm_arena_dispose(orm_arena *arena)
{
    free_chunks(arena->head);
    arena->head = NULL;
    arena->cursor = arena->end = NULL;
    arena->bytes = 0;
}

static struct orm_arena_chunk *add_chunk(orm_arena *arena, size_t size)
{
    struct orm_arena_chunk *chunk = orm_alloc(sizeof *chunk + size);
    if (!chunk) return NULL;
    chunk->size = size;
    chunk->next = arena->head;
    arena->head = chunk;
    return chunk;
}

#ifdef ORM_ARENA_DEBUG

void orm_arena_reset(orm_arena *arena)
{
    orm_arena_dispose(arena);
}

void *orm_arena_alloc(orm_arena *arena, size_t size)
{
    struct orm_arena_chunk *chunk = size < PIECE_MAX ? add_chunk(arena, size) : NULL;
    if (!chunk) return NULL;
    arena->bytes += size;
    return chunk->bytes;
}

#else

void orm_arena_reset(orm_arena *arena)
{
    struct orm_arena_chunk *newest = arena->head;
    arena->bytes = 0;
    if (!newest) return;
    free_chunks(newest->next);
    newest->next = NULL;
    arena->cursor = newest->bytes;
    arena->end = newest->bytes + newest->size;
}

static void *alloc_slow(orm_arena *arena, size_t size)
{
    struct orm_arena_chunk *chunk = add_chunk(arena,
                                              size > arena->chunk_size ? size : arena->chunk_size);
    if (!chunk) return NULL;
    if (arena->chunk_size < CHUNK_MAX) arena->chunk_size *= 2;
    arena->cursor = chunk->bytes + size;
    arena->end = chunk->bytes + chunk->size;
    arena->bytes += size;
    return chunk->bytes;
}

void *orm_arena_alloc(orm_arena *arena, size_t size)
{
    if (ORM_UNLIKELY(size >= PIECE_MAX)) return NULL;
    size = (size + (ALIGNMENT - 1)) & ~(ALIGNMENT - 1);
    if (size == 0) size = ALIGNMENT; /* every piece has an address of its own */
    if (ORM_UNLIKELY(size > (size_t)(arena->end - arena->cursor))) return alloc_slow(arena, size);
    char *piece = arena->cursor;
    arena->cursor += size;
    arena->bytes += size;
    return piece;
}

#endif

char *orm_arena_copy(orm_arena *arena, const void *bytes, size_t len)
{
    char *copy = len < PIECE_MAX ? orm_arena_alloc(arena, len + 1) : NULL;
    if (!copy) return NULL;
    if (len) memcpy(copy, bytes, len);
    copy[len] = '\0';
    return copy;
}
