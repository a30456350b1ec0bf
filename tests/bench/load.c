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
 * The requests are those of records.h; ids are 8 random bytes and a counter; the route tag is the counter. Each
 * read of a sender link is followed by one ACK with the number of responses read there. PING is answered, CREDIT
 * obeyed, CLOSE counted; the link's other own records are ignored. A responder answers each request with success,
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

#include "link.h"

/* -- set-up -------------------------------------------------------------------------------------------- */

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
                make_template(kind, user, from[domain],
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
