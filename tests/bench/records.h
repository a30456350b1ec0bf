/*
 * Records as imxrouter/wire/layout.py has them, and the requests of the load generator: a MESSAGE has one
 * CONTENT_TYPE field, a SUBSCRIBE an id and a duration, a NOTIFY id, state, version and a PIDF document.
 */
#include <errno.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum {
    HEADER = 40,
    T_PING = 0x0002, T_PONG = 0x8002, T_ACK = 0x0003, T_CLOSE = 0x0004, T_CREDIT = 0x0006,
    T_MESSAGE = 0x0100, T_SUBSCRIBE = 0x0101, T_NOTIFY = 0x0102, RESPONSE = 0x8000, FIRST_ROUTED = 0x0100,
    F_CONTENT_TYPE = 0x0018, F_SUBSCRIPTION_ID = 0x0030, F_DURATION = 0x0031, F_STATE = 0x0032, F_VERSION = 0x0033,
    F_CREDIT_REQUESTS = 0x0103, F_NONCE = 0x0117, F_REASON = 0x0120,
    F_ACKNOWLEDGED = 0x0130,
    WANTED = 0x80, HOPS = 110,
    SUBSCRIBED_S = 3600,
};

typedef struct { uint8_t *bytes; uint32_t size; } Template;

static void die(const char *what)
{
    fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
    exit(1);
}

static void usage(const char *what)
{
    fprintf(stderr, "load: %s; see the head of load.c\n", what);
    exit(1);
}

static void broken(const char *what)
{
    fprintf(stderr, "load: %s\n", what);
    exit(2);
}

static void put16(uint8_t *at, uint16_t value) { value = __builtin_bswap16(value); memcpy(at, &value, 2); }
static void put32(uint8_t *at, uint32_t value) { value = __builtin_bswap32(value); memcpy(at, &value, 4); }
static void put64(uint8_t *at, uint64_t value) { value = __builtin_bswap64(value); memcpy(at, &value, 8); }
static uint16_t get16(const uint8_t *at) { uint16_t v; memcpy(&v, at, 2); return __builtin_bswap16(v); }
static uint32_t get32(const uint8_t *at) { uint32_t v; memcpy(&v, at, 4); return __builtin_bswap32(v); }
static uint64_t get64(const uint8_t *at) { uint64_t v; memcpy(&v, at, 8); return __builtin_bswap64(v); }

static uint8_t *put_field(uint8_t *at, uint16_t number, const void *value, size_t size)
{
    put16(at, number);
    put16(at + 2, (uint16_t)size);
    return mempcpy(at + 4, value, size);
}

/* Success: To and From swapped, same route tag and id, an outcome of zeros; a subscription is active. */
static void *need(size_t count, size_t size)
{
    void *memory = calloc(count, size);
    if (!memory)
        die("memory");
    return memory;
}

static char **read_lines(const char *path, size_t *count)
{
    FILE *file = fopen(path, "r");
    if (!file)
        die(path);
    size_t room = 1024;
    char **lines = need(room, sizeof *lines), line[512];
    *count = 0;
    while (fgets(line, sizeof line, file)) {
        line[strcspn(line, "\r\n")] = 0;
        if (!*line)
            continue;
        if (strlen(line) > 253)
            usage("a domain of more than 253 bytes");
        if (*count == room && !(lines = realloc(lines, (room *= 2) * sizeof *lines)))
            die("memory");
        if (!(lines[(*count)++] = strdup(line)))
            die("memory");
    }
    fclose(file);
    if (!*count)
        usage("a file without domains");
    return lines;
}

/* A presence document of that many bytes; what is missing is a note. */
static uint8_t *put_pidf(uint8_t *at, const char *domain, size_t bytes)
{
    static const char end[] = "</note></presence>";
    char begin[512];
    size_t head = (size_t)snprintf(begin, sizeof begin,
        "<?xml version='1.0' encoding='UTF-8'?>\n<presence xmlns=\"urn:ietf:params:xml:ns:pidf\" entity=\"pres:bob@%s\">"
        "<tuple id=\"t1\"><status><basic>open</basic></status></tuple><note>", domain);
    if (head + sizeof end - 1 > bytes)
        usage("a body too short for a presence document");
    at = mempcpy(at, begin, head);
    memset(at, 'x', bytes - head - (sizeof end - 1));
    return mempcpy(at + bytes - head - (sizeof end - 1), end, sizeof end - 1);
}

static size_t fields_of(int kind, uint8_t *fields, const char *user)
{
    static const uint8_t version[16] = {0, 0, 1, 0x9a, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1};
    char ident[40];
    uint8_t duration[4], *at = fields;
    if (kind == T_MESSAGE)
        return (size_t)(put_field(at, F_CONTENT_TYPE, "text/plain", 10) - fields);
    at = put_field(at, F_SUBSCRIPTION_ID, ident, (size_t)snprintf(ident, sizeof ident, "watching-%s", user));
    put32(duration, SUBSCRIBED_S);
    if (kind == T_SUBSCRIBE)
        return (size_t)(put_field(at, F_DURATION, duration, 4) - fields);
    at = put_field(at, F_STATE, "\1\0", 2);
    return (size_t)(put_field(at, F_VERSION, version, 16) - fields);
}

static Template make_template(int kind, size_t user, const char *from, const char *to, size_t body_bytes)
{
    char user_name[32];
    uint8_t fields[128];
    snprintf(user_name, sizeof user_name, "u%06zu", user);
    const char *to_local = kind == T_NOTIFY ? user_name : "bob", *from_local = kind == T_NOTIFY ? "bob" : user_name;
    size_t to_bytes = strlen(to), from_bytes = strlen(from), ext = fields_of(kind, fields, user_name);
    size_t body = kind == T_SUBSCRIBE ? 0 : body_bytes;
    size_t size = HEADER + strlen(to_local) + 1 + to_bytes + strlen(from_local) + 1 + from_bytes + ext + body;
    uint8_t *at = need(1, size), *part = at + HEADER;
    put32(at, (uint32_t)(size - 4));
    put16(at + 4, (uint16_t)kind);
    at[6] = WANTED;
    at[7] = HOPS;
    at[16] = (uint8_t)strlen(to_local);
    at[17] = (uint8_t)to_bytes;
    at[18] = (uint8_t)strlen(from_local);
    at[19] = (uint8_t)from_bytes;
    put16(at + 20, (uint16_t)ext);
    part = mempcpy(part, to_local, strlen(to_local));
    *part++ = '@';
    part = mempcpy(part, to, to_bytes);
    part = mempcpy(part, from_local, strlen(from_local));
    *part++ = '@';
    part = mempcpy(part, from, from_bytes);
    part = mempcpy(part, fields, ext);
    if (kind == T_NOTIFY)
        put_pidf(part, from, body);
    else
        memset(part, 'x', body);
    return (Template){at, (uint32_t)size};
}
