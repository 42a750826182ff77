/* replay.c - runs a fuzz target over files: replay FILE-OR-FOLDER...
 *
 * Each file is given to the target as a heap block of exactly its size, as libFuzzer does, so that
 * address sanitizers see a byte read beyond it; then every prefix of it that is not larger than
 * 4,096 bytes.  Ends with 1 when nothing was found to replay.
 */
#include "fuzz.h"

#include <dirent.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#define PREFIX_MAX 4096

static size_t n_replayed;

static void replay_bytes(const uint8_t *bytes, size_t len)
{
    uint8_t *exact = malloc(len ? len : 1);
    if (!exact) abort();
    memcpy(exact, bytes, len);
    (void)LLVMFuzzerTestOneInput(exact, len);
    free(exact);
}

static int replay_file(const char *path)
{
    FILE *file = fopen(path, "rb");
    if (!file) {
        perror(path);
        return 1;
    }
    static uint8_t bytes[1 << 20];
    size_t len = fread(bytes, 1, sizeof bytes, file);
    fclose(file);
    replay_bytes(bytes, len);
    for (size_t n = 0; n < len && n <= PREFIX_MAX; n++) replay_bytes(bytes, n);
    n_replayed++;
    return 0;
}

static int replay_folder(const char *path)
{
    DIR *folder = opendir(path);
    if (!folder) return replay_file(path);
    int failed = 0;
    for (struct dirent *entry; (entry = readdir(folder));) {
        char inside[4096];
        if (entry->d_name[0] == '.') continue;
        snprintf(inside, sizeof inside, "%s/%s", path, entry->d_name);
        failed |= replay_file(inside);
    }
    closedir(folder);
    return failed;
}

int main(int argc, char **argv)
{
    int failed = 0;
    for (int i = 1; i < argc; i++) failed |= replay_folder(argv[i]);
    printf("%zu inputs\n", n_replayed);
    return failed || n_replayed == 0;
}
