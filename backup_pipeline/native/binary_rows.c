/* Rows of Arrow columns as rows of COPY … (FORMAT binary): the reverse of copy_rows.c.

   The caller gives room enough for the longest form of every value; nothing here allocates or fails. */

#include <stdint.h>
#include <string.h>

/* How a value lies in Arrow, and what becomes of it on the wire. */
enum kind {
    BIT,     /* a bit -> a byte */
    INT16,
    INT32,
    INT64,
    NUMERIC, /* a decimal128 with `scale` digits behind the point -> base 10,000 */
    BYTES16, /* uuid */
    VARYING, /* text, bytea: its bytes; ends are int32 */
    JSONB    /* the same behind the version of jsonb's form */
};

/* A column of `rows` values that begin at `first` in its buffers. `shift` is added to an integer; `valid` may be NULL
   when no value is. Eight bytes each throughout: the caller fills it by ctypes. */
struct column {
    int64_t kind;
    int64_t shift;
    int64_t scale;
    int64_t first;
    const uint8_t *valid;
    const uint8_t *values;
    const uint8_t *bytes;
};

enum { JSONB_VERSION = 1, NEGATIVE = 0x4000, BASE = 10000, BASE_DIGITS = 4, MOST_GROUPS = 24 };
static const uint32_t TENS[] = {1, 10, 100, 1000};

static int bit(const uint8_t *bits, int64_t at) { return bits[at >> 3] >> (at & 7) & 1; }

static uint8_t *put16(uint8_t *out, int64_t number)
{
    uint16_t swapped = __builtin_bswap16((uint16_t)number);
    memcpy(out, &swapped, sizeof swapped);
    return out + sizeof swapped;
}

static uint8_t *put32(uint8_t *out, int64_t number)
{
    uint32_t swapped = __builtin_bswap32((uint32_t)number);
    memcpy(out, &swapped, sizeof swapped);
    return out + sizeof swapped;
}

static uint8_t *put64(uint8_t *out, uint64_t number)
{
    uint64_t swapped = __builtin_bswap64(number);
    memcpy(out, &swapped, sizeof swapped);
    return out + sizeof swapped;
}

static uint8_t *put_bytes(uint8_t *out, const uint8_t *bytes, int64_t length)
{
    memcpy(out, bytes, (size_t)length);
    return out + length;
}

/* The lowest group of `number`, which loses it. Most numbers fit into 64 bits, where dividing is quick. */
static uint16_t take_group(unsigned __int128 *number, uint32_t base)
{
    uint16_t group;
    if (*number >> 64 == 0) {
        uint64_t small = (uint64_t)*number;
        group = (uint16_t)(small % base);
        *number = small / base;
    } else {
        group = (uint16_t)(*number % base);
        *number /= base;
    }
    return group;
}

/* As numeric_recv of PostgreSQL's numeric.c takes it: digits of base 10,000 on both sides of the point, the first of them
   times 10,000^weight, without zeros at either end. */
static uint8_t *put_numeric(uint8_t *out, const uint8_t *value, int64_t scale)
{
    __int128 stored;
    uint16_t groups[MOST_GROUPS]; /* the lowest first */
    int count = 0, low = 0;
    int64_t behind = (scale + BASE_DIGITS - 1) / BASE_DIGITS, odd = scale % BASE_DIGITS;
    memcpy(&stored, value, sizeof stored);
    unsigned __int128 number = stored < 0 ? -(unsigned __int128)stored : (unsigned __int128)stored;
    if (odd != 0)
        groups[count++] = (uint16_t)(take_group(&number, TENS[odd]) * TENS[BASE_DIGITS - odd]);
    while (number != 0)
        groups[count++] = take_group(&number, BASE);
    while (low < count && groups[low] == 0)
        low++;
    while (count > low && groups[count - 1] == 0)
        count--;
    int empty = count == low;
    out = put32(out, 8 + 2 * (count - low));
    out = put16(out, count - low);
    out = put16(out, empty ? 0 : count - 1 - behind);
    out = put16(out, stored < 0 ? NEGATIVE : 0);
    out = put16(out, scale);
    for (int at = count - 1; at >= low; at--)
        out = put16(out, groups[at]);
    return out;
}

static uint8_t *put_varying(uint8_t *out, const struct column *column, int64_t row)
{
    int32_t ends[2];
    memcpy(ends, column->values + row * 4, sizeof ends);
    int64_t length = ends[1] - ends[0], extra = column->kind == JSONB;
    out = put32(out, length + extra);
    if (extra)
        *out++ = JSONB_VERSION;
    return put_bytes(out, column->bytes + ends[0], length);
}

static uint8_t *put_value(uint8_t *out, const struct column *column, int64_t row)
{
    int16_t small;
    int32_t middle;
    uint64_t wide;
    switch (column->kind) {
    case BIT:
        out = put32(out, 1);
        *out++ = (uint8_t)bit(column->values, row);
        return out;
    case INT16:
        memcpy(&small, column->values + row * 2, sizeof small);
        return put16(put32(out, 2), small);
    case INT32:
        memcpy(&middle, column->values + row * 4, sizeof middle);
        return put32(put32(out, 4), middle + column->shift);
    case INT64:
        memcpy(&wide, column->values + row * 8, sizeof wide);
        return put64(put32(out, 8), wide + (uint64_t)column->shift);
    case NUMERIC:
        return put_numeric(out, column->values + row * 16, column->scale);
    case BYTES16:
        return put_bytes(put32(out, 16), column->values + row * 16, 16);
    default:
        return put_varying(out, column, row);
    }
}

/* Write the rows; how many bytes they took. */
int64_t write_rows(const struct column *columns, int64_t count, int64_t rows, uint8_t *out)
{
    const uint8_t *begin = out;
    for (int64_t row = 0; row < rows; row++) {
        out = put16(out, count);
        for (int64_t number = 0; number < count; number++) {
            const struct column *column = &columns[number];
            int64_t at = column->first + row;
            if (column->valid && !bit(column->valid, at))
                out = put32(out, -1);
            else
                out = put_value(out, column, at);
        }
    }
    return out - begin;
}
