/*
 * Load generator for the XMPP rows of `make bench`: writes messages on streams that are open and proved
 * already, and counts what arrives on others.
 *
 *     stanzas --senders FDS --receivers FDS --from-file FILE --to-file FILE [options]
 *
 *   --senders FDS      file descriptors of the streams that messages are written to: "5,6,7"
 *   --receivers FDS    file descriptors of the streams on which they arrive; answers to pings go there too
 *   --answers FDS      one for each receiver: where pings that came there are answered (the receivers)
 *   --imx FDS          IMX service links on which they arrive as records, answered with success
 *   --from-file FILE   domains of the senders, one a line; all of them proved on every sender stream
 *   --to-file FILE     domains of the recipients, one a line
 *   --addresses N      sending users, spread over the domains, each sends in turn    (10000)
 *   --window N         messages of all streams that have not arrived yet             (2000)
 *   --rate N           messages a second; 0: what the window allows                  (0)
 *   --warmup S, --seconds S, --drain S, --body N   as in load.c                      (1, 5, 5, 200)
 *
 * A message: <message from='uN@FROM/r' to='bobN@TO' type='chat' id='b7-NUMBER'><body>xxx</body></message>.
 * XMPP does not answer messages, so a pair is one that was written and has arrived; on an IMX link they arrive in the
 * order in which they were written. A message of type error with an id of ours that comes back is a failure.
 *
 * Standard output and exit status are those of load.c, without closes and reasons.
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

#include "link.h"

static const char MARK[] = "b7-";
enum { DIGITS = 16, MARK_SIZE = 3 };

typedef struct { char *bytes; size_t size, id_at; } Stanza;

/* What is not in `Link`, by the same index. */
typedef struct { int is_imx; Link *answers; } Stream;

static Stream *streams;
static Stanza *stanzas;
static size_t stanza_count, stanza_next;
static uint64_t window = 2000, arrived, errors, imx_next = 1;

/* -- set-up -------------------------------------------------------------------------------------------- */

static void make_stanzas(size_t addresses, const char *from_file, const char *to_file, size_t body_bytes)
{
    size_t from_count, to_count;
    char **from = read_lines(from_file, &from_count), **to = read_lines(to_file, &to_count);
    char *body = need(body_bytes + 1, 1);
    memset(body, 'x', body_bytes);
    stanzas = need(addresses, sizeof *stanzas);
    for (size_t user = 0; user < addresses; user++) {
        Stanza *stanza = &stanzas[stanza_count++];
        int size = asprintf(&stanza->bytes,
            "<message from='u%zu@%s/r' to='bob%zu@%s' type='chat' id='%s%0*d'><body>%s</body></message>", user,
            from[user % from_count], user % 1000, to[(user + user / to_count) % to_count], MARK, DIGITS, 0, body);
        if (size < 0)
            die("asprintf");
        stanza->size = (size_t)size;
        stanza->id_at = (size_t)(strstr(stanza->bytes, MARK) - stanza->bytes) + MARK_SIZE;
    }
}

static size_t count_fds(const char *list)
{
    size_t count = *list ? 1 : 0;
    for (; *list; list++)
        count += *list == ',';
    return count;
}

static Link *link_of(int fd)
{
    for (size_t at = 0; at < link_count; at++)
        if (links[at].fd == fd)
            return &links[at];
    Link *link = &links[link_count];
    *link = (Link){.fd = fd};
    streams[link_count++] = (Stream){0, link};
    link->in = need(1, IN_BYTES);
    link->out = need(1, OUT_BYTES);
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        die("a descriptor");
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = link};
    if (epoll_ctl(poller, EPOLL_CTL_ADD, fd, &event) < 0)
        die("epoll_ctl");
    return link;
}

static size_t add_links(const char *list, Link **found)
{
    size_t count = 0;
    for (const char *at = list; *at;) {
        char *end;
        long fd = strtol(at, &end, 10);
        if (end == at || (*end && *end != ','))
            usage("a list of descriptors that is none");
        found[count++] = link_of((int)fd);
        at = *end ? end + 1 : end;
    }
    return count;
}

/* -- output -------------------------------------------------------------------------------------------- */

static void put_digits(uint8_t *at, uint64_t number)
{
    for (int digit = DIGITS - 1; digit >= 0; digit--, number >>= 4)
        at[digit] = (uint8_t) "0123456789abcdef"[number & 15];
}

static void put_stanza(Link *link, uint64_t at_ns)
{
    Stanza *stanza = &stanzas[stanza_next];
    if (++stanza_next == stanza_count)
        stanza_next = 0;
    uint64_t number = ++next_number;
    Pending *slot = &pending[number & (PENDING - 1)];
    if (slot->in_use)
        broken("more messages under way than the table holds");
    *slot = (Pending){number, at_ns, (uint32_t)(link - links), 1};
    uint8_t *at = reserve(link, stanza->size);
    memcpy(at, stanza->bytes, stanza->size);
    put_digits(at + stanza->id_at, number);
    in_flight_total++;
    sent++;
}

static void fill(Link **senders)
{
    static size_t turn;
    uint64_t now = now_ns();
    for (size_t full = 0; full < sender_count && in_flight_total < window;) {
        Link *link = senders[turn++ % sender_count];
        if (link->is_closed || unwritten(link) > OUT_HIGH)
            full++;
        else
            for (int few = 0; few < 16 && in_flight_total < window; few++)
                put_stanza(link, now);
    }
}

/* -- input --------------------------------------------------------------------------------------------- */

static void settle(uint64_t number, uint64_t now, int failed)
{
    Pending *slot = &pending[number & (PENDING - 1)];
    if (!slot->in_use || slot->number != number) {
        unexpected++;
        return;
    }
    slot->in_use = 0;
    in_flight_total--;
    arrived += (uint64_t)!failed;
    errors += (uint64_t)failed;
    if (!measuring)
        return;
    uint64_t took = now > slot->at_ns ? now - slot->at_ns : 0;
    pairs++;
    latency_sum += took;
    if (took > latency_max)
        latency_max = took;
    histogram[bucket_of(took)]++;
}

/* The value of an attribute of a start tag, NULL where it has none. */
static const char *attribute(const char *tag, size_t size, const char *name, size_t *length)
{
    size_t name_size = strlen(name);
    for (const char *at = tag; (at = memmem(at, size - (size_t)(at - tag), name, name_size)); at += name_size) {
        const char *value = at + name_size, *end = tag + size;
        if (at == tag || at[-1] != ' ' || value + 2 > end || *value != '=')
            continue;
        const char *close = memchr(value + 2, value[1], (size_t)(end - value - 2));
        if (!close)
            return NULL;
        *length = (size_t)(close - value - 2);
        return value + 2;
    }
    return NULL;
}

static void answer_ping(Link *link, const char *tag, size_t size)
{
    size_t from_size = 0, to_size = 0, id_size = 0, type_size = 0;
    const char *from = attribute(tag, size, "from", &from_size), *to = attribute(tag, size, "to", &to_size);
    const char *id = attribute(tag, size, "id", &id_size), *type = attribute(tag, size, "type", &type_size);
    if (!from || !to || !id || !type || type_size != 3 || memcmp(type, "get", 3))
        return;
    char answer[4096];
    int wrote = snprintf(answer, sizeof answer, "<iq type='result' from='%.*s' to='%.*s' id='%.*s'/>", (int)to_size, to,
        (int)from_size, from, (int)id_size, id);
    if (wrote < 0 || (size_t)wrote >= sizeof answer)
        return;
    memcpy(reserve(link, (size_t)wrote), answer, (size_t)wrote);
    flush_out(link);
}

/* One start tag of a stanza: `<message ...` without its `>`. */
static void on_tag(Link *link, const char *tag, size_t size, uint64_t now)
{
    size_t length = 0;
    if (size > 4 && !memcmp(tag, "<iq ", 4)) {
        answer_ping(streams[link - links].answers, tag, size);
        return;
    }
    if (size < 9 || memcmp(tag, "<message ", 9))
        return;
    const char *id = attribute(tag, size, "id", &length);
    if (!id || length != MARK_SIZE + DIGITS || memcmp(id, MARK, MARK_SIZE)) {
        unexpected++;
        return;
    }
    uint64_t number = strtoull(id + MARK_SIZE, NULL, 16);
    const char *type = attribute(tag, size, "type", &length);
    settle(number, now, type && length == 5 && !memcmp(type, "error", 5));
}

static void on_stanzas(Link *link, uint64_t now)
{
    const char *in = (const char *)link->in, *end = in + link->in_have, *at = in;
    for (;;) {
        const char *tag = memchr(at, '<', (size_t)(end - at));
        const char *close = tag ? memchr(tag, '>', (size_t)(end - tag)) : NULL;
        if (!close) {
            at = tag ? tag : end;
            break;
        }
        on_tag(link, tag, (size_t)(close - tag), now);
        at = close + 1;
    }
    link->in_have = (size_t)(end - at);
    memmove(link->in, at, link->in_have);
    if (link->in_have == IN_BYTES)
        broken("a tag longer than the buffer");
}

static void on_stream(Link *link)
{
    ssize_t got = recv(link->fd, link->in + link->in_have, IN_BYTES - link->in_have, 0);
    if (got <= 0) {
        if (got < 0 && (errno == EAGAIN || errno == EINTR))
            return;
        lose(link);
        return;
    }
    link->in_have += (size_t)got;
    on_stanzas(link, now_ns());
}

static void on_link(Link *link)
{
    uint64_t seen = requests_seen;
    on_readable(link);
    uint64_t now = now_ns();
    for (; seen < requests_seen; seen++, imx_next++) {
        while (!pending[imx_next & (PENDING - 1)].in_use && imx_next <= next_number)
            imx_next++; /* it came back as an error */
        settle(imx_next, now, 0);
    }
}

/* -- the run ------------------------------------------------------------------------------------------- */

typedef struct { double rate, warmup_s, seconds, drain_s; } Plan;

static void poll_once(Link **senders, uint64_t until_ns, int may_fill)
{
    struct epoll_event events[256];
    uint64_t now = now_ns(), wait = until_ns > now ? until_ns - now : 0;
    struct pollfd waiting = {.fd = poller, .events = POLLIN};
    struct timespec timeout = {(time_t)(wait / 1000000000u), (long)(wait % 1000000000u)};
    if (ppoll(&waiting, 1, &timeout, NULL) < 0 && errno != EINTR)
        die("ppoll");
    int ready = epoll_wait(poller, events, 256, 0);
    if (ready < 0 && errno != EINTR)
        die("epoll_wait");
    for (int at = 0; at < ready; at++) {
        Link *link = events[at].data.ptr;
        if (events[at].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
            if (streams[link - links].is_imx)
                on_link(link);
            else
                on_stream(link);
        }
        flush_out(link);
    }
    if (may_fill)
        fill(senders);
    for (size_t at = 0; at < sender_count; at++)
        flush_out(senders[at]);
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

static int is_over(Link **senders)
{
    for (size_t at = 0; at < sender_count; at++)
        if (!senders[at]->is_closed)
            return 0;
    return 1;
}

/* Writes what is due by now; returns when the next is due. */
static uint64_t send_due(Link **senders, uint64_t due_ns, double period_ns, uint64_t start_ns, uint64_t *count)
{
    for (uint64_t now = now_ns(); due_ns <= now; due_ns = start_ns + (uint64_t)((double)++*count * period_ns)) {
        Link *link = senders[*count % sender_count];
        if (link->is_closed || in_flight_total >= window || unwritten(link) > OUT_HIGH)
            not_sent++;
        else
            put_stanza(link, due_ns);
    }
    return due_ns;
}

static void run(Plan plan, Link **senders, double *seconds, double *generator_us)
{
    uint64_t start = now_ns(), count = 0, due = start, began = 0;
    uint64_t measure_at = start + (uint64_t)(plan.warmup_s * 1e9);
    uint64_t end_at = measure_at + (uint64_t)(plan.seconds * 1e9);
    double period_ns = plan.rate > 0 ? 1e9 / plan.rate : 0, cpu = 0;
    for (uint64_t now = start; now < end_at && !is_over(senders); now = now_ns()) {
        if (!measuring && now >= measure_at) {
            say("measuring");
            measuring = 1;
            began = now_ns();
            cpu = cpu_us();
        }
        uint64_t until = measuring ? end_at : measure_at;
        if (plan.rate > 0 && (due = send_due(senders, due, period_ns, start, &count)) < until)
            until = due;
        else if (plan.rate <= 0)
            fill(senders);
        for (size_t at = 0; at < sender_count; at++)
            flush_out(senders[at]);
        poll_once(senders, until, plan.rate <= 0);
    }
    *seconds = began ? (double)(now_ns() - began) / 1e9 : 0;
    *generator_us = cpu_us() - cpu;
    measuring = 0;
    say("measured");
    uint64_t give_up = now_ns() + (uint64_t)(plan.drain_s * 1e9);
    while (in_flight_total && !is_over(senders) && now_ns() < give_up)
        poll_once(senders, give_up, 0);
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
        ", \"indeterminant\": %" PRIu64 "}, \"not_sent\": %" PRIu64, sent, arrived, errors, in_flight_total, not_sent);
    printf(", \"requests_seen\": %" PRIu64 ", \"unexpected\": %" PRIu64 ", \"closed_links\": %" PRIu64 "}\n",
        arrived, unexpected, closed_links);
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
    const char *senders = "", *receivers = "", *answers = "", *imx = "", *from_file = "", *to_file = "";
    double addresses = 10000, most = 2000, body = 200;
    Plan plan = {0, 1, 5, 5};
    struct { const char *name; const char **text; double *number; } options[] = {
        {"--senders", &senders, NULL}, {"--receivers", &receivers, NULL}, {"--answers", &answers, NULL},
        {"--imx", &imx, NULL}, {"--from-file", &from_file, NULL}, {"--to-file", &to_file, NULL},
        {"--addresses", NULL, &addresses}, {"--window", NULL, &most}, {"--rate", NULL, &plan.rate},
        {"--warmup", NULL, &plan.warmup_s}, {"--seconds", NULL, &plan.seconds}, {"--drain", NULL, &plan.drain_s},
        {"--body", NULL, &body},
    };
    for (int at = 1; at < argc; at += 2) {
        size_t option = 0, count = sizeof options / sizeof *options;
        while (option < count && strcmp(argv[at], options[option].name))
            option++;
        if (option == count || at + 1 == argc)
            usage(argv[at]);
        if (options[option].text)
            *options[option].text = argv[at + 1];
        else
            *options[option].number = number_of(argv[at + 1]);
    }
    size_t all = count_fds(senders) + count_fds(receivers) + count_fds(answers) + count_fds(imx);
    if (!*senders || !(*receivers || *imx) || !*from_file || !*to_file || most < 1 || most > PENDING / 2
        || body > 60000 || addresses < 1 || (*answers && count_fds(answers) != count_fds(receivers)))
        usage("senders, receivers, domains and a window are needed");
    window = (uint64_t)most;
    if ((poller = epoll_create1(EPOLL_CLOEXEC)) < 0)
        die("epoll_create1");
    links = need(all, sizeof *links);
    streams = need(all, sizeof *streams);
    pending = need(PENDING, sizeof *pending);
    Link **sending = need(all, sizeof *sending), **receiving = need(all, sizeof *receiving);
    Link **answering = need(all, sizeof *answering), **records = need(all, sizeof *records);
    sender_count = open_senders = add_links(senders, sending);
    size_t receiver_count = add_links(receivers, receiving);
    if (add_links(answers, answering))
        for (size_t at = 0; at < receiver_count; at++)
            streams[receiving[at] - links].answers = answering[at];
    for (size_t at = 0, count = add_links(imx, records); at < count; at++)
        streams[records[at] - links].is_imx = 1;
    make_stanzas((size_t)addresses, from_file, to_file, (size_t)body);
    double seconds = 0, generator_us = 0;
    run(plan, sending, &seconds, &generator_us);
    print_result(seconds, generator_us);
    return is_over(sending) ? 3 : 0;
}
