/* secret.h - inside src/base only: what error.c and url.c share to keep secrets out of text. */
#ifndef ORM_SECRET_H
#define ORM_SECRET_H

#include "base.h"

/* Whether a setting of this name holds a secret: "key", and what contains "pass" (also
 * "sslpassword", "passphrase"), "pwd", "secret" or "token".  Case does not matter.  Any bytes. */
bool orm_is_secret_name(const char *name, size_t len);

#endif
