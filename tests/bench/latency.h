/* Latencies: 32 steps for each doubling, so that a percentile is right within 3 %. */
#include <stdint.h>

enum { BUCKETS = 64 * 32 };

static uint64_t histogram[BUCKETS], pairs, latency_sum, latency_max;

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
