/*
 * Load generator for `make bench`: plays both ends of a router (or of a plain forwarder) over connections
 * that are open already.
 *
 *     load --senders FDS --responders FDS --from-file FILE --to-file FILE [options]
 *
 *   --senders FDS      file descriptors of the links that send requests: "5,6,7"
 *   --responders FDS   file descriptors of the links that answer them
 *   --from-file FILE   source domains, one a line. Domain number j belongs to sender link j mod LINKS; where
 *                      there are fewer domains than links, link i sends as domain i mod DOMAINS. The caller
 *                      has proved them there.
 *   --to-file FILE     destination domains, one a line
 *   --addresses N      sending users, spread over the domains, each sends in turn        (10000)
 *   --window N         requests without an answer on each sender link                    (4096)
 *   --rate N           requests a second, all links together; 0: what the window allows  (0)
 *   --warmup S         seconds before anything counts                                    (1)
 *   --seconds S        seconds that count                                                (5)
 *   --drain S          seconds to wait for the last answers                              (5)
 *   --body N           bytes of a message's or notification's body                       (200)
 *   --kind WORD        message, subscribe or notify                                      (message)
 *
 * Messages go from user N of a source domain to bob of a destination domain. `subscribe` lets the same users
 * watch bob, each once at most; `notify` is the way back: bob of a source domain tells user N of a destination
 * domain, over the subscription that `subscribe` began with both files swapped (one presentity domain). There
 * --addresses is how many subscriptions there are.
 *
 * The three loads: saturation is --window 4096 on one link; "16 in flight on each of 4 links" is --window 16
 * with four senders; "1,000 a second" is --rate 1000. With a rate, the latency counts from the moment at
 * which a request was due, so that a stall is seen by all that should have been sent in it.
 *
 * Descriptors are inherited (subprocess pass_fds). Hello, claims and login were done by the caller, who has
 * read nothing beyond the last whole record. They are switched to non-blocking, which their other holders
 * share.
 *
 * Records are those of imxrouter/wire/layout.py. A MESSAGE has one CONTENT_TYPE field, a SUBSCRIBE an id and a
 * duration, a NOTIFY id, state, version and a PIDF document of --body bytes. Ids are 8 random bytes and a counter; the route tag is the counter. Each read of a sender link is followed by
 * one ACK with the number of responses read there. PING is answered, CREDIT obeyed, CLOSE counted; the link's
 * other own records are ignored. A responder answers each request with success,
 * a SUBSCRIBE with all that it asks for.
 *
 * Standard output, a JSON object a line:
 *   {"event": "measuring"}   now the caller reads the router's CPU time for the first time
 *   {"event": "measured"}    ... and for the second
 *   {"event": "result", "pairs": n, "seconds": s, "pairs_per_s": n, "generator_us_per_pair": u,
 *    "latency_us": {"p50":, "p90":, "p99":, "max":, "mean":}, "sent": n, "outcomes": {"success": n,
 *    "failure": n, "indeterminant": n}, "not_sent": n, "reasons": {"CODE": n}, "requests_seen": n,
 *    "unanswered": n, "unexpected": n, "closed_links": n, "closes": {"CODE": n}}
 * Pairs, seconds and latencies are those of the measured time, the other counters those of the whole run.
 * "pairs" counts answers of every status: a caller checks that all are successes. "not_sent" were due by the
 * rate when every window was full. A REASONS code of 256 stands for every other.
 *
 * Exit status: 0; 1 wrong arguments or a failed system call; 2 bytes that are no records; 3 every sender link
 * was closed.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum {
    HEADER = 40,
    IN_BYTES = 1 << 18,
    OUT_BYTES = 1 << 22,
    OUT_HIGH = 1 << 18,      /* no new requests while so much is unwritten */
    MAX_RECORD = 1 << 17,    /* nothing here comes near it */
    PENDING = 1 << 20,       /* requests in flight at most, all links; a power of two */
    BUCKETS = 64 * 32,
    REASONS = 256,
    T_PING = 0x0002, T_PONG = 0x8002, T_ACK = 0x0003, T_CLOSE = 0x0004, T_CREDIT = 0x0006,
    T_MESSAGE = 0x0100, T_SUBSCRIBE = 0x0101, T_NOTIFY = 0x0102, RESPONSE = 0x8000, FIRST_ROUTED = 0x0100,
    F_CONTENT_TYPE = 0x0018, F_SUBSCRIPTION_ID = 0x0030, F_DURATION = 0x0031, F_STATE = 0x0032, F_VERSION = 0x0033,
    F_CREDIT_REQUESTS = 0x0103, F_NONCE = 0x0117, F_REASON = 0x0120,
    F_ACKNOWLEDGED = 0x0130,
    WANTED = 0x80, HOPS = 110,
    SUBSCRIBED_S = 3600,
};

typedef struct { uint8_t *bytes; uint32_t size; } Template;

typedef struct {
    int fd, is_sender, is_closed, wants_out, in_paused;
    uint8_t *in, *out;
    size_t in_have, out_at, out_have;
    Template *templates;
    size_t template_count, template_next, templates_left; /* left: requests that may still be made */
    uint32_t window, in_flight;
    uint64_t responses_read, acknowledged;
} Link;

typedef struct { uint64_t number, at_ns; uint32_t link, in_use; } Pending;

static Link *links;
static size_t link_count, sender_count, open_senders;
static Pending *pending;
static uint8_t id_prefix[8];
static uint64_t next_number, in_flight_total;
static int poller, measuring, kind = T_MESSAGE;

static uint64_t histogram[BUCKETS], pairs, latency_sum, latency_max;
static uint64_t sent, not_sent, outcomes[3], reasons[REASONS + 1], closes[REASONS + 1];
static uint64_t requests_seen, unexpected, closed_links;

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

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

static void put16(uint8_t *at, uint16_t value) { value = __builtin_bswap16(value); memcpy(at, &value, 2); }
static void put32(uint8_t *at, uint32_t value) { value = __builtin_bswap32(value); memcpy(at, &value, 4); }
static void put64(uint8_t *at, uint64_t value) { value = __builtin_bswap64(value); memcpy(at, &value, 8); }
static uint16_t get16(const uint8_t *at) { uint16_t v; memcpy(&v, at, 2); return __builtin_bswap16(v); }
static uint32_t get32(const uint8_t *at) { uint32_t v; memcpy(&v, at, 4); return __builtin_bswap32(v); }
static uint64_t get64(const uint8_t *at) { uint64_t v; memcpy(&v, at, 8); return __builtin_bswap64(v); }

/* -- latencies: 32 steps for each doubling, so that a percentile is right within 3 % -------------------- */

static unsigned bucket_of(uint64_t ns)
{
    if (ns < 32)
        return (unsigned)ns;
    unsigned top = 63 - (unsigned)__builtin_clzll(ns);
    return (top - 4) * 32 + (unsigned)((ns >> (top - 5)) & 31);
}

static double bucket_ns(unsigned bucket)
{
    if (bucket < 32)
        return bucket;
    unsigned top = bucket / 32 + 4;
    return (double)((uint64_t)(32 + bucket % 32) << (top - 5)) + (double)((uint64_t)1 << (top - 5)) / 2;
}

static double percentile_us(double part)
{
    uint64_t wanted = (uint64_t)((double)pairs * part), seen = 0;
    for (unsigned bucket = 0; bucket < BUCKETS; bucket++) {
        seen += histogram[bucket];
        if (seen > wanted)
            return bucket_ns(bucket) / 1000;
    }
    return (double)latency_max / 1000;
}

/* -- output -------------------------------------------------------------------------------------------- */

static void set_events(Link *link)
{
    struct epoll_event event = {.data.ptr = link};
    event.events = (link->in_paused ? 0u : EPOLLIN) | (link->wants_out ? EPOLLOUT : 0u);
    if (epoll_ctl(poller, EPOLL_CTL_MOD, link->fd, &event) < 0)
        die("epoll_ctl");
}

static void lose(Link *link)
{
    if (link->is_closed)
        return;
    link->is_closed = 1;
    closed_links++;
    in_flight_total -= link->in_flight;
    open_senders -= (size_t)link->is_sender;
    epoll_ctl(poller, EPOLL_CTL_DEL, link->fd, NULL);
}

static size_t unwritten(const Link *link) { return link->out_have - link->out_at; }

static void flush_out(Link *link)
{
    while (!link->is_closed && unwritten(link)) {
        ssize_t done = send(link->fd, link->out + link->out_at, unwritten(link), MSG_NOSIGNAL);
        if (done < 0) {
            if (errno == EINTR)
                continue;
            if (errno == EAGAIN)
                break;
            lose(link);
            return;
        }
        link->out_at += (size_t)done;
    }
    if (!unwritten(link))
        link->out_at = link->out_have = 0;
    int wants_out = unwritten(link) > 0, paused = !link->is_sender && unwritten(link) > OUT_HIGH;
    if (!link->is_closed && (wants_out != link->wants_out || paused != link->in_paused)) {
        link->wants_out = wants_out;
        link->in_paused = paused;
        set_events(link);
    }
}

static uint8_t *reserve(Link *link, size_t size)
{
    if (link->out_have + size > OUT_BYTES) {
        memmove(link->out, link->out + link->out_at, unwritten(link));
        link->out_have -= link->out_at;
        link->out_at = 0;
        if (link->out_have + size > OUT_BYTES)
            broken("output over its bound: the other side does not read");
    }
    uint8_t *at = link->out + link->out_have;
    link->out_have += size;
    return at;
}

/* A record of the link's own with one field. */
static void put_own(Link *link, uint16_t type, uint16_t field, const uint8_t *value, uint16_t size)
{
    uint8_t *at = reserve(link, (size_t)HEADER + 4 + size);
    memset(at, 0, HEADER);
    put32(at, (uint32_t)(HEADER - 4 + 4 + size));
    put16(at + 4, type);
    put16(at + 20, (uint16_t)(4 + size));
    put16(at + HEADER, field);
    put16(at + HEADER + 2, size);
    memcpy(at + HEADER + 4, value, size);
}

static void put_request(Link *link, uint64_t at_ns)
{
    Template *template = &link->templates[link->template_next];
    link->templates_left -= kind == T_SUBSCRIBE;
    if (++link->template_next == link->template_count)
        link->template_next = 0;
    uint64_t number = ++next_number;
    Pending *slot = &pending[number & (PENDING - 1)];
    if (slot->in_use && !links[slot->link].is_closed)
        broken("more requests in flight than the table holds");
    *slot = (Pending){number, at_ns, (uint32_t)(link - links), 1};
    uint8_t *at = reserve(link, template->size);
    memcpy(at, template->bytes, template->size);
    put64(at + 8, number);
    memcpy(at + 24, id_prefix, 8);
    put64(at + 32, number);
    link->in_flight++;
    in_flight_total++;
    sent++;
}

static void top_up(Link *link)
{
    if (link->is_closed || unwritten(link) > OUT_HIGH)
        return;
    uint64_t now = now_ns();
    while (link->templates_left && link->in_flight < link->window && in_flight_total < PENDING / 2 && unwritten(link) < OUT_BYTES / 2)
        put_request(link, now);
}

/* -- input --------------------------------------------------------------------------------------------- */

/* The first value of a field of a record whose fields begin there; NULL where it is missing. */
static const uint8_t *field_at(const uint8_t *record, size_t at, size_t size, uint16_t wanted, uint16_t *found_size)
{
    size_t end = at + get16(record + 20);
    if (end > size)
        return NULL;
    while (at + 4 <= end) {
        uint16_t number = get16(record + at) & 0x7fff, length = get16(record + at + 2);
        if (at + 4 + length > end)
            return NULL;
        if (number == wanted) {
            *found_size = length;
            return record + at + 4;
        }
        at += 4u + length;
    }
    return NULL;
}

static const uint8_t *own_field(const uint8_t *record, size_t size, uint16_t wanted, uint16_t *found_size)
{
    return field_at(record, HEADER, size, wanted, found_size);
}

static void on_own(Link *link, const uint8_t *record, size_t size, uint16_t type)
{
    uint16_t length = 0;
    const uint8_t *value;
    if (type == T_PING) {
        if ((value = own_field(record, size, F_NONCE, &length)))
            put_own(link, T_PONG, F_NONCE, value, length);
    } else if (type == T_CREDIT) {
        value = own_field(record, size, F_CREDIT_REQUESTS, &length);
        if (value && length == 4 && get32(value) < link->window)
            link->window = get32(value);
    } else if (type == T_CLOSE) {
        value = own_field(record, size, F_REASON, &length);
        uint16_t reason = value && length == 2 ? get16(value) : REASONS;
        closes[reason < REASONS ? reason : REASONS]++;
        link->window = 0;
    }
}

static void on_response(Link *link, const uint8_t *record, size_t size, uint64_t now)
{
    const uint8_t *lengths = record + 16;
    size_t body = (size_t)HEADER + lengths[0] + lengths[1] + lengths[2] + lengths[3] + 2u + get16(record + 20);
    uint64_t number = get64(record + 8);
    Pending *slot = &pending[number & (PENDING - 1)];
    link->responses_read++;
    int known = slot->in_use && slot->number == number && &links[slot->link] == link
        && !memcmp(record + 24, id_prefix, 8) && get64(record + 32) == number;
    if (!known || body + 8 > size || record[body] > 2) {
        unexpected++;
        return;
    }
    slot->in_use = 0;
    link->in_flight--;
    in_flight_total--;
    outcomes[record[body]]++;
    uint16_t reason = get16(record + body + 2);
    if (record[body] || reason)
        reasons[reason < REASONS ? reason : REASONS]++;
    if (!measuring)
        return;
    uint64_t took = now > slot->at_ns ? now - slot->at_ns : 0;
    pairs++;
    latency_sum += took;
    if (took > latency_max)
        latency_max = took;
    histogram[bucket_of(took)]++;
}

static uint8_t *put_field(uint8_t *at, uint16_t number, const void *value, size_t size)
{
    put16(at, number);
    put16(at + 2, (uint16_t)size);
    return mempcpy(at + 4, value, size);
}

/* Success: To and From swapped, same route tag and id, an outcome of zeros; a subscription is active. */
static void on_request(Link *link, const uint8_t *record, size_t size)
{
    const uint8_t *lengths = record + 16;
    size_t to = (size_t)lengths[0] + 1 + lengths[1], from = (size_t)lengths[2] + 1 + lengths[3];
    if (HEADER + to + from + get16(record + 20) > size)
        broken("a request shorter than its parts");
    requests_seen++;
    if (!(record[6] & WANTED))
        return;
    uint16_t type = get16(record + 4), length = 0;
    const uint8_t *asked = type == T_SUBSCRIBE ? field_at(record, HEADER + to + from, size, F_DURATION, &length) : NULL;
    size_t granted = asked && length == 4 ? 6 + 8 : 0, answer = HEADER + to + from + granted + 8;
    uint8_t *at = reserve(link, answer);
    put32(at, (uint32_t)(answer - 4));
    put16(at + 4, type | RESPONSE);
    at[6] = record[6] & (uint8_t)~WANTED;
    at[7] = HOPS;
    memcpy(at + 8, record + 8, 8);
    memcpy(at + 16, lengths + 2, 2);
    memcpy(at + 18, lengths, 2);
    put16(at + 20, (uint16_t)granted);
    put16(at + 22, 0);
    memcpy(at + 24, record + 24, 16);
    memcpy(at + HEADER, record + HEADER + to, from);
    memcpy(at + HEADER + from, record + HEADER, to);
    at += HEADER + from + to;
    if (granted)
        at = put_field(put_field(at, F_STATE, "\1\0", 2), F_DURATION, asked, 4);
    memset(at, 0, 8);
}

static void on_record(Link *link, const uint8_t *record, size_t size, uint64_t now)
{
    uint16_t type = get16(record + 4);
    if ((type & ~RESPONSE) < FIRST_ROUTED)
        on_own(link, record, size, type);
    else if (type & RESPONSE)
        on_response(link, record, size, now);
    else
        on_request(link, record, size);
}

static void on_readable(Link *link)
{
    ssize_t got = recv(link->fd, link->in + link->in_have, IN_BYTES - link->in_have, 0);
    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        lose(link);
        return;
    }
    link->in_have += (size_t)got;
    uint64_t now = now_ns();
    size_t at = 0;
    while (link->in_have - at >= 4) {
        size_t size = (size_t)get32(link->in + at) + 4;
        if (size < HEADER || size > MAX_RECORD)
            broken("bytes that are no records");
        if (link->in_have - at < size)
            break;
        on_record(link, link->in + at, size, now);
        at += size;
    }
    memmove(link->in, link->in + at, link->in_have - at);
    link->in_have -= at;
    if (link->is_sender && link->responses_read != link->acknowledged) {
        uint8_t count[8];
        put64(count, link->acknowledged = link->responses_read);
        put_own(link, T_ACK, F_ACKNOWLEDGED, count, 8);
    }
}

/* -- set-up -------------------------------------------------------------------------------------------- */

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

static size_t fields_of(uint8_t *fields, const char *user)
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

static Template make_template(size_t user, const char *from, const char *to, size_t body_bytes)
{
    char user_name[32];
    uint8_t fields[128];
    snprintf(user_name, sizeof user_name, "u%06zu", user);
    const char *to_local = kind == T_NOTIFY ? user_name : "bob", *from_local = kind == T_NOTIFY ? "bob" : user_name;
    size_t to_bytes = strlen(to), from_bytes = strlen(from), ext = fields_of(fields, user_name);
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

static void make_templates(size_t addresses, const char *from_file, const char *to_file, size_t body_bytes)
{
    size_t from_count, to_count;
    char **from = read_lines(from_file, &from_count), **to = read_lines(to_file, &to_count);
    for (size_t at = 0; at < sender_count; at++)
        links[at].templates = need(addresses / sender_count + addresses / from_count + 2, sizeof(Template));
    for (size_t user = 0; user < addresses; user++) {
        size_t link = user % sender_count, domain = link % from_count;
        if (from_count >= sender_count) {
            domain = user % from_count;
            link = domain % sender_count;
        }
        Link *owner = &links[link];
        size_t room = addresses / sender_count + addresses / from_count + 2;
        if (owner->template_count < room)
            owner->templates[owner->template_count++] =
                make_template(user, from[domain],
                    to[(kind == T_NOTIFY ? user : user + user / to_count) % to_count], body_bytes);
        owner->templates_left = owner->template_count;
    }
    for (size_t at = 0; at < sender_count; at++)
        if (!links[at].template_count)
            usage("fewer addresses than links");
}

static size_t count_fds(const char *list)
{
    size_t count = *list ? 1 : 0;
    for (; *list; list++)
        count += *list == ',';
    return count;
}

static void add_links(const char *list, int is_sender, uint32_t window)
{
    for (const char *at = list; *at;) {
        char *end;
        long fd = strtol(at, &end, 10);
        if (end == at || (*end && *end != ','))
            usage("a list of descriptors that is none");
        Link *link = &links[link_count++];
        *link = (Link){.fd = (int)fd, .is_sender = is_sender, .window = window};
        link->in = need(1, IN_BYTES);
        link->out = need(1, OUT_BYTES);
        int flags = fcntl(link->fd, F_GETFL);
        if (flags < 0 || fcntl(link->fd, F_SETFL, flags | O_NONBLOCK) < 0)
            die("a descriptor");
        struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
        if (epoll_ctl(poller, EPOLL_CTL_ADD, link->fd, &event) < 0)
            die("epoll_ctl");
        at = *end ? end + 1 : end;
    }
}

/* -- the run ------------------------------------------------------------------------------------------- */

typedef struct { double rate, warmup_s, seconds, drain_s; } Plan;

/* Sends what is due by now; returns when the next is due. */
static uint64_t send_due(uint64_t due_ns, uint64_t now, double period_ns, uint64_t start_ns, uint64_t *count)
{
    static size_t turn;
    while (due_ns <= now) {
        Link *link = NULL;
        for (size_t tries = 0; tries < sender_count && !link; tries++) {
            link = &links[turn++ % sender_count];
            if (link->is_closed || !link->templates_left || link->in_flight >= link->window || unwritten(link) > OUT_HIGH)
                link = NULL;
        }
        if (link)
            put_request(link, due_ns);
        else
            not_sent++;
        due_ns = start_ns + (uint64_t)((double)++*count * period_ns);
    }
    for (size_t at = 0; at < sender_count; at++)
        flush_out(&links[at]);
    return due_ns;
}

static void poll_once(int may_send, double rate, uint64_t until_ns)
{
    struct epoll_event events[256];
    uint64_t now = now_ns();
    uint64_t wait = until_ns > now ? until_ns - now : 0;
    if (rate > 0) { /* epoll_wait knows milliseconds only */
        struct pollfd waiting = {.fd = poller, .events = POLLIN};
        struct timespec timeout = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
        if (ppoll(&waiting, 1, &timeout, NULL) < 0 && errno != EINTR)
            die("ppoll");
        wait = 0;
    }
    int ready = epoll_wait(poller, events, 256, (int)((wait + 999999u) / 1000000u));
    if (ready < 0 && errno != EINTR)
        die("epoll_wait");
    for (int at = 0; at < ready; at++) {
        Link *link = events[at].data.ptr;
        if (events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR))
            on_readable(link);
        if (link->is_sender && may_send && rate <= 0)
            top_up(link);
        flush_out(link);
    }
}

static double cpu_us(void)
{
    struct rusage used;
    getrusage(RUSAGE_SELF, &used);
    return 1e6 * (double)(used.ru_utime.tv_sec + used.ru_stime.tv_sec)
        + (double)(used.ru_utime.tv_usec + used.ru_stime.tv_usec);
}

static void say(const char *event)
{
    printf("{\"event\": \"%s\"}\n", event);
    fflush(stdout);
}

static uint64_t earliest(uint64_t a, uint64_t b) { return a < b ? a : b; }

static int is_done(void)
{
    if (kind != T_SUBSCRIBE || in_flight_total)
        return 0;
    for (size_t at = 0; at < sender_count; at++)
        if (links[at].templates_left && !links[at].is_closed)
            return 0;
    return 1;
}

static void run(Plan plan, double *seconds, double *generator_us)
{
    uint64_t start = now_ns(), count = 0, due = start;
    uint64_t measure_at = start + (uint64_t)(plan.warmup_s * 1e9);
    uint64_t end_at = measure_at + (uint64_t)(plan.seconds * 1e9), began = 0;
    double period_ns = plan.rate > 0 ? 1e9 / plan.rate : 0, cpu = 0;
    for (size_t at = 0; at < sender_count && plan.rate <= 0; at++) {
        top_up(&links[at]);
        flush_out(&links[at]);
    }
    for (;;) {
        uint64_t now = now_ns();
        if (now >= end_at || !open_senders || (measuring && is_done()))
            break;
        if (!measuring && now >= measure_at) {
            say("measuring");
            measuring = 1;
            began = now_ns();
            cpu = cpu_us();
        }
        if (plan.rate > 0)
            due = send_due(due, now, period_ns, start, &count);
        uint64_t until = measuring ? end_at : measure_at;
        poll_once(1, plan.rate, plan.rate > 0 ? earliest(due, until) : until);
    }
    *seconds = began ? (double)(now_ns() - began) / 1e9 : 0;
    *generator_us = cpu_us() - cpu;
    measuring = 0;
    say("measured");
    uint64_t give_up = now_ns() + (uint64_t)(plan.drain_s * 1e9);
    while (in_flight_total && open_senders && now_ns() < give_up)
        poll_once(0, plan.rate, give_up);
}

static void print_codes(const char *name, const uint64_t *counts)
{
    const char *comma = "";
    printf(", \"%s\": {", name);
    for (int code = 0; code <= REASONS; code++)
        if (counts[code]) {
            printf("%s\"%d\": %" PRIu64, comma, code, counts[code]);
            comma = ", ";
        }
    printf("}");
}

static void print_result(double seconds, double generator_us)
{
    double count = pairs ? (double)pairs : 1;
    printf("{\"event\": \"result\", \"pairs\": %" PRIu64 ", \"seconds\": %.6f, \"pairs_per_s\": %.1f", pairs,
        seconds, seconds > 0 ? (double)pairs / seconds : 0);
    printf(", \"generator_us_per_pair\": %.3f", generator_us / count);
    printf(", \"latency_us\": {\"p50\": %.1f, \"p90\": %.1f, \"p99\": %.1f, \"max\": %.1f, \"mean\": %.1f}",
        percentile_us(0.5), percentile_us(0.9), percentile_us(0.99), (double)latency_max / 1000,
        (double)latency_sum / count / 1000);
    printf(", \"sent\": %" PRIu64 ", \"outcomes\": {\"success\": %" PRIu64 ", \"failure\": %" PRIu64
        ", \"indeterminant\": %" PRIu64 "}, \"not_sent\": %" PRIu64, sent, outcomes[0], outcomes[1], outcomes[2],
        not_sent);
    print_codes("reasons", reasons);
    printf(", \"requests_seen\": %" PRIu64 ", \"unanswered\": %" PRIu64 ", \"unexpected\": %" PRIu64
        ", \"closed_links\": %" PRIu64, requests_seen, sent - outcomes[0] - outcomes[1] - outcomes[2], unexpected,
        closed_links);
    print_codes("closes", closes);
    printf("}\n");
}

static double number_of(const char *text)
{
    char *end;
    double value = strtod(text, &end);
    if (end == text || *end || !(value >= 0))
        usage("a number that is none");
    return value;
}

int main(int argc, char **argv)
{
    const char *senders = "", *responders = "", *from_file = "", *to_file = "", *word = "message";
    double addresses = 10000, window = 4096, body = 200;
    Plan plan = {0, 1, 5, 5};
    struct { const char *name; const char **text; double *number; } options[] = {
        {"--senders", &senders, NULL}, {"--responders", &responders, NULL}, {"--from-file", &from_file, NULL},
        {"--to-file", &to_file, NULL}, {"--addresses", NULL, &addresses}, {"--window", NULL, &window},
        {"--rate", NULL, &plan.rate}, {"--warmup", NULL, &plan.warmup_s}, {"--seconds", NULL, &plan.seconds},
        {"--drain", NULL, &plan.drain_s}, {"--body", NULL, &body}, {"--kind", &word, NULL},
    };
    for (int at = 1; at < argc; at += 2) {
        size_t option = 0, known = sizeof options / sizeof *options;
        while (option < known && strcmp(argv[at], options[option].name))
            option++;
        if (option == known || at + 1 == argc)
            usage("an option that is not known or has no value");
        if (options[option].text)
            *options[option].text = argv[at + 1];
        else
            *options[option].number = number_of(argv[at + 1]);
    }
    kind = !strcmp(word, "message") ? T_MESSAGE : !strcmp(word, "subscribe") ? T_SUBSCRIBE
        : !strcmp(word, "notify") ? T_NOTIFY : 0;
    if (!kind)
        usage("a kind that is none");
    sender_count = open_senders = count_fds(senders);
    if (!sender_count || !*responders || !*from_file || !*to_file || window < 1 || body > 60000 || addresses < 1)
        usage("senders, responders, domains and a window are needed");
    if (getrandom(id_prefix, sizeof id_prefix, 0) != sizeof id_prefix)
        die("getrandom");
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll_create1");
    links = need(sender_count + count_fds(responders), sizeof *links);
    pending = need(PENDING, sizeof *pending);
    add_links(senders, 1, (uint32_t)window);
    add_links(responders, 0, 0);
    make_templates((size_t)addresses, from_file, to_file, (size_t)body);
    double seconds = 0, generator_us = 0;
    run(plan, &seconds, &generator_us);
    print_result(seconds, generator_us);
    return open_senders ? 0 : 3;
}
