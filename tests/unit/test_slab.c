#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/slab.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <unistd.h>

#if defined(__has_feature)
#if __has_feature(address_sanitizer)
#define HAVE_ASAN 1
#endif
#endif
#if defined(__SANITIZE_ADDRESS__)
#define HAVE_ASAN 1
#endif

#if defined(HAVE_ASAN)
#include <sanitizer/asan_interface.h>
#include <sanitizer/lsan_interface.h>
#endif

enum {
    SMALL = 128,
    SMALL_PER_CHUNK = 511,
    MANY = 20 * SMALL_PER_CHUNK,
};

/* --- An address space in which the first place found is not aligned. */

static bool is_misaligned;
static bool is_full; /* there is no place twice as large, either */

void *__real_mmap(
    void *at, size_t length, int protection, int flags, int fd, off_t offset);
void *__wrap_mmap(
    void *at, size_t length, int protection, int flags, int fd, off_t offset);

void *__wrap_mmap(
    void *at, size_t length, int protection, int flags, int fd, off_t offset)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    const size_t wide = (size_t)3 * HCS_SLAB_CHUNK;
    char *from;
    char *odd;

    if (is_full && length == (size_t)2 * HCS_SLAB_CHUNK) {
        errno = ENOMEM;
        return MAP_FAILED;
    }
    if (!is_misaligned || length != HCS_SLAB_CHUNK) {
        return __real_mmap(at, length, protection, flags, fd, offset);
    }
    from = __real_mmap(NULL, wide, protection, flags, fd, offset);
    assert_ptr_not_equal(from, MAP_FAILED);
    odd = from + (-(uintptr_t)from & (HCS_SLAB_CHUNK - 1)) + page;
    assert_int_equal(munmap(from, (size_t)(odd - from)), 0);
    assert_int_equal(munmap(odd + HCS_SLAB_CHUNK,
                         wide - (size_t)(odd - from) - HCS_SLAB_CHUNK),
        0);
    return odd;
}

static uintptr_t chunk_of(const void *record)
{
    return (uintptr_t)record & ~(uintptr_t)(HCS_SLAB_CHUNK - 1);
}

/* xorshift64: the same sequence on every machine. */
static uint64_t next_random(uint64_t *state)
{
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    return *state;
}

/* A budget that can be exhausted, and counts the calls. */
struct purse {
    size_t left;
    size_t taken;
    size_t given;
    unsigned refusals;
};

static bool purse_take(void *budget, size_t bytes)
{
    struct purse *purse = budget;

    if (bytes > purse->left) {
        purse->refusals++;
        return false;
    }
    purse->left -= bytes;
    purse->taken += bytes;
    return true;
}

static void purse_give(void *budget, size_t bytes)
{
    struct purse *purse = budget;

    purse->left += bytes;
    purse->given += bytes;
}

/* Bytes that the slab has mapped. */
static size_t mapped(const struct purse *purse)
{
    return purse->taken - purse->given;
}

static struct hcs_slab *create(size_t record_bytes, struct purse *purse)
{
    struct hcs_slab *slab;

    *purse = (struct purse){.left = SIZE_MAX / 2};
    slab = hcs_slab_create(record_bytes, purse_take, purse_give, purse);
    assert_non_null(slab);
    return slab;
}

static void count_record(void *record, void *arg)
{
    (void)record;
    ++*(size_t *)arg;
}

static size_t records_in_use(struct hcs_slab *slab)
{
    size_t count = 0;

    hcs_slab_each(slab, count_record, &count);
    return count;
}

static void alloc_all(struct hcs_slab *slab, void **records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        records[i] = hcs_slab_alloc(slab);
        assert_non_null(records[i]);
    }
}

static void free_all(struct hcs_slab *slab, void **records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        hcs_slab_free(slab, records[i]);
    }
}

static void records_are_distinct_and_keep_what_is_written(void **state)
{
    static const size_t sizes[] = {16, 48, 128, 200, 1000, 1024, 8192};

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        enum { COUNT = 5000 };
        const size_t size = sizes[s];
        struct purse purse;
        struct hcs_slab *slab = create(size, &purse);
        void **records = calloc(COUNT, sizeof(*records));

        assert_non_null(records);
        alloc_all(slab, records, COUNT);
        for (size_t i = 0; i < COUNT; i++) {
            assert_int_equal((uintptr_t)records[i] % 16, 0);
            memset(records[i], (int)(i % 251), size);
        }
        for (size_t i = 0; i < COUNT; i++) {
            const unsigned char *bytes = records[i];

            for (size_t b = 0; b < size; b++) {
                assert_int_equal(bytes[b], i % 251);
            }
        }
        assert_int_equal(records_in_use(slab), COUNT);
        free_all(slab, records, COUNT);
        assert_int_equal(records_in_use(slab), 0);
        assert_int_equal(mapped(&purse), HCS_SLAB_CHUNK);
        free(records);
        hcs_slab_destroy(slab);
    }
}

/* Bytes mapped for each record, when chunks are full. */
static double bytes_each(size_t record_bytes)
{
    struct purse purse;
    struct hcs_slab *slab = create(record_bytes, &purse);
    size_t count = 0;
    double each;

    while (mapped(&purse) <= (size_t)10 * HCS_SLAB_CHUNK) {
        assert_non_null(hcs_slab_alloc(slab));
        count++;
    }
    each = 10.0 * HCS_SLAB_CHUNK / (double)(count - 1);
    hcs_slab_destroy(slab);
    return each;
}

static void memory_per_record_is_close_to_its_size(void **state)
{
    (void)state;
    assert_true(bytes_each(16) < 16 * 1.01);
    assert_true(bytes_each(128) < 128 * 1.01);
    assert_true(bytes_each(112) < 112 * 1.01);
    assert_true(bytes_each(1024) < 1024 * 1.02);
    /* Seven in a chunk where eight would leave no room for its header. */
    assert_true(bytes_each(8192) < 8192 * 1.15);
}

static void size_is_rounded_up_to_sixteen(void **state)
{
    struct hcs_slab *slab = hcs_slab_create(17, NULL, NULL, NULL);
    char *one;
    char *two;

    (void)state;
    assert_non_null(slab);
    one = hcs_slab_alloc(slab);
    two = hcs_slab_alloc(slab);
    assert_int_equal(labs(two - one), 32);
    hcs_slab_destroy(slab);
}

static void records_of_whole_cache_lines_start_on_one(void **state)
{
    static const size_t sizes[] = {64, 128, 192, 1024};

    (void)state;
    for (size_t s = 0; s < sizeof(sizes) / sizeof(sizes[0]); s++) {
        struct hcs_slab *slab = hcs_slab_create(sizes[s], NULL, NULL, NULL);

        assert_non_null(slab);
        for (int i = 0; i < 100; i++) {
            assert_int_equal((uintptr_t)hcs_slab_alloc(slab) % 64, 0);
        }
        hcs_slab_destroy(slab);
    }
}

static void nothing_is_mapped_before_the_first_record(void **state)
{
    struct purse purse;
    struct hcs_slab *slab = create(SMALL, &purse);

    (void)state;
    assert_int_equal(mapped(&purse), 0);
    assert_int_equal(records_in_use(slab), 0);
    hcs_slab_free(slab, NULL);
    hcs_slab_destroy(slab);
    hcs_slab_destroy(NULL);
}

static size_t resident_pages(const void *chunk)
{
    unsigned char pages[HCS_SLAB_CHUNK / 4096];
    size_t count = HCS_SLAB_CHUNK / (size_t)sysconf(_SC_PAGESIZE);
    size_t resident = 0;

    assert_int_equal(
        mincore((void *)(uintptr_t)chunk, HCS_SLAB_CHUNK, pages), 0);
    for (size_t i = 0; i < count; i++) {
        resident += pages[i] & 1;
    }
    return resident;
}

static void chunk_is_touched_record_by_record(void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);
    struct hcs_slab *slab = hcs_slab_create(1024, NULL, NULL, NULL);
    void *first;

    (void)state;
    assert_non_null(slab);
    first = hcs_slab_alloc(slab);
    assert_non_null(first);
    memset(first, 1, 1024);
    assert_int_equal(resident_pages((void *)chunk_of(first)), 1);
    for (int i = 0; i < 15; i++) {
        void *record = hcs_slab_alloc(slab);

        assert_int_equal(chunk_of(record), chunk_of(first));
        memset(record, 1, 1024);
    }
    /* The header and 16 records: no more than the pages they lie in. */
    assert_true(resident_pages((void *)chunk_of(first)) <=
                ((size_t)17 * 1024 + page - 1) / page);
    hcs_slab_destroy(slab);
}

/* A free record's place is used again before a new one is touched. */
static void freed_record_is_given_again_first(void **state)
{
    struct hcs_slab *slab = hcs_slab_create(SMALL, NULL, NULL, NULL);
    void *records[8];
    void *freed;

    (void)state;
    assert_non_null(slab);
    alloc_all(slab, records, 8);
    freed = records[3];
    hcs_slab_free(slab, records[3]);
    assert_ptr_equal(hcs_slab_alloc(slab), freed);
    hcs_slab_destroy(slab);
}

static size_t mapped_bytes(void)
{
    FILE *file = fopen("/proc/self/statm", "re");
    size_t pages = 0;

    assert_non_null(file);
    assert_int_equal(fscanf(file, "%zu", &pages), 1);
    (void)fclose(file);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static void *map_anywhere(size_t bytes)
{
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
        MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    assert_ptr_not_equal(at, MAP_FAILED);
    return at;
}

/* Makes the kernel place what is mapped next at that offset from an alignment
 * at 64 KiB: the end of where it would place it now is taken. How many bytes
 * stay mapped for it is added to taken. False if it places things otherwise,
 * as emulators do. */
static bool steer_mapping(size_t offset, size_t *taken)
{
    enum { PROBE = 2 * HCS_SLAB_CHUNK };

    for (int i = 0; i < 100; i++) {
        char *probe = map_anywhere(PROBE);
        size_t shift = ((uintptr_t)probe - offset) % HCS_SLAB_CHUNK;

        (void)munmap(probe, PROBE - shift);
        if (shift == 0) {
            return true;
        }
        *taken += shift;
    }
    return false;
}

/* A slab for each chunk, since its second would be placed next to its first. */
static void check_first_chunk_mapped_at(size_t offset)
{
    enum { SLABS = 32 };
    const size_t margin = 256U << 10;
    struct hcs_slab *slabs[SLABS];
    struct purse purses[SLABS];
    const size_t before = mapped_bytes();
    size_t taken = 0;

    for (size_t s = 0; s < SLABS; s++) {
        slabs[s] = create(8192, &purses[s]);
        if (!steer_mapping(offset, &taken)) {
            skip();
        }
        for (int i = 0; i < 7; i++) {
            void *record = hcs_slab_alloc(slabs[s]);

            assert_non_null(record);
            memset(record, 0xff, 8192);
        }
        assert_int_equal(mapped(&purses[s]), HCS_SLAB_CHUNK);
    }
    /* Slack left mapped would be nearly as much again. */
    assert_in_range(mapped_bytes() - before, 0,
        (size_t)SLABS * HCS_SLAB_CHUNK + taken + margin);
    for (size_t s = 0; s < SLABS; s++) {
        hcs_slab_destroy(slabs[s]);
    }
    assert_in_range(mapped_bytes() - before, 0, taken + margin);
}

static void chunks_are_aligned_and_trimmed_wherever_the_kernel_maps(
    void **state)
{
    const size_t page = (size_t)sysconf(_SC_PAGESIZE);

    (void)state;
    if (page >= HCS_SLAB_CHUNK) {
        skip(); /* every mapping is aligned */
    }
    check_first_chunk_mapped_at(0);
    check_first_chunk_mapped_at(page);                  /* slack before */
    check_first_chunk_mapped_at(HCS_SLAB_CHUNK - page); /* slack behind */
}

static void slabs_that_grow_side_by_side_stay_apart(void **state)
{
    enum { SLABS = 3, EACH = 10 * SMALL_PER_CHUNK };
    struct hcs_slab *slabs[SLABS];
    struct purse purses[SLABS];
    unsigned char **records = calloc(SLABS * EACH, sizeof(*records));

    (void)state;
    assert_non_null(records);
    for (size_t s = 0; s < SLABS; s++) {
        slabs[s] = create(SMALL, &purses[s]);
    }
    for (size_t i = 0; i < SLABS * EACH; i++) {
        records[i] = hcs_slab_alloc(slabs[i % SLABS]);
        assert_non_null(records[i]);
        memset(records[i], (int)(i % 251), SMALL);
    }
    for (size_t i = 0; i < SLABS * EACH; i++) {
        assert_int_equal(records[i][0], i % 251);
        assert_int_equal(records[i][SMALL - 1], i % 251);
        hcs_slab_free(slabs[i % SLABS], records[i]);
    }
    free(records);
    for (size_t s = 0; s < SLABS; s++) {
        assert_int_equal(mapped(&purses[s]), HCS_SLAB_CHUNK);
        hcs_slab_destroy(slabs[s]);
    }
}

static void empty_chunks_are_unmapped_but_for_one(void **state)
{
    struct purse purse;
    struct hcs_slab *slab = create(SMALL, &purse);
    void **records = calloc(MANY, sizeof(*records));

    (void)state;
    assert_non_null(records);
    alloc_all(slab, records, MANY);
    assert_int_equal(mapped(&purse), 20 * HCS_SLAB_CHUNK);
    for (size_t i = 0; i < MANY; i++) {
        hcs_slab_free(slab, records[i]);
        if (i % 100 == 0) {
            assert_int_equal(records_in_use(slab), MANY - 1 - i);
        }
        /* The chunks that hold records, and one more. */
        assert_true(mapped(&purse) / HCS_SLAB_CHUNK <=
                    (MANY - 1 - i + SMALL_PER_CHUNK - 1) / SMALL_PER_CHUNK + 1);
    }
    assert_int_equal(mapped(&purse), HCS_SLAB_CHUNK);
    free(records);
    hcs_slab_destroy(slab);
    assert_int_equal(purse.taken, purse.given);
}

static void one_that_comes_and_goes_maps_nothing(void **state)
{
    struct purse purse = {.left = SIZE_MAX / 2};
    struct hcs_slab *slab =
        hcs_slab_create(SMALL, purse_take, purse_give, &purse);
    void *records[SMALL_PER_CHUNK];
    size_t taken;

    (void)state;
    assert_non_null(slab);
    for (int i = 0; i < 1000; i++) {
        hcs_slab_free(slab, hcs_slab_alloc(slab));
    }
    assert_int_equal(purse.taken, HCS_SLAB_CHUNK);

    /* Also where its record is the only one of a second chunk. */
    alloc_all(slab, records, SMALL_PER_CHUNK);
    hcs_slab_free(slab, hcs_slab_alloc(slab));
    taken = purse.taken;
    for (int i = 0; i < 1000; i++) {
        hcs_slab_free(slab, hcs_slab_alloc(slab));
    }
    assert_int_equal(purse.taken, taken);
    assert_int_equal(purse.given, 0);
    hcs_slab_destroy(slab);
}

/* After a peak nine tenths leave at random; then records come and go at an
 * even level. New ones must fill the fuller chunks, so that the others empty:
 * with the opposite order some five times as many stay mapped. */
static void chunks_drain_after_a_peak(void **state)
{
    enum { PEAK = 60 * SMALL_PER_CHUNK, LEVEL = PEAK / 10 };
    struct purse purse;
    struct hcs_slab *slab = create(SMALL, &purse);
    void **records = calloc(PEAK, sizeof(*records));
    uint64_t random = 0x9E3779B97F4A7C15U;

    (void)state;
    assert_non_null(records);
    alloc_all(slab, records, PEAK);
    for (size_t i = PEAK - 1; i > 0; i--) {
        size_t j = next_random(&random) % (i + 1);
        void *swap = records[i];

        records[i] = records[j];
        records[j] = swap;
    }
    free_all(slab, records + LEVEL, PEAK - LEVEL);
    for (size_t i = 0; i < (size_t)12 * LEVEL; i++) {
        size_t j = next_random(&random) % LEVEL;

        hcs_slab_free(slab, records[j]);
        records[j] = hcs_slab_alloc(slab);
        assert_non_null(records[j]);
    }
    assert_true(mapped(&purse) / HCS_SLAB_CHUNK <= 2 * LEVEL / SMALL_PER_CHUNK);
    free(records);
    hcs_slab_destroy(slab);
}

static void budget_is_asked_before_each_chunk(void **state)
{
    struct purse purse = {.left = 2 * HCS_SLAB_CHUNK};
    struct hcs_slab *slab =
        hcs_slab_create(SMALL, purse_take, purse_give, &purse);
    void *records[2 * SMALL_PER_CHUNK];

    (void)state;
    assert_non_null(slab);
    assert_int_equal(purse.taken, 0);
    alloc_all(slab, records, 2 * SMALL_PER_CHUNK);
    assert_int_equal(purse.refusals, 0);
    assert_null(hcs_slab_alloc(slab));
    assert_int_equal(purse.refusals, 1);
    assert_int_equal(mapped(&purse), 2 * HCS_SLAB_CHUNK);
    assert_int_equal(records_in_use(slab), 2 * SMALL_PER_CHUNK);

    /* A refusal harms nothing: there is room again when a record is freed. */
    hcs_slab_free(slab, records[0]);
    assert_ptr_equal(hcs_slab_alloc(slab), records[0]);
    purse.left = HCS_SLAB_CHUNK;
    assert_non_null(hcs_slab_alloc(slab));
    hcs_slab_destroy(slab);
    assert_int_equal(purse.taken, purse.given);
}

/* Refuses all further mappings; restore with allow_mapping(). */
static bool forbid_mapping(struct rlimit *saved)
{
    struct rlimit none;
    void *probe;

    assert_int_equal(getrlimit(RLIMIT_AS, saved), 0);
    none = *saved;
    none.rlim_cur = 1;
    if (setrlimit(RLIMIT_AS, &none) != 0) {
        return false;
    }
    /* An emulator may accept the limit and not keep it. */
    probe = mmap(
        NULL, HCS_SLAB_CHUNK, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (probe != MAP_FAILED) {
        (void)munmap(probe, HCS_SLAB_CHUNK);
        (void)setrlimit(RLIMIT_AS, saved);
        return false;
    }
    return true;
}

static void budget_gets_back_what_could_not_be_mapped(void **state)
{
    struct purse purse;
    struct hcs_slab *slab = create(SMALL, &purse);
    struct rlimit saved;
    void *record;

    (void)state;
    if (!forbid_mapping(&saved)) {
        hcs_slab_destroy(slab);
        skip();
    }
    record = hcs_slab_alloc(slab);
    assert_int_equal(setrlimit(RLIMIT_AS, &saved), 0);

    assert_null(record);
    assert_int_equal(purse.taken, HCS_SLAB_CHUNK);
    assert_int_equal(purse.given, HCS_SLAB_CHUNK);
    assert_int_equal(mapped(&purse), 0);
    assert_non_null(hcs_slab_alloc(slab));
    hcs_slab_destroy(slab);
}

static void without_a_budget_nobody_is_asked(void **state)
{
    struct hcs_slab *slab =
        hcs_slab_create(SMALL, purse_take, purse_give, NULL);

    (void)state;
    assert_non_null(slab);
    assert_non_null(hcs_slab_alloc(slab));
    hcs_slab_destroy(slab);
}

/* What each() met: a count, and a mark in each record. */
struct tour {
    struct hcs_slab *slab;
    size_t met;
    size_t met_twice;
    size_t free_every; /* 0: none */
};

struct marked {
    uint64_t met;
    unsigned char rest[SMALL - sizeof(uint64_t)];
};

static void meet(void *record, void *arg)
{
    struct tour *tour = arg;
    struct marked *marked = record;

    tour->met++;
    if (marked->met != 0) {
        tour->met_twice++;
    }
    marked->met = 1;
    if (tour->free_every != 0 && tour->met % tour->free_every == 0) {
        hcs_slab_free(tour->slab, record);
    }
}

static void clear_marks(void **records, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        memset(records[i], 0, SMALL);
    }
}

static void each_meets_the_used_and_no_other(void **state)
{
    struct hcs_slab *slab = hcs_slab_create(SMALL, NULL, NULL, NULL);
    void **records = calloc(MANY, sizeof(*records));
    struct tour tour = {.slab = slab};
    size_t kept = 0;

    (void)state;
    assert_non_null(slab);
    assert_non_null(records);
    hcs_slab_each(slab, meet, &tour);
    assert_int_equal(tour.met, 0);

    alloc_all(slab, records, MANY);
    for (size_t i = 0; i < MANY; i++) {
        if (i % 3 == 1 || (i > 2000 && i < 5000)) {
            hcs_slab_free(slab, records[i]);
        } else {
            records[kept++] = records[i];
        }
    }
    clear_marks(records, kept);
    hcs_slab_each(slab, meet, &tour);
    assert_int_equal(tour.met, kept);
    assert_int_equal(tour.met_twice, 0);
    for (size_t i = 0; i < kept; i++) {
        assert_int_equal(((struct marked *)records[i])->met, 1);
    }
    free(records);
    hcs_slab_destroy(slab);
}

static void each_copes_with_visit_freeing_all(void **state)
{
    struct purse purse;
    struct hcs_slab *slab = create(SMALL, &purse);
    void **records = calloc(MANY, sizeof(*records));
    struct tour tour = {.slab = slab, .free_every = 1};

    (void)state;
    assert_non_null(records);
    alloc_all(slab, records, MANY);
    clear_marks(records, MANY);
    hcs_slab_each(slab, meet, &tour);
    assert_int_equal(tour.met, MANY);
    assert_int_equal(tour.met_twice, 0);
    assert_int_equal(records_in_use(slab), 0);
    assert_int_equal(mapped(&purse), HCS_SLAB_CHUNK);
    free(records);
    hcs_slab_destroy(slab);
}

/* Wherever the empty chunk that is kept stands among those that each() goes
 * through, it must be there when its turn comes. */
static void each_copes_with_a_spare_chunk_among_the_others(void **state)
{
    void **records = calloc(MANY, sizeof(*records));

    (void)state;
    assert_non_null(records);
    for (size_t spare = 0; spare < MANY / SMALL_PER_CHUNK; spare++) {
        struct purse purse;
        struct hcs_slab *slab = create(SMALL, &purse);
        struct tour tour = {.slab = slab, .free_every = 1};

        alloc_all(slab, records, MANY);
        clear_marks(records, MANY);
        free_all(slab, records + spare * SMALL_PER_CHUNK, SMALL_PER_CHUNK);
        assert_int_equal(mapped(&purse), 20 * HCS_SLAB_CHUNK);
        hcs_slab_each(slab, meet, &tour);
        assert_int_equal(tour.met, MANY - SMALL_PER_CHUNK);
        assert_int_equal(records_in_use(slab), 0);
        assert_int_equal(mapped(&purse), HCS_SLAB_CHUNK);
        hcs_slab_destroy(slab);
    }
    free(records);
}

/* A chunk is gone after its third record, long before its end. */
static void each_copes_with_visit_freeing_the_few_in_a_chunk(void **state)
{
    struct purse purse;
    struct hcs_slab *slab = create(SMALL, &purse);
    void **records = calloc(MANY, sizeof(*records));
    struct tour tour = {.slab = slab, .free_every = 1};

    (void)state;
    assert_non_null(records);
    alloc_all(slab, records, MANY);
    clear_marks(records, MANY);
    for (size_t i = 0; i < MANY; i++) {
        if (i % SMALL_PER_CHUNK >= 3) {
            hcs_slab_free(slab, records[i]);
        }
    }
    hcs_slab_each(slab, meet, &tour);
    assert_int_equal(tour.met, 3 * 20);
    assert_int_equal(mapped(&purse), HCS_SLAB_CHUNK);
    free(records);
    hcs_slab_destroy(slab);
}

static void each_copes_with_visit_freeing_some(void **state)
{
    struct hcs_slab *slab = hcs_slab_create(SMALL, NULL, NULL, NULL);
    void **records = calloc(MANY, sizeof(*records));
    struct tour tour = {.slab = slab, .free_every = 3};

    (void)state;
    assert_non_null(slab);
    assert_non_null(records);
    alloc_all(slab, records, MANY);
    clear_marks(records, MANY);
    hcs_slab_each(slab, meet, &tour);
    assert_int_equal(tour.met, MANY);
    assert_int_equal(records_in_use(slab), MANY - MANY / 3);
    free(records);
    hcs_slab_destroy(slab);
}

static void random_use_loses_and_doubles_nothing(void **state)
{
    enum { ROUNDS = 200000, PLACES = 3000, RECORD = 1024 };
    struct purse purse;
    struct hcs_slab *slab = create(RECORD, &purse);
    uint64_t **records = calloc(PLACES, sizeof(*records));
    uint64_t random = 42;
    size_t used = 0;

    (void)state;
    assert_non_null(records);
    for (size_t round = 0; round < ROUNDS; round++) {
        /* The level rises and falls, so that chunks come and go. */
        size_t places = round / 20000 % 2 == 0 ? PLACES : PLACES / 20;
        size_t i = next_random(&random) % PLACES;

        if (records[i] != NULL) {
            assert_int_equal(records[i][0], i);
            assert_int_equal(records[i][RECORD / 8 - 1], ~i);
            hcs_slab_free(slab, records[i]);
            records[i] = NULL;
            used--;
        } else if (i < places) {
            records[i] = hcs_slab_alloc(slab);
            assert_non_null(records[i]);
            records[i][0] = i;
            records[i][RECORD / 8 - 1] = ~i;
            used++;
        }
        if (round % 1000 == 0) {
            assert_int_equal(records_in_use(slab), used);
        }
    }
    for (size_t i = 0; i < PLACES; i++) {
        hcs_slab_free(slab, records[i]);
    }
    assert_int_equal(mapped(&purse), HCS_SLAB_CHUNK);
    free(records);
    hcs_slab_destroy(slab);
    assert_int_equal(purse.taken, purse.given);
}

struct misused {
    struct hcs_slab *slab;
    struct hcs_slab *other; /* of the same size */
    struct hcs_slab *tailed;
};

/* Where on_abort() goes on: abort() allows its handler to jump, and a child
 * process for each misuse would be more than emulators can do. */
static sigjmp_buf after_abort;

static void on_abort(int number)
{
    (void)number;
    siglongjmp(after_abort, 1);
}

/* True if misuse comes to abort(). What that prints is thrown away. */
static bool aborts(
    void (*misuse)(const struct misused *), const struct misused *misused)
{
    const int saved_fd = dup(STDERR_FILENO);
    const int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
    volatile bool aborted = true;
    void (*saved_handler)(int);

    assert_true(saved_fd >= 0 && null_fd >= 0);
    (void)dup2(null_fd, STDERR_FILENO);
    saved_handler = signal(SIGABRT, on_abort);
    if (sigsetjmp(after_abort, 1) == 0) {
        misuse(misused);
        aborted = false;
    }
    (void)signal(SIGABRT, saved_handler);
    (void)dup2(saved_fd, STDERR_FILENO);
    (void)close(saved_fd);
    (void)close(null_fd);
    return aborted;
}

static void free_twice(const struct misused *misused)
{
    void *record = hcs_slab_alloc(misused->slab);

    (void)hcs_slab_alloc(misused->slab);
    hcs_slab_free(misused->slab, record);
    hcs_slab_free(misused->slab, record);
}

static void free_twice_when_the_chunk_is_empty(const struct misused *misused)
{
    void *record = hcs_slab_alloc(misused->slab);

    hcs_slab_free(misused->slab, record);
    hcs_slab_free(misused->slab, record);
}

static void free_middle(const struct misused *misused)
{
    char *record = hcs_slab_alloc(misused->slab);

    hcs_slab_free(misused->slab, record + 16);
}

static void free_never_given(const struct misused *misused)
{
    char *record = hcs_slab_alloc(misused->slab);

    hcs_slab_free(misused->slab, record + SMALL);
}

/* 64 records of 1008 bytes leave a tail, which begins where the next would. */
static void free_tail(const struct misused *misused)
{
    char *record = NULL;

    for (int i = 0; i < 64; i++) {
        record = hcs_slab_alloc(misused->tailed);
        memset(record, 0xff, 1008);
    }
    hcs_slab_free(misused->tailed, record + 1008);
}

static void free_header(const struct misused *misused)
{
    void *record = hcs_slab_alloc(misused->slab);

    hcs_slab_free(misused->slab, (void *)chunk_of(record));
}

static void free_to_another_slab(const struct misused *misused)
{
    (void)hcs_slab_alloc(misused->other);
    hcs_slab_free(misused->other, hcs_slab_alloc(misused->slab));
}

static void free_once(const struct misused *misused)
{
    hcs_slab_free(misused->slab, hcs_slab_alloc(misused->slab));
}

static void misuse_aborts(void **state)
{
    static void (*const misuses[])(const struct misused *) = {free_twice,
        free_twice_when_the_chunk_is_empty, free_middle, free_never_given,
        free_tail, free_header, free_to_another_slab};
    const size_t count = sizeof(misuses) / sizeof(misuses[0]);

    (void)state;
    for (size_t i = 0; i <= count; i++) {
        struct misused misused = {
            .slab = hcs_slab_create(SMALL, NULL, NULL, NULL),
            .other = hcs_slab_create(SMALL, NULL, NULL, NULL),
            .tailed = hcs_slab_create(1008, NULL, NULL, NULL),
        };

        assert_non_null(misused.slab);
        assert_non_null(misused.other);
        assert_non_null(misused.tailed);
        if (i < count) {
            assert_true(aborts(misuses[i], &misused));
        } else {
            assert_false(aborts(free_once, &misused));
        }
        hcs_slab_destroy(misused.slab);
        hcs_slab_destroy(misused.other);
        hcs_slab_destroy(misused.tailed);
    }
}

#if defined(HAVE_ASAN)
static void sanitizer_knows_which_records_are_free(void **state)
{
    struct hcs_slab *slab = hcs_slab_create(SMALL, NULL, NULL, NULL);
    void *records[SMALL_PER_CHUNK];
    char *at;

    (void)state;
    assert_non_null(slab);
    alloc_all(slab, records, 2);
    assert_null(__asan_region_is_poisoned(records[0], SMALL));
    assert_null(__asan_region_is_poisoned(records[1], SMALL));
    at = (char *)records[1] + SMALL; /* never given */
    assert_int_equal(__asan_address_is_poisoned(at), 1);
    at = records[0];
    hcs_slab_free(slab, records[0]);
    assert_int_equal(__asan_address_is_poisoned(at), 1);
    assert_int_equal(__asan_address_is_poisoned(at + SMALL - 1), 1);
    assert_null(__asan_region_is_poisoned(records[1], SMALL));
    records[0] = hcs_slab_alloc(slab);
    assert_null(__asan_region_is_poisoned(records[0], SMALL));

    /* An address that was unmapped carries no poison to its next user. */
    hcs_slab_destroy(slab);
    assert_int_equal(__asan_address_is_poisoned(at), 0);
    assert_int_equal(__asan_address_is_poisoned(at + (size_t)8 * SMALL), 0);
}

/* Returns the record, so that no copy of what it holds stays on the stack. */
static void ***hold_block(struct hcs_slab *slab)
{
    void ***record = hcs_slab_alloc(slab);

    assert_non_null(record);
    *record = calloc(1, 1000);
    assert_non_null(*record);
    return record;
}

static void leak_checker_sees_what_a_record_points_at(void **state)
{
    struct hcs_slab *slab = hcs_slab_create(SMALL, NULL, NULL, NULL);
    void ***record;

    (void)state;
    assert_non_null(slab);
    record = hold_block(slab);
    assert_int_equal(__lsan_do_recoverable_leak_check(), 0);
    free(*record);
    hcs_slab_destroy(slab);
}
#endif

static void a_place_that_is_not_aligned_is_given_up_for_one_that_is(
    void **state)
{
    struct purse purse = {.left = (size_t)10 * HCS_SLAB_CHUNK};
    struct hcs_slab *slab =
        hcs_slab_create(SMALL, purse_take, purse_give, &purse);
    void *record;

    (void)state;
    assert_non_null(slab);
    is_misaligned = true;
    is_full = true;
    assert_null(hcs_slab_alloc(slab));
    assert_int_equal(purse.given, purse.taken);
    assert_int_equal(mapped(&purse), 0);

    is_full = false;
    record = hcs_slab_alloc(slab);
    is_misaligned = false;
    assert_non_null(record);
    memset(record, 'x', SMALL);
    assert_int_equal(mapped(&purse), HCS_SLAB_CHUNK);
    hcs_slab_free(slab, record);
    hcs_slab_destroy(slab);
    assert_int_equal(purse.given, purse.taken);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(records_are_distinct_and_keep_what_is_written),
        cmocka_unit_test(memory_per_record_is_close_to_its_size),
        cmocka_unit_test(size_is_rounded_up_to_sixteen),
        cmocka_unit_test(records_of_whole_cache_lines_start_on_one),
        cmocka_unit_test(nothing_is_mapped_before_the_first_record),
        cmocka_unit_test(chunk_is_touched_record_by_record),
        cmocka_unit_test(freed_record_is_given_again_first),
        cmocka_unit_test(
            chunks_are_aligned_and_trimmed_wherever_the_kernel_maps),
        cmocka_unit_test(slabs_that_grow_side_by_side_stay_apart),
        cmocka_unit_test(empty_chunks_are_unmapped_but_for_one),
        cmocka_unit_test(one_that_comes_and_goes_maps_nothing),
        cmocka_unit_test(chunks_drain_after_a_peak),
        cmocka_unit_test(budget_is_asked_before_each_chunk),
        cmocka_unit_test(budget_gets_back_what_could_not_be_mapped),
        cmocka_unit_test(without_a_budget_nobody_is_asked),
        cmocka_unit_test(each_meets_the_used_and_no_other),
        cmocka_unit_test(each_copes_with_visit_freeing_all),
        cmocka_unit_test(each_copes_with_a_spare_chunk_among_the_others),
        cmocka_unit_test(each_copes_with_visit_freeing_the_few_in_a_chunk),
        cmocka_unit_test(each_copes_with_visit_freeing_some),
        cmocka_unit_test(
            a_place_that_is_not_aligned_is_given_up_for_one_that_is),
        cmocka_unit_test(random_use_loses_and_doubles_nothing),
        cmocka_unit_test(misuse_aborts),
#if defined(HAVE_ASAN)
        cmocka_unit_test(sanitizer_knows_which_records_are_free),
        cmocka_unit_test(leak_checker_sees_what_a_record_points_at),
#endif
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
