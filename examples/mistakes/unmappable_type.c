/* expect: void * */
#include "models.h"

typedef struct Odd {
    int64_t id;
    void *pointer;
} Odd;
ORM_MODEL(Odd, "odd", ORM_FIELD(Odd, id, .primary_key = 1), ORM_FIELD(Odd, pointer));
