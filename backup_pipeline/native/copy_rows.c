/* Rows of COPY … (FORMAT binary), from libpq's buffers into Arrow's.

   The format is PostgreSQL's (https://www.postgresql.org/docs/current/sql-copy.html, "Binary Format"): a row is an
   int16 with the number of its fields, then for each an int32 with its length (-1: NULL) and its bytes, all big-endian.
   What the server sends is checked before it is used: its lengths decide where is written. The caller owns the buffers. */

#include <poll.h>
#include <stdint.h>
#include <string.h>
#include <sys/socket.h>

/* How a column is stored: what comes over the wire, and what it becomes. */
enum kind {
    BIT,     /* bool: a byte -> a bit */
    INT16,
    INT32,
    INT64,
    NUMERIC, /* base 10,000 -> a decimal128 with `shift` digits behind the point, of `room` digits in all */
    BYTES16, /* uuid */
    VARYING  /* text, bytea: its bytes, and an int32 that says where they end */
};

/* `shift` is added to an integer; `bytes` has `room`. Eight bytes each throughout: the caller fills it by ctypes. */
struct column {
    int64_t kind;
    int64_t shift;
    uint8_t *valid;
    uint8_t *values;
    uint8_t *bytes;
    int64_t room;
};

/* `message` is libpq's buffer with a row that waits, `length` its bytes (0: none waits). A page ends with `enough`
   bytes `taken` or `most` rows; `received` are those of the whole stream. */
struct state {
    uint8_t *message;
    int64_t length;
    int64_t started;
    int64_t rows;
    int64_t most;
    int64_t taken;
    int64_t enough;
    int64_t column;
    int64_t received;
};

/* Why it stops; END and FAILED are libpq's own numbers. */
enum stop {
    FAILED = -2,   /* libpq says why */
    END = -1,      /* no more rows: ask libpq how it ended */
    PAGE = 0,      /* the page is full */
    GROW = 1,      /* `column` has no room for the value at hand; call again when it has */
    MALFORMED = 2, /* not what was asked for */
    UNFIT = 3      /* a value of `column` that its type in Arrow has not, such as NaN */
};

/* What is called of libpq: PQgetCopyData, PQconsumeInput and PQfreemem; the connection, and its socket. */
struct libpq {
    int (*next_message)(void *connection, char **buffer, int async);
    int (*consume_input)(void *connection);
    void (*free_message)(void *buffer);
    void *connection;
    int64_t socket;
};

static const uint8_t SIGNATURE[11] = {'P', 'G', 'C', 'O', 'P', 'Y', '\n', 0xFF, '\r', '\n', 0};
enum { FLAGS = 4, HEADER = sizeof SIGNATURE + FLAGS + 4 };
static const int64_t WIRE_WIDTH[] = {1, 2, 4, 8, -1, 16};
static const int64_t ARROW_WIDTH[] = {0, 2, 4, 8, 16, 16};

static int16_t big16(const uint8_t *at) { return (int16_t)((at[0] << 8) | at[1]); }

static int32_t big32(const uint8_t *at)
{
    uint32_t number;
    memcpy(&number, at, sizeof number);
    return (int32_t)__builtin_bswap32(number);
}

static int64_t big64(const uint8_t *at)
{
    uint64_t number;
    memcpy(&number, at, sizeof number);
    return (int64_t)__builtin_bswap64(number);
}

static void mark(uint8_t *bits, int64_t row, int present)
{
    uint8_t bit = (uint8_t)(1u << (row & 7));
    bits[row >> 3] = present ? bits[row >> 3] | bit : bits[row >> 3] & (uint8_t)~bit;
}

/* Wraps around as PostgreSQL's infinities need it: what they become lies outside every bound. */
static int64_t shifted(int64_t number, int64_t by) { return (int64_t)((uint64_t)number + (uint64_t)by); }

static void store_fixed(const struct column *column, int64_t row, const uint8_t *source)
{
    uint8_t *values = column->values;
    int16_t small;
    int32_t middle;
    int64_t wide;
    switch (column->kind) {
    case BIT:
        mark(values, row, source[0] != 0);
        break;
    case INT16:
        small = big16(source);
        memcpy(values + row * 2, &small, 2);
        break;
    case INT32:
        middle = (int32_t)shifted(big32(source), column->shift);
        memcpy(values + row * 4, &middle, 4);
        break;
    case INT64:
        wide = shifted(big64(source), column->shift);
        memcpy(values + row * 8, &wide, 8);
        break;
    default:
        memcpy(values + row * 16, source, 16);
    }
}

/* What numeric_send of PostgreSQL's numeric.c sends: digits of base 10,000, the first of them times 10,000^weight. */
enum { NUMERIC_HEADER = 8, POSITIVE = 0, NEGATIVE = 0x4000, NOT_A_NUMBER = 0xC000, INFINITE = 0xD000,
       MINUS_INFINITE = 0xF000 };
static const uint16_t TENS[] = {1, 10, 100, 1000, 10000};

/* Whether `count` digits are what they may be, and how many decimal digits the first of them has. */
static int leading_digits(const uint8_t *digits, int count)
{
    for (int number = 0; number < count; number++)
        if ((uint16_t)big16(digits + number * 2) >= TENS[4])
            return -1;
    uint16_t first = count > 0 ? (uint16_t)big16(digits) : 0;
    return first >= TENS[3] ? 4 : first >= TENS[2] ? 3 : first >= TENS[1] ? 2 : 1;
}

/* The digits as one whole number, `power` tens behind the last; at least -3 of them, and no more than fit: see below. */
static int64_t add_up(const uint8_t *digits, int count, int power, unsigned __int128 *total)
{
    uint16_t last = (uint16_t)big16(digits + (count - 1) * 2);
    for (int number = 0; number < count - 1; number++)
        *total = *total * TENS[4] + (uint16_t)big16(digits + number * 2);
    int cut = power < 0 ? -power : 0;
    if (last % TENS[cut] != 0)
        return UNFIT;
    *total = *total * TENS[4 - cut] + last / TENS[cut];
    for (; power > 0; power--)
        *total *= 10;
    return PAGE;
}

/* Store a numeric; PAGE, or why it could not be. A total of at most 38 digits, as `room` says, fits. */
static int64_t store_numeric(const struct column *column, int64_t row, const uint8_t *source, int32_t length)
{
    if (length < NUMERIC_HEADER)
        return MALFORMED;
    int count = big16(source), weight = big16(source + 2), sign = (uint16_t)big16(source + 4);
    if (sign == NOT_A_NUMBER || sign == INFINITE || sign == MINUS_INFINITE)
        return UNFIT;
    if (count < 0 || length != NUMERIC_HEADER + count * 2 || (sign != POSITIVE && sign != NEGATIVE))
        return MALFORMED;
    unsigned __int128 total = 0;
    if (count > 0) {
        const uint8_t *digits = source + NUMERIC_HEADER;
        int leading = leading_digits(digits, count), power = 4 * (weight - count + 1) + (int)column->shift;
        if (leading < 0)
            return MALFORMED;
        if (leading + 4 * weight + column->shift > column->room || power < -3)
            return UNFIT;
        if (add_up(digits, count, power, &total) != PAGE)
            return UNFIT;
    }
    total = sign == NEGATIVE ? -total : total;
    memcpy(column->values + row * 16, &total, 16);
    return PAGE;
}

/* Zeros where a value would be: what was in the memory before must not come to light. */
static void store_null(const struct column *column, int64_t row)
{
    if (column->kind == BIT)
        mark(column->values, row, 0);
    else
        memset(column->values + row * ARROW_WIDTH[column->kind], 0, (size_t)ARROW_WIDTH[column->kind]);
}

/* Whether there was room. */
static int store_varying(const struct column *column, int64_t row, const uint8_t *source, int32_t length)
{
    int32_t *ends = (int32_t *)(void *)column->values;
    int64_t begin = ends[row], size = length > 0 ? length : 0;
    if (begin + size > column->room)
        return 0;
    memcpy(column->bytes + begin, source, (size_t)size);
    ends[row + 1] = (int32_t)(begin + size);
    return 1;
}

/* Store one row; PAGE, or why it could not be. May be called again for the same row. */
static int64_t take_row(const uint8_t *at, const uint8_t *end, struct state *state, const struct column *columns,
                        int64_t count)
{
    int64_t row = state->rows;
    if (big16(at) != count)
        return MALFORMED;
    at += 2;
    for (int64_t number = 0; number < count; number++) {
        const struct column *column = &columns[number];
        if (end - at < 4)
            return MALFORMED;
        int32_t length = big32(at);
        at += 4;
        if (length < -1 || length > end - at)
            return MALFORMED;
        if (column->kind == VARYING) {
            if (!store_varying(column, row, at, length)) {
                state->column = number;
                return GROW;
            }
        } else if (length < 0) {
            store_null(column, row);
        } else if (column->kind == NUMERIC) {
            int64_t stored = store_numeric(column, row, at, length);
            if (stored != PAGE) {
                state->column = number;
                return stored;
            }
        } else {
            if (length != WIRE_WIDTH[column->kind])
                return MALFORMED;
            store_fixed(column, row, at);
        }
        mark(column->valid, row, length >= 0);
        at += length > 0 ? length : 0;
    }
    return at == end ? PAGE : MALFORMED;
}

/* Where the first row begins; NULL when there is no header. */
static const uint8_t *behind_header(const uint8_t *start, const uint8_t *end)
{
    if (end - start < HEADER || memcmp(start, SIGNATURE, sizeof SIGNATURE) != 0)
        return NULL;
    int32_t extension = big32(start + HEADER - 4);
    return extension < 0 || extension > end - start - HEADER ? NULL : start + HEADER + extension;
}

/* A stream is long from so many bytes on. Who then waits until so many more have arrived (the time is for its end) is
   woken, and wakes the server's core, once for many of the 8 KB that PostgreSQL sends at a time. */
enum { LONG = 1 << 20, MANY = 256 << 10, ROOM = 2 << 20, WAIT_MS = 2 };

/* Wait until many bytes have come, or for a moment. */
static void wait_for_many(int descriptor)
{
    int room = ROOM, many = MANY, any = 1;
    struct pollfd wanted = {.fd = descriptor, .events = POLLIN};
    /* The kernel makes room for what is wanted, and leaves it: so the server goes on sending until we are awake. */
    setsockopt(descriptor, SOL_SOCKET, SO_RCVLOWAT, &room, sizeof room);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVLOWAT, &many, sizeof many);
    poll(&wanted, 1, WAIT_MS);
    setsockopt(descriptor, SOL_SOCKET, SO_RCVLOWAT, &any, sizeof any);
}

/* The next message; its length, or END or FAILED. */
static int next_message(const struct libpq *libpq, struct state *state)
{
    char **message = (char **)(void *)&state->message;
    if (state->received < LONG)
        return libpq->next_message(libpq->connection, message, 0);
    for (int waited = 0;; waited = 1) {
        int length = libpq->next_message(libpq->connection, message, 1);
        if (length != 0)
            return length;
        if (waited)
            wait_for_many((int)libpq->socket);
        if (!libpq->consume_input(libpq->connection))
            return FAILED;
    }
}

static void forget(struct state *state, const struct libpq *libpq)
{
    libpq->free_message(state->message);
    state->message = NULL;
    state->length = 0;
}

/* Take rows until something stops it; the reason. A row that waits is not counted yet. */
int64_t take_rows(const struct libpq *libpq, struct state *state, const struct column *columns, int64_t count)
{
    while (state->rows < state->most && state->taken < state->enough) {
        if (state->length == 0) {
            int length = next_message(libpq, state);
            if (length < 0)
                return length;
            state->length = length;
            state->received += length;
        }
        const uint8_t *start = state->message, *end = start + state->length;
        if (!state->started && !(start = behind_header(start, end)))
            return MALFORMED;
        if (end - start < 2)
            return MALFORMED;
        if (big16(start) != -1) {
            int64_t stop = take_row(start, end, state, columns, count);
            if (stop != PAGE)
                return stop;
            state->rows++;
            state->taken += state->length;
        }
        state->started = 1;
        forget(state, libpq);
    }
    return PAGE;
}

/* Free the row that waits, if one does. */
void forget_row(const struct libpq *libpq, struct state *state)
{
    if (state->length != 0)
        forget(state, libpq);
}
