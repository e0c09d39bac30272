/* Records of CSV, as csv_rows.c writes them, as rows of a worksheet (ECMA-376, part 1, 18.3.1).

   Whatever is not usual is left to the caller, a record at a time: signs that XML has not, texts longer than a cell, dates
   that are none. Nothing here allocates or fails. */

#include <stdint.h>
#include <string.h>

/* Styles with a number of their own, as xlsx.py lists them; those of numbers come with their columns. */
enum style { GENERAL, TITLE, DAY_ONLY, MOMENT, TEXT_ONLY, QUOTED };

/* What is asked, and behind it what came of it. */
struct sheet_rows {
    const uint8_t *text; /* records; the last one may be cut off */
    int64_t size;
    uint8_t *out;
    int64_t room;
    const int64_t *styles; /* of the numbers of each column */
    int64_t columns;
    int64_t row; /* the number of the first row */
    int64_t most; /* rows */
    int64_t taken; /* bytes of the text */
    int64_t written;
    int64_t rows;
    int64_t odd; /* bytes of the record that follows, when it is for the caller */
};

enum { MOST_TEXT = 32767, EXACT_DIGITS = 15, EXPANSION = 5, CELL = 96, ROW = 64, REFERENCE = 24 };

static const int64_t DAY_SECONDS = 86400;

static uint8_t *put(uint8_t *out, const void *text, int64_t length)
{
    memcpy(out, text, (size_t)length);
    return out + length;
}

static uint8_t *put_word(uint8_t *out, const char *word) { return put(out, word, (int64_t)strlen(word)); }

static uint8_t *put_number(uint8_t *out, int64_t number)
{
    uint8_t digits[20], *end = digits + sizeof digits, *start = end;
    do {
        *--start = (uint8_t)('0' + number % 10);
        number /= 10;
    } while (number);
    return put(out, start, end - start);
}

/* A, B, ... Z, AA, ... */
static uint8_t *put_column(uint8_t *out, int64_t column)
{
    uint8_t letters[8], *end = letters + sizeof letters, *start = end;
    for (column++; column > 0 && start > letters; column = (column - 1) / 26)
        *--start = (uint8_t)('A' + (column - 1) % 26);
    return put(out, start, end - start);
}

static int is_digit(uint8_t sign) { return sign >= '0' && sign <= '9'; }

/* Where the record ends, behind its line end; NULL when it goes on. `cells` are those that it has at most. */
static const uint8_t *record_end(const uint8_t *text, const uint8_t *end, int64_t *cells)
{
    const uint8_t *start = text;
    int quoted = 0;
    *cells = 1;
    for (; text < end; text++) {
        if (*text == '"')
            quoted = !quoted;
        else if (quoted)
            continue;
        else if (*text == ',')
            ++*cells;
        else if (*text == '\n' && text > start && text[-1] == '\r')
            return text + 1;
    }
    return NULL;
}

static uint8_t *put_cell(uint8_t *out, const uint8_t *name, int64_t name_size, int64_t column, int64_t style, const char *kind)
{
    out = put_word(out, "<c r=\"");
    out = put_column(out, column);
    out = put(out, name, name_size);
    if (style) {
        out = put_word(out, "\" s=\"");
        out = put_number(out, style);
    }
    out = put_word(out, kind);
    return out;
}

/* How many digits behind leading zeros, when the text is a number as people write it; -1 when it is none, and -2 for
   one with zeros before it. */
static int64_t digits(const uint8_t *text, const uint8_t *end)
{
    int64_t count = 0;
    if (text < end && *text == '-')
        text++;
    if (text == end || !is_digit(*text))
        return -1;
    int zeros = *text == '0' && text + 1 < end && is_digit(text[1]);
    for (; text < end && is_digit(*text); text++)
        count += count > 0 || *text != '0';
    if (text < end) {
        if (*text++ != '.' || text == end)
            return -1;
        for (; text < end && is_digit(*text); text++)
            count += count > 0 || *text != '0';
    }
    return text < end ? -1 : zeros ? -2 : count;
}

static int64_t two(const uint8_t *text) { return (text[0] - '0') * 10 + text[1] - '0'; }

/* Whether a text has digits wherever `form` has a 0, and its other signs where it has those. */
static int has_form(const uint8_t *text, const uint8_t *end, const char *form)
{
    if (end - text != (int64_t)strlen(form))
        return 0;
    for (; text < end; text++, form++)
        if (*form == '0' ? !is_digit(*text) : *text != (uint8_t)*form)
            return 0;
    return 1;
}

/* The day as a spreadsheet counts it, 1 for 1900-01-01 and one too many from March 1900 on; -1 when there is no such day
   (http://howardhinnant.github.io/date_algorithms.html, days_from_civil). */
static int64_t day_number(const uint8_t *text)
{
    static const int8_t LENGTHS[] = {31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31};
    int64_t year = two(text) * 100 + two(text + 2), month = two(text + 5), day = two(text + 8);
    int leap = year % 4 == 0 && (year % 100 != 0 || year % 400 == 0);
    if (month < 1 || month > 12 || day < 1 || day > LENGTHS[month - 1] + (leap && month == 2))
        return -1;
    year -= month <= 2;
    int64_t era = year / 400, of_era = year - era * 400;
    int64_t of_year = (153 * (month > 2 ? month - 3 : month + 9) + 2) / 5 + day - 1;
    return era * 146097 + of_era * 365 + of_era / 4 - of_era / 100 + of_year - 719468 + 25569;
}

/* A part of a day, to the hundredth of a microsecond: more exact than a double of that size. */
static uint8_t *put_part(uint8_t *out, int64_t seconds)
{
    int64_t part = (seconds * 100000000000 + DAY_SECONDS / 2) / DAY_SECONDS;
    *out++ = '.';
    for (int64_t unit = 10000000000; unit > 0; unit /= 10)
        *out++ = (uint8_t)('0' + part / unit % 10);
    return out;
}

/* Whether a text that begins with an apostrophe was guarded by it (sheet.py); -1 when that is for the caller. */
static int was_guarded(const uint8_t *text, const uint8_t *end)
{
    if (end - text < 2)
        return end - text == 1 ? 0 : -1;
    uint8_t first = text[1];
    if (first == '=' || first == '@')
        return 1;
    if (first == '+' || first == '-')
        return end - text > 2 && text[2] < 0x80 && !is_digit(text[2]) && text[2] != '$' ? 1 : -1;
    return first > 0x20 && first < 0x7f ? 0 : -1;
}

/* Whether a text can be written as it is, but for quotes and what XML escapes; `wide` whether it has spaces to keep. */
static int is_usual(const uint8_t *text, const uint8_t *end, int *wide)
{
    if (end - text > MOST_TEXT)
        return 0;
    *wide = text < end && (*text <= 0x20 || end[-1] <= 0x20);
    for (const uint8_t *at = text; at < end; at++) {
        if (*at < 0x20) {
            if (*at != '\t' && *at != '\n' && *at != '\r')
                return 0;
            *wide = 1;
        } else if (*at == '_' && at + 1 < end && at[1] == 'x') {
            return 0;
        } else if (*at == 0xef && at + 2 < end && at[1] == 0xbf && at[2] >= 0xbe) {
            return 0;
        }
    }
    return 1;
}

static uint8_t *put_escaped(uint8_t *out, const uint8_t *text, const uint8_t *end)
{
    for (; text < end; text++) {
        switch (*text) {
        case '&':
            out = put_word(out, "&amp;");
            break;
        case '<':
            out = put_word(out, "&lt;");
            break;
        case '>':
            out = put_word(out, "&gt;");
            break;
        case '\r':
            out = put_word(out, "&#13;");
            break;
        case '"':
            text++; /* doubled */
            *out++ = '"';
            break;
        default:
            *out++ = *text;
        }
    }
    return out;
}

/* A cell with a text, of which quotes are doubled; NULL when it is for the caller. */
static uint8_t *put_text(uint8_t *out, const uint8_t *name, int64_t name_size, int64_t column, const uint8_t *text, const uint8_t *end)
{
    int wide = 0, guarded = text < end && *text == '\'' ? was_guarded(text, end) : 0;
    if (guarded < 0)
        return NULL;
    text += guarded;
    if (!is_usual(text, end, &wide))
        return NULL;
    out = put_cell(out, name, name_size, column, guarded ? QUOTED : TEXT_ONLY, "\" t=\"inlineStr\"><is>");
    out = put_word(out, wide ? "<t xml:space=\"preserve\">" : "<t>");
    return put_word(put_escaped(out, text, end), "</t></is></c>");
}

static uint8_t *put_moment(uint8_t *out, const uint8_t *name, int64_t name_size, int64_t column, const uint8_t *text, const uint8_t *end)
{
    int64_t day = day_number(text), seconds = 0;
    int timed = end - text > 10;
    if (timed) {
        int64_t hour = two(text + 11), minute = two(text + 14), second = two(text + 17);
        if (hour > 23 || minute > 59 || second > 59)
            return NULL;
        seconds = hour * 3600 + minute * 60 + second;
    }
    if (day < 0)
        return NULL;
    out = put_cell(out, name, name_size, column, timed ? MOMENT : DAY_ONLY, "\"><v>");
    out = put_number(out, day);
    return put_word(seconds ? put_part(out, seconds) : out, "</v></c>");
}

/* A cell without quotes: a number, a date, true, false, or a text after all. */
static uint8_t *put_plain(const struct sheet_rows *sheet, uint8_t *out, const uint8_t *name, int64_t name_size, int64_t column, const uint8_t *text, const uint8_t *end)
{
    for (const uint8_t *at = text; at < end; at++)
        if (*at >= 0x80 || *at == '"' || *at == '\r' || *at == '\n')
            return NULL;
    if (has_form(text, end, "true") || has_form(text, end, "false"))
        return put_word(put_cell(out, name, name_size, column, GENERAL, "\" t=\"b\"><v>"), *text == 't' ? "1</v></c>" : "0</v></c>");
    int64_t count = digits(text, end);
    if (count == -2)
        return NULL;
    if (count >= 0 && count <= EXACT_DIGITS) {
        out = put_cell(out, name, name_size, column, column < sheet->columns ? sheet->styles[column] : GENERAL, "\"><v>");
        return put_word(put(out, text, end - text), "</v></c>");
    }
    int dated = has_form(text, end, "0000-00-00") || has_form(text, end, "0000-00-00 00:00:00");
    if (dated && memcmp(text, "1901", 4) >= 0)
        return put_moment(out, name, name_size, column, text, end);
    return put_text(out, name, name_size, column, text, end);
}

/* The quote that ends a text; NULL when none does. */
static const uint8_t *closing(const uint8_t *text, const uint8_t *end)
{
    const uint8_t *quote;
    while ((quote = memchr(text, '"', (size_t)(end - text)))) {
        if (quote + 1 == end || quote[1] != '"')
            return quote;
        text = quote + 2;
    }
    return NULL;
}

/* The record from `text` to its line end `end`, as a row; NULL when it is for the caller. */
static uint8_t *put_row(const struct sheet_rows *sheet, uint8_t *out, int64_t row, const uint8_t *text, const uint8_t *end)
{
    uint8_t name[REFERENCE];
    int64_t name_size = put_number(name, row) - name;
    out = put_word(out, "<row r=\"");
    out = put_word(put(out, name, name_size), "\">");
    for (int64_t column = 0;; column++, text++) {
        const uint8_t *start = text, *stop;
        if (text < end && *text == '"') {
            stop = closing(++start, end);
            if (!stop || (stop + 1 < end && stop[1] != ','))
                return NULL;
            out = put_text(out, name, name_size, column, start, stop);
            text = stop + 1;
        } else {
            stop = memchr(text, ',', (size_t)(end - text));
            text = stop ? stop : end;
            if (text > start)
                out = put_plain(sheet, out, name, name_size, column, start, text);
        }
        if (!out || text == end)
            return out ? put_word(out, "</row>") : NULL;
    }
}

/* Write rows until the text, the room or the number of rows is used up, or until a record is for the caller. */
void write_sheet(struct sheet_rows *sheet)
{
    const uint8_t *text = sheet->text, *end = text + sheet->size, *behind;
    uint8_t *out = sheet->out, *last = out + sheet->room, *next;
    int64_t cells = 0;
    sheet->rows = sheet->odd = 0;
    while (sheet->rows < sheet->most && text < end && (behind = record_end(text, end, &cells))) {
        int full = (last - out) / EXPANSION < behind - text || (last - out) - EXPANSION * (behind - text) < CELL * cells + ROW;
        if (full && out > sheet->out)
            break;
        next = full ? NULL : put_row(sheet, out, sheet->row + sheet->rows, text, behind - 2);
        if (!next) {
            sheet->odd = behind - text;
            break;
        }
        out = next;
        text = behind;
        sheet->rows++;
    }
    sheet->taken = text - sheet->text;
    sheet->written = out - sheet->out;
}
