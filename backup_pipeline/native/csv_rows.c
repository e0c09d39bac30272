/* Rows of Arrow columns as lines of CSV (RFC 4180, CRLF): texts in quotes, other values bare, NULL nothing at all.

   The caller gives room enough for the longest form of every value; nothing here allocates or fails. */

#include <stdint.h>
#include <string.h>

/* What a column holds, and how it is printed. */
enum form {
    BOOL,      /* true, false */
    INTEGER,   /* of `width` bytes, signed */
    DECIMAL,   /* decimal128 with `scale` digits behind the point, never with an exponent */
    DATE,      /* days since 1970: 2026-11-21 */
    TIME,      /* microseconds since midnight: 13:45:00 */
    TIMESTAMP, /* microseconds since 1970: 2026-11-21 13:45:00, floored */
    UUID,      /* 16 bytes, in canonical form */
    TEXT,      /* in quotes; offsets of `width` bytes */
    BARE       /* text without quotes: what another program has printed already */
};

/* An Arrow array: `valid` may be NULL when no value is. `first` is the row with which the array begins in its buffers;
   `null_text` says that NULL is "" in quotes; `day` is the one whose date was printed last, in `date` (0 bytes: none). */
struct cells {
    int64_t form;
    int64_t width;
    int64_t scale;
    int64_t first;
    int64_t null_text;
    const uint8_t *valid;
    const uint8_t *values;
    const uint8_t *text;
    int64_t day;
    int64_t date_bytes;
    uint8_t date[16];
};

static const char PAIRS[] =
    "00010203040506070809101112131415161718192021222324252627282930313233343536373839"
    "40414243444546474849505152535455565758596061626364656667686970717273747576777879"
    "8081828384858687888990919293949596979899";
static const int64_t SECOND = 1000000, DAY = 86400;
static const uint64_t TEN_TO_18 = 1000000000000000000u;
enum { MOST_DIGITS = 40 };

static int bit(const uint8_t *bits, int64_t at) { return bits[at >> 3] >> (at & 7) & 1; }

static uint8_t *put(uint8_t *out, const void *text, int64_t length)
{
    memcpy(out, text, (size_t)length);
    return out + length;
}

static uint8_t *put_pair(uint8_t *out, int64_t number) { return put(out, PAIRS + number * 2, 2); }

/* The digits of `number`, ending before `end`; where they begin. */
static uint8_t *digits_before(uint8_t *end, uint64_t number)
{
    while (number >= 100) {
        end -= 2;
        memcpy(end, PAIRS + number % 100 * 2, 2);
        number /= 100;
    }
    if (number >= 10) {
        end -= 2;
        memcpy(end, PAIRS + number * 2, 2);
        return end;
    }
    *--end = (uint8_t)('0' + number);
    return end;
}

static uint8_t *put_integer(uint8_t *out, int64_t number)
{
    uint8_t digits[MOST_DIGITS], *end = digits + sizeof digits;
    uint64_t size = number < 0 ? 0 - (uint64_t)number : (uint64_t)number;
    if (number < 0)
        *out++ = '-';
    uint8_t *start = digits_before(end, size);
    return put(out, start, end - start);
}

/* A decimal of up to 38 digits: 18 at a time, then the point put between them. */
static uint8_t *put_decimal(uint8_t *out, const uint8_t *value, int64_t scale)
{
    __int128 number;
    memcpy(&number, value, sizeof number);
    unsigned __int128 size = number < 0 ? 0 - (unsigned __int128)number : (unsigned __int128)number;
    uint8_t digits[MOST_DIGITS + 1], *end = digits + sizeof digits, *start = end;
    if (number < 0)
        *out++ = '-';
    while (size >= TEN_TO_18) {
        uint8_t *wanted = start - 18;
        start = digits_before(start, (uint64_t)(size % TEN_TO_18));
        while (start > wanted)
            *--start = '0';
        size /= TEN_TO_18;
    }
    start = digits_before(start, (uint64_t)size);
    while (end - start <= scale)
        *--start = '0';
    out = put(out, start, end - start - scale);
    if (scale == 0)
        return out;
    *out++ = '.';
    return put(out, end - scale, scale);
}

/* The Gregorian date of a day, before 1970 and before year 1 too: years begin in March, in eras of 400 years
   (http://howardhinnant.github.io/date_algorithms.html, civil_from_days). */
static uint8_t *put_date(uint8_t *out, int64_t day)
{
    day += 719468;
    int64_t era = (day >= 0 ? day : day - 146096) / 146097;
    int64_t of_era = day - era * 146097;
    int64_t year_of_era = (of_era - of_era / 1460 + of_era / 36524 - of_era / 146096) / 365;
    int64_t of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    int64_t from_march = (5 * of_year + 2) / 153;
    int64_t month = from_march < 10 ? from_march + 3 : from_march - 9;
    int64_t year = year_of_era + era * 400 + (month <= 2);
    if (year >= 0 && year <= 9999) {
        out = put_pair(put_pair(out, year / 100), year % 100);
    } else {
        if (year < 0) {
            *out++ = '-';
            year = -year;
        }
        for (int64_t at_least = 1000; at_least > 1 && year < at_least; at_least /= 10)
            *out++ = '0';
        out = put_integer(out, year);
    }
    *out++ = '-';
    out = put_pair(out, month);
    *out++ = '-';
    return put_pair(out, of_year - (153 * from_march + 2) / 5 + 1);
}

static uint8_t *put_time(uint8_t *out, int64_t seconds)
{
    out = put_pair(out, seconds / 3600);
    *out++ = ':';
    out = put_pair(out, seconds / 60 % 60);
    *out++ = ':';
    return put_pair(out, seconds % 60);
}

static int64_t floored(int64_t number, int64_t by) { return number / by - (number % by < 0); }

/* Rows often follow each other in time: the date of the row before is printed again. */
static uint8_t *put_timestamp(uint8_t *out, struct cells *cells, int64_t microseconds)
{
    int64_t seconds = floored(microseconds, SECOND), day = floored(seconds, DAY);
    if (cells->date_bytes == 0 || cells->day != day) {
        cells->date_bytes = put_date(cells->date, day) - cells->date;
        cells->day = day;
    }
    memcpy(out, cells->date, sizeof cells->date);
    out += cells->date_bytes;
    *out++ = ' ';
    return put_time(out, seconds - day * DAY);
}

/* The eight digits of four bytes, side by side in one number: each half of a byte becomes a byte of its own. */
static uint8_t *put_hexadecimal(uint8_t *out, const uint8_t *bytes)
{
    uint32_t four;
    memcpy(&four, bytes, sizeof four);
    uint64_t spread = four;
    spread = (spread | spread << 16) & 0x0000FFFF0000FFFF;
    spread = (spread | spread << 8) & 0x00FF00FF00FF00FF;
    spread = (spread >> 4 | spread << 8) & 0x0F0F0F0F0F0F0F0F;
    uint64_t letters = (spread + 0x0606060606060606) >> 4 & 0x0101010101010101;
    spread += 0x3030303030303030 + letters * ('a' - '0' - 10);
    return put(out, &spread, sizeof spread);
}

static uint8_t *put_uuid(uint8_t *out, const uint8_t *bytes)
{
    uint8_t digits[32];
    for (int at = 0; at < 16; at += 4)
        put_hexadecimal(digits + at * 2, bytes + at);
    *out++ = '"';
    out = put(out, digits, 8);
    for (int at = 8; at < 20; at += 4) {
        *out++ = '-';
        out = put(out, digits + at, 4);
    }
    *out++ = '-';
    out = put(out, digits + 20, 12);
    *out++ = '"';
    return out;
}

/* Quotes inside are doubled. */
static uint8_t *put_quoted(uint8_t *out, const uint8_t *text, int64_t length)
{
    const uint8_t *end = text + length, *quote;
    *out++ = '"';
    while (text < end && (quote = memchr(text, '"', (size_t)(end - text)))) {
        out = put(out, text, quote + 1 - text);
        *out++ = '"';
        text = quote + 1;
    }
    out = put(out, text, end - text);
    *out++ = '"';
    return out;
}

static int64_t integer(const uint8_t *values, int64_t row, int64_t width)
{
    int8_t tiny;
    int16_t small;
    int32_t middle;
    int64_t wide;
    switch (width) {
    case 1:
        return memcpy(&tiny, values + row, 1), tiny;
    case 2:
        return memcpy(&small, values + row * 2, 2), small;
    case 4:
        return memcpy(&middle, values + row * 4, 4), middle;
    default:
        return memcpy(&wide, values + row * 8, 8), wide;
    }
}

static uint8_t *put_text(uint8_t *out, const struct cells *cells, int64_t row)
{
    int64_t begin = integer(cells->values, row, cells->width), end = integer(cells->values, row + 1, cells->width);
    if (cells->form == TEXT)
        return put_quoted(out, cells->text + begin, end - begin);
    return put(out, cells->text + begin, end - begin);
}

static uint8_t *put_cell(uint8_t *out, struct cells *cells, int64_t row)
{
    const uint8_t *values = cells->values;
    if (cells->valid && !bit(cells->valid, row))
        return cells->null_text ? put(out, "\"\"", 2) : out;
    switch (cells->form) {
    case BOOL:
        return bit(values, row) ? put(out, "true", 4) : put(out, "false", 5);
    case INTEGER:
        return put_integer(out, integer(values, row, cells->width));
    case DECIMAL:
        return put_decimal(out, values + row * 16, cells->scale);
    case DATE:
        return put_date(out, integer(values, row, 4));
    case TIME:
        return put_time(out, integer(values, row, 8) / SECOND);
    case TIMESTAMP:
        return put_timestamp(out, cells, integer(values, row, 8));
    case UUID:
        return put_uuid(out, values + row * 16);
    default:
        return put_text(out, cells, row);
    }
}

/* Write the lines of `rows` rows; how many bytes they are. */
int64_t write_lines(struct cells *columns, int64_t count, int64_t rows, uint8_t *out)
{
    const uint8_t *start = out;
    for (int64_t row = 0; row < rows; row++) {
        for (int64_t number = 0; number < count; number++) {
            if (number > 0)
                *out++ = ',';
            out = put_cell(out, &columns[number], columns[number].first + row);
        }
        out = put(out, "\r\n", 2);
    }
    return out - start;
}

/* How often `byte` stands in the data. */
int64_t count_byte(const uint8_t *data, int64_t length, int64_t byte)
{
    enum { LANES = 64, MOST = 255 }; /* a lane counts in a byte, as many as fit into a register side by side */
    int64_t count = 0, at = 0;
    while (length - at >= LANES) {
        uint8_t lanes[LANES] = {0};
        for (int turn = 0; turn < MOST && length - at >= LANES; turn++, at += LANES)
            for (int lane = 0; lane < LANES; lane++)
                lanes[lane] += data[at + lane] == (uint8_t)byte;
        for (int lane = 0; lane < LANES; lane++)
            count += lanes[lane];
    }
    for (; at < length; at++)
        count += data[at] == (uint8_t)byte;
    return count;
}

/* Whether one of the texts begins with a byte of which `wanted` (256 of them) is not 0. `width` is that of the ends. */
int64_t begins_with(const uint8_t *ends, int64_t width, int64_t first, int64_t rows, const uint8_t *text,
                    const uint8_t *wanted)
{
    for (int64_t row = first; row < first + rows; row++) {
        int64_t begin = integer(ends, row, width);
        if (begin < integer(ends, row + 1, width) && wanted[text[begin]])
            return 1;
    }
    return 0;
}
