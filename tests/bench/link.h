/* One link of the load generator: what it counts, how it sends, and what it does with what comes. */
#include "latency.h"
#include "records.h"

enum {
    IN_BYTES = 1 << 18,
    OUT_BYTES = 1 << 22,
    OUT_HIGH = 1 << 18,      /* no new requests while so much is unwritten */
    MAX_RECORD = 1 << 17,    /* nothing here comes near it */
    PENDING = 1 << 20,       /* requests in flight at most, all links; a power of two */
    REASONS = 256,
};

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

static uint64_t sent, not_sent, outcomes[3], reasons[REASONS + 1], closes[REASONS + 1];
static uint64_t requests_seen, unexpected, closed_links;

static uint64_t now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
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
