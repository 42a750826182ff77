/* member.h - inside src/engine: members of the caller's structs. */
#ifndef ORM_MEMBER_H
#define ORM_MEMBER_H
#include "../schema/schema.h"

/* ORM_REF(M) as the library sees it. */
typedef struct orm_ref_member {
    int64_t id;
    bool has;
    void *obj;
} orm_ref_member;

/* Puts a cell into the field's member of a row that starts as zeros; text goes to the arena.
 * ORM_EDATA names table.column. */
orm_status orm_member_set(const orm_field *field, const orm_column *column, char *row,
                          const orm_cell *cell, orm_arena *arena, orm_error *err);
/* The member's value, borrowing the row's bytes. */
orm_value orm_member_get(const orm_field *field, const char *row);

#endif
