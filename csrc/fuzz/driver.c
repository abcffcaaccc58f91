/* driver.c - runs a fuzz target without libFuzzer: over files, or over mutations of examples that a seed repeats
 *
 *     fuzz_schema FILE...                        each file is one input
 *     fuzz_schema --runs 1000000 [--seed 1] [--first 0] [--max-length 4096] [FILE...]
 *
 * Inputs of --runs are mutations of the files and of the target's examples (fuzz.h). Each depends on the seed and its
 * number alone, so one that fails is repeated by the line that is printed then.
 */
#include "fuzz.h"

#include <errno.h>
#include <signal.h>
#include <stdbool.h>
#include <time.h>
#include <unistd.h>

#define EXAMPLES_MAX 1024
#define EXAMPLE_MAX 65536
#define LENGTH_MAX 4096

typedef struct example {
    uint8_t *bytes;
    size_t length;
} example;

static example examples[EXAMPLES_MAX];
static size_t example_count;
static const char *program;
static unsigned long long seed = 1, number; /* of the input under way */
static size_t length_max = LENGTH_MAX;
static bool replaying;

/* Says which input it was: from a signal handler, or a sanitizer's last words. */
static void report(void) {
    char text[512];
    int length =
        replaying ? snprintf(text, sizeof text, "the input was file %llu\n", number)
                  : snprintf(text, sizeof text, "repeat with: %s --seed %llu --first %llu --runs 1 --max-length %zu\n",
                             program, seed, number, length_max);

    if (length > 0)
        (void)!write(STDERR_FILENO, text, (size_t)length);
}

static void on_abort(int sig) {
    report();
    (void)signal(sig, SIG_DFL);
    (void)raise(sig);
}

/* Of the sanitizers' runtime; absent where the target is built without one. */
extern void __sanitizer_set_death_callback(void (*callback)(void)) __attribute__((weak));
extern size_t dbi_fuzz_example(unsigned nth, uint8_t *out, size_t capacity) __attribute__((weak));

static uint64_t random_state;

/* splitmix64 */
static uint64_t random_next(void) {
    uint64_t mixed = random_state += UINT64_C(0x9e3779b97f4a7c15);

    mixed = (mixed ^ mixed >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
    mixed = (mixed ^ mixed >> 27) * UINT64_C(0x94d049bb133111eb);
    return mixed ^ mixed >> 31;
}

static size_t random_below(size_t end) {
    return end != 0 ? (size_t)(random_next() % end) : 0;
}

/* Short runs are the most frequent. */
static size_t random_run(size_t longest) {
    size_t run = (size_t)1 << random_below(7);

    run = 1 + random_below(run);
    return run < longest ? run : longest;
}

static void insert(uint8_t *input, size_t *length, const uint8_t *bytes, size_t count) {
    size_t at = random_below(*length + 1);

    if (count > length_max - *length)
        count = length_max - *length;
    memmove(input + at + count, input + at, *length - at);
    for (size_t i = 0; i < count; i++)
        input[at + i] = bytes != NULL ? bytes[i] : (uint8_t)random_next();
    *length += count;
}

static void mutate(uint8_t *input, size_t *length) {
    static const uint8_t odd[] = {0x00, 0x01, 0x7f, 0x80, 0xff, 0xfe, 0x20, '"',
                                  '\\', '-',  '.',  'e',  '0',  '9',  0xc0, 0xed};
    const example *other;
    uint8_t copy[256];
    size_t at = random_below(*length), run;

    switch (random_below(9)) {
    case 0:
        if (*length != 0)
            input[at] ^= (uint8_t)(1u << random_below(8));
        break;
    case 1:
        if (*length != 0)
            input[at] = odd[random_below(sizeof odd)];
        break;
    case 2:
        if (*length != 0)
            input[at] = (uint8_t)random_next();
        break;
    case 3: /* a number a little larger or smaller */
        if (*length != 0)
            input[at] = (uint8_t)(input[at] + random_below(9) - 4);
        break;
    case 4:
        insert(input, length, NULL, random_run(64));
        break;
    case 5: /* a part once more, elsewhere */
        run = random_run(*length - at < sizeof copy ? *length - at : sizeof copy);
        memcpy(copy, input + at, run);
        insert(input, length, copy, run);
        break;
    case 6:
        run = random_run(*length - at);
        memmove(input + at, input + at + run, *length - at - run);
        *length -= run;
        break;
    case 7:
        if (random_below(4) == 0)
            *length = at;
        break;
    default: /* a part of another example */
        other = &examples[random_below(example_count)];
        at = random_below(other->length);
        insert(input, length, other->bytes + at, random_run(other->length - at));
    }
}

/* The nth input of the seed. Its buffer is just as long as it is, so that a read past its end is seen. */
static uint8_t *input_make(unsigned long long nth, size_t *length) {
    static uint8_t input[EXAMPLE_MAX];
    const example *from;
    uint8_t *exact;

    random_state = seed * UINT64_C(0xd1342543de82ef95) + nth;
    from = &examples[random_below(example_count)];
    *length = from->length < length_max ? from->length : length_max;
    memcpy(input, from->bytes, *length);
    for (size_t count = 1 + random_below(8); count > 0; count--)
        mutate(input, length);
    exact = malloc(*length != 0 ? *length : 1);
    if (exact != NULL)
        memcpy(exact, input, *length);
    return exact;
}

static bool example_add(const uint8_t *bytes, size_t length) {
    example *added = &examples[example_count];

    if (example_count == EXAMPLES_MAX)
        return false;
    added->bytes = malloc(length != 0 ? length : 1);
    if (added->bytes == NULL)
        return false;
    memcpy(added->bytes, bytes, length);
    added->length = length;
    example_count++;
    return true;
}

static bool file_add(const char *path) {
    static uint8_t bytes[EXAMPLE_MAX];
    FILE *file = fopen(path, "rb");
    size_t length = 0;
    bool read = false;

    if (file != NULL) {
        length = fread(bytes, 1, sizeof bytes, file);
        read = ferror(file) == 0 && fgetc(file) == EOF;
        (void)fclose(file);
    }
    if (!read)
        (void)fprintf(stderr, "%s: %s\n", path, file == NULL || errno != 0 ? strerror(errno) : "larger than 64 KiB");
    else if (!(read = example_add(bytes, length)))
        (void)fprintf(stderr, "%s: no room for another file\n", path);
    return read;
}

static void examples_of_target(void) {
    static uint8_t bytes[EXAMPLE_MAX];

    for (unsigned nth = 0; &dbi_fuzz_example != NULL; nth++) {
        size_t length = dbi_fuzz_example(nth, bytes, sizeof bytes);

        if (length == 0 || !example_add(bytes, length))
            break;
    }
    if (example_count == 0)
        (void)example_add(bytes, 64); /* zeros: something to begin with */
}

static int run_files(void) {
    replaying = true;
    for (number = 0; number < example_count; number++)
        (void)LLVMFuzzerTestOneInput(examples[number].bytes, examples[number].length);
    (void)printf("%s: %zu files\n", program, example_count);
    return example_count != 0 ? 0 : 2;
}

static int run_mutations(unsigned long long first, unsigned long long runs) {
    struct timespec begin, end;

    examples_of_target();
    (void)clock_gettime(CLOCK_MONOTONIC, &begin);
    for (number = first; number < first + runs; number++) {
        size_t length;
        uint8_t *input = input_make(number, &length);

        if (input == NULL) {
            perror(program);
            return 2;
        }
        (void)LLVMFuzzerTestOneInput(input, length);
        free(input);
    }
    (void)clock_gettime(CLOCK_MONOTONIC, &end);
    (void)printf("%s: %llu inputs from %zu examples, seed %llu, %.1f s\n", program, runs, example_count, seed,
                 (double)(end.tv_sec - begin.tv_sec) + (double)(end.tv_nsec - begin.tv_nsec) / 1e9);
    return 0;
}

/* The number after an option; false when there is none. */
static bool option(int argc, char **argv, int *at, const char *name, unsigned long long *value) {
    char *end = NULL;

    if (strcmp(argv[*at], name) != 0)
        return false;
    errno = 0;
    if (*at + 1 < argc)
        *value = strtoull(argv[++*at], &end, 10);
    if (end == NULL || *end != '\0' || errno != 0) {
        (void)fprintf(stderr, "%s: %s takes a number\n", program, name);
        exit(2);
    }
    return true;
}

int main(int argc, char **argv) {
    unsigned long long runs = 0, first = 0, longest = LENGTH_MAX;
    bool read = true;
    int status;

    program = argv[0];
    for (int i = 1; i < argc; i++)
        if (!option(argc, argv, &i, "--runs", &runs) && !option(argc, argv, &i, "--seed", &seed) &&
            !option(argc, argv, &i, "--first", &first) && !option(argc, argv, &i, "--max-length", &longest))
            read = file_add(argv[i]) && read;
    if (!read)
        return 2;
    length_max = longest < EXAMPLE_MAX ? (size_t)longest : EXAMPLE_MAX;
    if (__sanitizer_set_death_callback != NULL)
        __sanitizer_set_death_callback(report);
    (void)signal(SIGABRT, on_abort);
    if (runs == 0 && example_count == 0) {
        (void)fprintf(stderr, "usage: %s FILE... | --runs N [--seed S] [--first K] [--max-length L] [FILE...]\n",
                      program);
        return 2;
    }
    status = runs != 0 ? run_mutations(first, runs) : run_files();
    for (size_t i = 0; i < example_count; i++)
        free(examples[i].bytes);
    return status;
}
