#include "base/clock.h"

#include <assert.h>
#include <string.h>
#include <time.h>

static const uint64_t NS_PER_S = 1000000000;
static const uint64_t NS_PER_MS = 1000000;
static const uint64_t MS_PER_S = 1000;
static const uint64_t S_PER_DAY = 86400;

/* 9999-12-31T23:59:59Z. Both formats have four digits for the year. */
static const uint64_t LAST_SECOND = 253402300799;

struct civil {
    unsigned year;
    unsigned month;   /* 1 .. 12 */
    unsigned day;     /* 1 .. 31 */
    unsigned weekday; /* 0 is Sunday */
    unsigned hour;
    unsigned minute;
    unsigned second;
};

static struct timespec read_clock(clockid_t id)
{
    struct timespec now;
    int rc = clock_gettime(id, &now);

    assert(rc == 0); /* Linux always has both clocks */
    (void)rc;
    return now;
}

/* The Gregorian calendar in UTC, from 1970 on. A year starts on the first of
 * March here, so that a leap day is the last day of its year and needs no
 * special case. 400 years have 146097 days. From 0000-03-01 to 1970-01-01 are
 * 719468 days. gmtime_r(3) would do the same, but takes the lock of the time
 * zone and reads its files. */
static struct civil to_civil(uint64_t realtime_s)
{
    unsigned days = (unsigned)(realtime_s / S_PER_DAY);
    unsigned left = (unsigned)(realtime_s % S_PER_DAY);
    unsigned shifted = days + 719468;
    unsigned era = shifted / 146097;
    unsigned day_of_era = shifted % 146097;
    unsigned year_of_era = (day_of_era - day_of_era / 1460 +
                               day_of_era / 36524 - day_of_era / 146096) /
                           365;
    unsigned day_of_year =
        day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    unsigned from_march = (5 * day_of_year + 2) / 153;
    unsigned month = from_march < 10 ? from_march + 3 : from_march - 9;

    return (struct civil){
        .year = era * 400 + year_of_era + (month <= 2 ? 1 : 0),
        .month = month,
        .day = day_of_year - (153 * from_march + 2) / 5 + 1,
        .weekday = (days + 4) % 7, /* 1970-01-01 was a Thursday */
        .hour = left / 3600,
        .minute = left / 60 % 60,
        .second = left % 60,
    };
}

/* Writes value with exactly this number of digits. */
static void put_digits(char *out, unsigned value, int digits)
{
    for (int i = digits - 1; i >= 0; i--) {
        out[i] = (char)('0' + value % 10);
        value /= 10;
    }
}

uint64_t hcs_clock_ns(void)
{
    struct timespec now = read_clock(CLOCK_MONOTONIC);

    return (uint64_t)now.tv_sec * NS_PER_S + (uint64_t)now.tv_nsec;
}

uint64_t hcs_clock_ms(void)
{
    return hcs_clock_ns() / NS_PER_MS;
}

uint64_t hcs_clock_realtime_ms(void)
{
    struct timespec now = read_clock(CLOCK_REALTIME);

    if (now.tv_sec < 0) {
        return 0; /* a machine without a battery may start before 1970 */
    }
    return (uint64_t)now.tv_sec * MS_PER_S + (uint64_t)now.tv_nsec / NS_PER_MS;
}

void hcs_clock_http_date(uint64_t realtime_s, char out[HCS_HTTP_DATE_LENGTH])
{
    static const char weekdays[] = "SunMonTueWedThuFriSat";
    static const char months[] = "JanFebMarAprMayJunJulAugSepOctNovDec";
    struct civil at =
        to_civil(realtime_s < LAST_SECOND ? realtime_s : LAST_SECOND);

    memcpy(out, "www, dd mmm yyyy hh:mm:ss GMT", HCS_HTTP_DATE_LENGTH);
    memcpy(out, weekdays + 3 * (size_t)at.weekday, 3);
    put_digits(out + 5, at.day, 2);
    memcpy(out + 8, months + 3 * (size_t)(at.month - 1), 3);
    put_digits(out + 12, at.year, 4);
    put_digits(out + 17, at.hour, 2);
    put_digits(out + 20, at.minute, 2);
    put_digits(out + 23, at.second, 2);
}

void hcs_clock_rfc3339(uint64_t realtime_ms, char out[HCS_RFC3339_LENGTH])
{
    /* Keeps the text of the last second, of which only the milliseconds change.
     * One for each thread, so that threads share no cache line. */
    static _Thread_local struct {
        uint64_t second;
        char text[HCS_RFC3339_LENGTH];
    } last = {.second = UINT64_MAX};
    uint64_t last_ms = LAST_SECOND * MS_PER_S + (MS_PER_S - 1);
    uint64_t time_ms = realtime_ms < last_ms ? realtime_ms : last_ms;
    uint64_t second = time_ms / MS_PER_S;

    if (second != last.second) {
        struct civil at = to_civil(second);

        memcpy(last.text, "yyyy-mm-ddThh:mm:ss.mmmZ", HCS_RFC3339_LENGTH);
        put_digits(last.text, at.year, 4);
        put_digits(last.text + 5, at.month, 2);
        put_digits(last.text + 8, at.day, 2);
        put_digits(last.text + 11, at.hour, 2);
        put_digits(last.text + 14, at.minute, 2);
        put_digits(last.text + 17, at.second, 2);
        last.second = second;
    }
    memcpy(out, last.text, HCS_RFC3339_LENGTH);
    put_digits(out + 20, (unsigned)(time_ms % MS_PER_S), 3);
}
