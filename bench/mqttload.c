/* mqttload: a load generator for MQTT 3.1.1 brokers.  One thread, epoll, no libraries.
 *
 * The generator keeps every packet in a preformatted template and only patches the
 * packet id, a ten digit sequence number and a nanosecond time stamp, so that one core
 * of the generator outruns the broker under test.  See README.rst for the modes.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <math.h>
#include <netdb.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

typedef uint8_t u8;
typedef uint16_t u16;
typedef uint32_t u32;
typedef uint64_t u64;

#define SEQ_BASE 1000000000ULL   /* ten digits, so the number is valid JSON */
#define PUB_BASE 100000
#define MAXPID 64
#ifndef IP_BIND_ADDRESS_NO_PORT
#define IP_BIND_ADDRESS_NO_PORT 24
#endif

/* ------------------------------------------------------------------ options */
static struct {
    const char *mode, *host;
    int port, qos, sub_qos, pubs, subs, clients, window, concurrency, size, json, verify, keepalive;
    long credit;
    double duration, warmup, drain, rate;
    const char *user, *pass, *sub_user, *sub_pass, *creds, *sub_creds, *cid, *topic, *sub_topic, *payload;
    const char *label;
    int sub_each, clean, quickack, ack_latency;
    int pids[MAXPID], npids;
} O = { .host = "127.0.0.1", .port = 1883, .qos = 0, .sub_qos = -1, .pubs = -1, .subs = -1, .clients = 1000,
        .window = 100, .concurrency = 64, .size = 0, .credit = -1, .duration = 5, .warmup = 1, .drain = 3,
        .keepalive = 0, .clean = 1, .cid = "ml-{role}-{i}", .topic = "devices/{user}/datastream",
        .payload = "{\"value\":\"25.6\",\"telemetryDataId\":1,\"pub\":{pub},\"seq\":{seq}}" };

static void die(const char *f, ...) {
    va_list a; va_start(a, f); fprintf(stderr, "mqttload: "); vfprintf(stderr, f, a); fprintf(stderr, "\n"); va_end(a);
    exit(2);
}
static u64 mono(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1000000000ULL + t.tv_nsec; }
static void *xalloc(size_t n) { void *p = calloc(1, n ? n : 1); if (!p) die("out of memory"); return p; }

/* ------------------------------------------------------------------ broker process figures */
static double pids_cpu(void) {
    double s = 0; long hz = sysconf(_SC_CLK_TCK);
    for (int i = 0; i < O.npids; i++) {
        char p[64], b[4096]; snprintf(p, sizeof p, "/proc/%d/stat", O.pids[i]);
        FILE *f = fopen(p, "r"); if (!f) continue;
        size_t n = fread(b, 1, sizeof b - 1, f); b[n] = 0; fclose(f);
        char *q = strrchr(b, ')'); unsigned long ut = 0, st = 0;
        if (q && sscanf(q + 2, "%*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu", &ut, &st) == 2) s += (double)(ut + st) / hz;
    }
    return s;
}
static long pids_rss_kb(void) {
    long s = 0;
    for (int i = 0; i < O.npids; i++) {
        char p[64], l[256]; snprintf(p, sizeof p, "/proc/%d/status", O.pids[i]);
        FILE *f = fopen(p, "r"); if (!f) continue;
        long v; while (fgets(l, sizeof l, f)) if (sscanf(l, "VmRSS: %ld", &v) == 1) s += v;
        fclose(f);
    }
    return s;
}
static double self_cpu(void) {
    struct rusage r; getrusage(RUSAGE_SELF, &r);
    return r.ru_utime.tv_sec + r.ru_stime.tv_sec + (r.ru_utime.tv_usec + r.ru_stime.tv_usec) / 1e6;
}

/* ------------------------------------------------------------------ credentials and templates */
typedef struct { char *user, *pass; } Cred;
static Cred *creds[2]; static int ncreds[2];
static void load_creds(int k, const char *fn) {
    FILE *f = fopen(fn, "r"); if (!f) die("cannot read %s", fn);
    char l[4096]; int cap = 0;
    while (fgets(l, sizeof l, f)) {
        l[strcspn(l, "\r\n")] = 0; if (!*l || *l == '#') continue;
        char *s = strpbrk(l, "\t,: "); if (s) *s++ = 0;
        if (ncreds[k] == cap) { cap = cap ? cap * 2 : 64; creds[k] = realloc(creds[k], cap * sizeof(Cred)); }
        creds[k][ncreds[k]].user = strdup(l); creds[k][ncreds[k]++].pass = s ? strdup(s) : NULL;
    }
    fclose(f); if (!ncreds[k]) die("no credentials in %s", fn);
}
typedef struct { const char *role; int i; const char *user, *pass; } Who;
/* expands the template; seq_at / ts_at get the offset of {seq} / {ts} or -1 */
static int expand(char *out, int cap, const char *t, Who *w, int *seq_at, int *pub_at, int *ts_at) {
    int n = 0; char v[64];
    if (seq_at) *seq_at = -1;
    if (pub_at) *pub_at = -1;
    if (ts_at) *ts_at = -1;
    while (*t) {
        const char *s = NULL; int skip = 0;
        if (*t == '{') {
            if (!strncmp(t, "{user}", 6)) s = w->user ? w->user : "", skip = 6;
            else if (!strncmp(t, "{pass}", 6)) s = w->pass ? w->pass : "", skip = 6;
            else if (!strncmp(t, "{role}", 6)) s = w->role, skip = 6;
            else if (!strncmp(t, "{i}", 3)) { snprintf(v, sizeof v, "%06d", w->i); s = v; skip = 3; }
            else if (!strncmp(t, "{pub}", 5)) { snprintf(v, sizeof v, "%06d", PUB_BASE + w->i); s = v; skip = 5; if (pub_at) *pub_at = n; }
            else if (!strncmp(t, "{seq}", 5)) { snprintf(v, sizeof v, "%010llu", (unsigned long long)SEQ_BASE); s = v; skip = 5; if (seq_at) *seq_at = n; }
            else if (!strncmp(t, "{ts}", 4)) { s = "1000000000000000000"; skip = 4; if (ts_at) *ts_at = n; }
        }
        if (s) { int l = strlen(s); if (n + l >= cap) die("template too long"); memcpy(out + n, s, l); n += l; t += skip; }
        else { if (n + 1 >= cap) die("template too long"); out[n++] = *t++; }
    }
    out[n] = 0;
    return n;
}
static void wildcard(char *out, int cap, const char *t) { /* levels with a placeholder become + */
    char b[1024]; snprintf(b, sizeof b, "%s", t); int n = 0; char *p = b;
    for (;;) {
        char *e = strchr(p, '/'); if (e) *e = 0;
        n += snprintf(out + n, cap - n, "%s", strchr(p, '{') ? "+" : p);
        if (!e) break;
        n += snprintf(out + n, cap - n, "/"); p = e + 1;
    }
}
static void put_digits(u8 *p, u64 v, int n) { while (n--) { p[n] = '0' + v % 10; v /= 10; } }
static u64 get_digits(const u8 *p, int n) { u64 v = 0; while (n--) { if (*p < '0' || *p > '9') return ~0ULL; v = v * 10 + *p++ - '0'; } return v; }

/* ------------------------------------------------------------------ connections */
enum { PUB = 1, SUB = 2 };
enum { ST_NEW, ST_TCP, ST_CONNACK, ST_SUBACK, ST_READY, ST_CLOSED };
typedef struct { u8 *bits; u64 cap, uniq, dup, back; u64 last; } Seen;
typedef struct Conn {
    int fd, role, st, idx, want_out;
    Who who; char cid[128];
    char filter[512]; int fqos;
    u8 *rb; u32 rn, rcap;            /* partial packet */
    u8 *wb; u32 wn, woff, wcap;      /* unsent bytes */
    u8 *tpl; int tlen, mid_at, seq_at, ts_at; /* PUBLISH template */
    int psize, topic_len, pay_seq, pay_pub, pay_ts;
    u64 sent, acked, seq; u16 mid;
    int inflight;
    u64 recv; Seen *seen; int pair;
    u64 *due;                        /* packet id -> when its publish was due */
    u64 t_start;
} Conn;

static int ep; static Conn **C;
static struct sockaddr_in addr;
static u64 T_sent, T_acked, T_recv, T_bytes_in, T_foreign, T_protoerr, T_closed, T_dupflag;
static u64 deliveries_per_pub; /* expected deliveries per publish */
static int npub, nsub; static Conn **pub, **sub;
static int closing;
static u8 rbuf[1 << 18];
static u8 obuf[1 << 18];

/* latency store */
static u32 *lat; static u64 nlat, clat; static int lat_on;
static void lat_add(u64 ns) {
    if (nlat == clat) { clat = clat ? clat * 2 : 1 << 20; lat = realloc(lat, clat * sizeof *lat); if (!lat) die("out of memory"); }
    lat[nlat++] = ns > 4000000000ULL ? 4000000000U : ns;
}
static int cmp32(const void *a, const void *b) { u32 x = *(u32 *)a, y = *(u32 *)b; return x < y ? -1 : x > y; }

static void ep_mod(Conn *c, int out) {
    if (c->want_out == out) return;
    struct epoll_event e = { .events = EPOLLIN | (out ? EPOLLOUT : 0), .data.ptr = c };
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e); c->want_out = out;
}
static void conn_close(Conn *c) { if (c->fd >= 0) { close(c->fd); c->fd = -1; } c->st = ST_CLOSED; c->wn = c->woff = 0; c->rn = 0; c->want_out = 0; }
static void lost(Conn *c, const char *why) {
    if (!closing) { T_closed++; if (T_closed <= 3) fprintf(stderr, "mqttload: connection %s closed (%s) after %llu sent, %llu received\n", c->cid, why, (unsigned long long)c->sent, (unsigned long long)c->recv); }
    conn_close(c);
}
/* returns 1 when all went out */
static int conn_flush(Conn *c) {
    while (c->woff < c->wn) {
        ssize_t k = send(c->fd, c->wb + c->woff, c->wn - c->woff, MSG_NOSIGNAL);
        if (k < 0) { if (errno == EAGAIN) { ep_mod(c, 1); return 0; } lost(c, strerror(errno)); return 0; }
        c->woff += k;
    }
    c->wn = c->woff = 0; ep_mod(c, 0); return 1;
}
static int conn_write(Conn *c, const u8 *p, u32 n) {
    if (c->fd < 0) return 0;
    if (c->wn == c->woff) {
        c->wn = c->woff = 0;
        ssize_t k = send(c->fd, p, n, MSG_NOSIGNAL);
        if (k < 0) { if (errno != EAGAIN) { lost(c, strerror(errno)); return 0; } k = 0; }
        if ((u32)k == n) return 1;
        p += k; n -= k;
    }
    if (c->wn + n > c->wcap) { c->wcap = (c->wn + n) * 2; c->wb = realloc(c->wb, c->wcap); if (!c->wb) die("out of memory"); }
    memcpy(c->wb + c->wn, p, n); c->wn += n; ep_mod(c, 1); return 0;
}
static int put_len(u8 *p, u32 n) { int i = 0; do { u8 b = n % 128; n /= 128; p[i++] = b | (n ? 128 : 0); } while (n); return i; }
static int put_str(u8 *p, const char *s, int l) { p[0] = l >> 8; p[1] = l; memcpy(p + 2, s, l); return l + 2; }
static int mk_connect(u8 *p, Conn *c) {
    u8 b[4096]; int n = 0; const char *u = c->who.user, *w = c->who.pass;
    if (u && !*u) u = NULL;
    n += put_str(b, "MQTT", 4); b[n++] = 4; b[n++] = (O.clean ? 2 : 0) | (u ? 0x80 : 0) | (u && w ? 0x40 : 0);
    b[n++] = O.keepalive >> 8; b[n++] = O.keepalive;
    n += put_str(b + n, c->cid, strlen(c->cid));
    if (u) n += put_str(b + n, u, strlen(u));
    if (u && w) n += put_str(b + n, w, strlen(w));
    p[0] = 0x10; int l = put_len(p + 1, n); memcpy(p + 1 + l, b, n); return 1 + l + n;
}
static void conn_open(Conn *c) {
    c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0); if (c->fd < 0) die("socket: %s", strerror(errno));
    int one = 1; setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
    if ((ntohl(addr.sin_addr.s_addr) >> 24) == 127) { /* spread the source addresses: more than 28000 ports */
        static u32 k; struct sockaddr_in s = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(0x7f000002 + k++ % 200) };
        setsockopt(c->fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
        if (bind(c->fd, (void *)&s, sizeof s) < 0) { /* fall back to the kernel's choice */ }
    }
    c->t_start = mono(); c->st = ST_TCP; c->want_out = 1;
    if (connect(c->fd, (void *)&addr, sizeof addr) < 0 && errno != EINPROGRESS) { lost(c, strerror(errno)); return; }
    struct epoll_event e = { .events = EPOLLIN | EPOLLOUT, .data.ptr = c };
    if (epoll_ctl(ep, EPOLL_CTL_ADD, c->fd, &e) < 0) die("epoll_ctl: %s", strerror(errno));
}
static Conn *conn_new(int role, int i) {
    Conn *c = xalloc(sizeof *c); c->fd = -1; c->role = role; c->idx = i;
    int k = role == SUB && (O.sub_creds || O.sub_user); /* which credential set */
    Who w = { .role = role == PUB ? "p" : "s", .i = i };
    const char *ut = role == SUB && O.sub_user ? O.sub_user : O.user, *pt = role == SUB && O.sub_user ? O.sub_pass : O.pass;
    char b[1024];
    if (ncreds[k] && !(role == SUB && O.sub_user)) { w.user = creds[k][i % ncreds[k]].user; w.pass = creds[k][i % ncreds[k]].pass; }
    else {
        if (ut) { expand(b, sizeof b, ut, &w, 0, 0, 0); w.user = strdup(b); }
        if (pt) { expand(b, sizeof b, pt, &w, 0, 0, 0); w.pass = strdup(b); }
    }
    c->who = w; expand(c->cid, sizeof c->cid, O.cid, &w, 0, 0, 0);
    return c;
}
/* builds the PUBLISH template of a publisher; tw decides what {user} and {i} mean in the topic */
static void conn_template(Conn *c, const char *topic_t, int qos) {
    static char topic[2048]; static char pay[1 << 20]; int s, p, t;
    Who w = c->who; if (!w.user) { char b[32]; snprintf(b, sizeof b, "dev%06d", w.i); w.user = strdup(b); }
    int tl = expand(topic, sizeof topic, topic_t, &w, 0, 0, 0);
    int pl = expand(pay, sizeof pay, O.payload, &w, &s, &p, &t);
    if (O.size > pl && O.size < (int)sizeof pay) { /* blanks before the last brace keep JSON valid */
        int brace = pl && pay[pl - 1] == '}'; int add = O.size - pl;
        if (brace) pl--;
        memset(pay + pl, ' ', add); pl += add; if (brace) pay[pl++] = '}';
    }
    int rem = 2 + tl + (qos ? 2 : 0) + pl; c->tpl = xalloc(rem + 8);
    int n = 0; c->tpl[n++] = 0x30 | qos << 1; n += put_len(c->tpl + n, rem);
    n += put_str(c->tpl + n, topic, tl); c->mid_at = -1; if (qos) { c->mid_at = n; n += 2; }
    memcpy(c->tpl + n, pay, pl); c->seq_at = s < 0 ? -1 : n + s; c->ts_at = t < 0 ? -1 : n + t; n += pl;
    c->tlen = n; c->psize = pl; c->topic_len = tl; c->pay_seq = s; c->pay_pub = p; c->pay_ts = t;
}
static int V_seq = -1, V_pub = -1, V_ts = -1; /* offsets in the payload, equal for all publishers */

static void seen(Conn *c, const u8 *pay, u32 n) {
    if ((u32)V_seq + 10 > n || (V_pub >= 0 && (u32)V_pub + 6 > n)) { T_foreign++; return; }
    u64 s = get_digits(pay + V_seq, 10) - SEQ_BASE, p = V_pub >= 0 ? get_digits(pay + V_pub, 6) - PUB_BASE : 0;
    if (p >= (u64)npub || s >= pub[p]->seq) { T_foreign++; return; }
    Seen *z = &c->seen[p];
    if (s >= z->cap) {
        u64 nc = z->cap ? z->cap * 2 : 4096; while (nc <= s) nc *= 2;
        z->bits = realloc(z->bits, nc / 8); if (!z->bits) die("out of memory");
        memset(z->bits + z->cap / 8, 0, (nc - z->cap) / 8); z->cap = nc;
    }
    if (z->bits[s >> 3] >> (s & 7) & 1) { z->dup++; return; }
    z->bits[s >> 3] |= 1 << (s & 7); z->uniq++;
    if (s + 1 < z->last) z->back++; else z->last = s + 1;
}
static void send_subscribe(Conn *c) {
    u8 b[1024], p[1024]; int n = 0, l = strlen(c->filter);
    b[n++] = 0; b[n++] = 1; n += put_str(b + n, c->filter, l); b[n++] = c->fqos;
    p[0] = 0x82; int k = put_len(p + 1, n); memcpy(p + 1 + k, b, n); c->st = ST_SUBACK; conn_write(c, p, 1 + k + n);
}
static u64 n_connack, n_ready; static int cr_mode; /* connection-rate mode */
static u32 onack; /* bytes in obuf */
static void ack4(Conn *c, u8 h, u8 a, u8 b) {
    if (onack + 4 > sizeof obuf) { conn_write(c, obuf, onack); onack = 0; }
    obuf[onack++] = h; obuf[onack++] = 2; obuf[onack++] = a; obuf[onack++] = b;
}
static void acked(Conn *c, const u8 *b, u64 now) {
    c->inflight--; c->acked++; T_acked++;
    if (c->due) lat_add(now - c->due[b[0] << 8 | b[1]]);
}
static void packet(Conn *c, u8 *p, u32 hl, u32 rl, u64 now) {
    u8 *b = p + hl; int t = p[0] >> 4;
    switch (t) {
    case 2:
        if (rl < 2 || b[1]) { fprintf(stderr, "mqttload: %s refused, code %d\n", c->cid, rl < 2 ? -1 : b[1]); lost(c, "refused"); return; }
        n_connack++;
        if (lat_on == 2) lat_add(now - c->t_start);
        if (c->filter[0]) send_subscribe(c); else { c->st = ST_READY; n_ready++; }
        break;
    case 9:
        if (rl < 3 || b[2] == 0x80) die("subscription to %s refused", c->filter);
        if (b[2] != c->fqos) fprintf(stderr, "mqttload: granted QoS %d, asked %d\n", b[2], c->fqos);
        c->st = ST_READY; n_ready++; break;
    case 3: {
        int q = p[0] >> 1 & 3; u32 tl = rl >= 2 ? b[0] << 8 | b[1] : 0, o = 2 + tl;
        if (o + (q ? 2 : 0) > rl) { T_protoerr++; break; }
        if (p[0] & 8) T_dupflag++;
        if (q == 1) ack4(c, 0x40, b[o], b[o + 1]);
        else if (q == 2) ack4(c, 0x50, b[o], b[o + 1]);
        if (q) o += 2;
        c->recv++; T_recv++;
        if (c->seen) seen(c, b + o, rl - o);
        if (lat_on == 1 && V_ts >= 0 && o + V_ts + 19 <= rl) { u64 s = get_digits(b + o + V_ts, 19) - 1000000000000000000ULL; if (s <= now) lat_add(now - s); }
        break; }
    case 4: acked(c, b, now); break;
    case 5: ack4(c, 0x62, b[0], b[1]); break;
    case 6: ack4(c, 0x70, b[0], b[1]); break;
    case 7: acked(c, b, now); break;
    case 13: break;
    default: T_protoerr++;
    }
}
static void readable(Conn *c) {
    for (int round = 0; round < 4; round++) {
        u32 have = c->rn; if (have) memcpy(rbuf, c->rb, have);
        ssize_t k = recv(c->fd, rbuf + have, sizeof rbuf - have, 0);
        if (k == 0) { lost(c, "end of stream"); return; }
        if (k < 0) { if (errno != EAGAIN) lost(c, strerror(errno)); return; }
        if (O.quickack) { int one = 1; setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one); }
        T_bytes_in += k; u32 n = have + k, i = 0; u64 now = lat_on ? mono() : 0; onack = 0;
        while (n - i >= 2) {
            u32 rl = 0, m = 0, j = i + 1; int ok = 0;
            while (j < n && m < 28) { u8 x = rbuf[j++]; rl |= (u32)(x & 127) << m; m += 7; if (x < 128) { ok = 1; break; } }
            if (!ok || j + rl > n) break;
            packet(c, rbuf + i, j - i, rl, now); if (c->fd < 0) return;
            i = j + rl;
        }
        c->rn = n - i;
        if (c->rn) {
            if (c->rn > sizeof rbuf / 2) die("packet larger than the read buffer");
            if (c->rcap < c->rn) { c->rcap = c->rn * 2; c->rb = realloc(c->rb, c->rcap); if (!c->rb) die("out of memory"); }
            memcpy(c->rb, rbuf + i, c->rn);
        }
        if (onack) { u32 z = onack; onack = 0; conn_write(c, obuf, z); }
        if (c->fd < 0 || have + k < (ssize_t)sizeof rbuf) return;
    }
}
static void cr_recycle(Conn *c);
static void pump(int timeout_ms) {
    struct epoll_event ev[512]; int n = epoll_wait(ep, ev, 512, timeout_ms);
    for (int i = 0; i < n; i++) {
        Conn *c = ev[i].data.ptr; if (c->fd < 0) continue;
        if (c->st == ST_TCP && ev[i].events & (EPOLLOUT | EPOLLERR | EPOLLHUP)) {
            int e = 0; socklen_t l = sizeof e; getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &e, &l);
            if (e) { lost(c, strerror(e)); continue; }
            u8 p[4200]; int k = mk_connect(p, c); c->st = ST_CONNACK; ep_mod(c, 0); conn_write(c, p, k); continue;
        }
        if (ev[i].events & EPOLLOUT) conn_flush(c);
        if (c->fd >= 0 && ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) readable(c);
        if (cr_mode && (c->st == ST_READY || c->st == ST_CLOSED)) cr_recycle(c);
    }
}
/* opens conns in ramps of `at_once` and waits until all are ready */
static void open_all(Conn **v, int n, int at_once) {
    u64 base = n_ready, t0 = mono(), last = t0; int k = 0; u64 seen_ready = base;
    while (n_ready - base < (u64)n) {
        while (k < n && k - (int)(n_ready - base) < at_once) conn_open(v[k++]);
        pump(50);
        if (n_ready != seen_ready) { seen_ready = n_ready; last = mono(); }
        if (T_closed) die("a connection failed while setting up");
        if (mono() - last > 20000000000ULL) die("timeout while connecting: %llu of %d ready", (unsigned long long)(n_ready - base), n);
    }
}
static int emit(Conn *c, u8 *o, u64 ts) { /* one PUBLISH into o */
    memcpy(o, c->tpl, c->tlen);
    if (c->mid_at >= 0) { if (!++c->mid) c->mid = 1; o[c->mid_at] = c->mid >> 8; o[c->mid_at + 1] = c->mid; c->inflight++; if (c->due) c->due[c->mid] = ts; }
    if (c->seq_at >= 0) put_digits(o + c->seq_at, SEQ_BASE + c->seq, 10);
    if (c->ts_at >= 0) put_digits(o + c->ts_at, 1000000000000000000ULL + ts, 19);
    c->seq++; c->sent++; T_sent++;
    return c->tlen;
}
static u64 written_off; /* deliveries given up as lost, so that the credit does not leak away */
static long outstanding(void) { return (long)(T_sent * deliveries_per_pub) - (long)T_recv - (long)written_off; }

typedef struct { u64 t, sent, recv, acked; double cpu, self; } Mark;
static Mark mark(void) { return (Mark){ mono(), T_sent, T_recv, T_acked, pids_cpu(), self_cpu() }; }

static void setup_pubsub(int P, int S, const char *filter_override, int pairwise) {
    npub = P; nsub = S; pub = xalloc(P * sizeof *pub); sub = xalloc(S * sizeof *sub);
    char wild[512]; wildcard(wild, sizeof wild, O.topic);
    for (int i = 0; i < P; i++) {
        pub[i] = conn_new(PUB, i); if (O.ack_latency) pub[i]->due = xalloc(65536 * sizeof *pub[i]->due);
        conn_template(pub[i], O.topic, O.qos);
        if (i && (pub[i]->pay_seq != pub[0]->pay_seq || pub[i]->pay_pub != pub[0]->pay_pub || pub[i]->pay_ts != pub[0]->pay_ts) && (O.verify || lat_on))
            die("payload offsets differ between publishers: put {seq}, {pub} and {ts} before {user} and {pass}");
    }
    if (P) { V_seq = pub[0]->pay_seq; V_pub = pub[0]->pay_pub; V_ts = pub[0]->pay_ts; }
    if (O.verify && (V_seq < 0 || (P > 1 && V_pub < 0))) die("--verify needs {seq} and, with several publishers, {pub} in the payload");
    for (int j = 0; j < S; j++) {
        Conn *c = sub[j] = conn_new(SUB, j); c->fqos = O.sub_qos; c->pair = j;
        if (O.sub_topic) { Who w = c->who; if (!w.user) { char b[32]; snprintf(b, sizeof b, "dev%06d", j); w.user = strdup(b); } expand(c->filter, sizeof c->filter, O.sub_topic, &w, 0, 0, 0); }
        else if (pairwise) { int a = pub[j]->tpl[1] & 128 ? (pub[j]->tpl[2] & 128 ? 4 : 3) : 2; memcpy(c->filter, pub[j]->tpl + a + 2, pub[j]->topic_len); }
        else if (P == 1) { int a = pub[0]->tpl[1] & 128 ? (pub[0]->tpl[2] & 128 ? 4 : 3) : 2; memcpy(c->filter, pub[0]->tpl + a + 2, pub[0]->topic_len); }
        else snprintf(c->filter, sizeof c->filter, "%.511s", filter_override ? filter_override : wild);
        if (O.verify) c->seen = xalloc(P * sizeof(Seen));
    }
    open_all(sub, S, O.concurrency); open_all(pub, P, O.concurrency);
}
static void jput(int first, const char *k, const char *f, ...) {
    va_list a; va_start(a, f); printf("%s\"%s\":", first ? "{" : ",", k); vprintf(f, a); va_end(a);
}
static void pct(u32 *v, u64 n, double *o) { /* p50 p90 p99 p99.9 max in microseconds */
    double q[] = { .5, .9, .99, .999, 1 };
    qsort(v, n, sizeof *v, cmp32);
    for (int i = 0; i < 5; i++) { u64 k = (u64)ceil(q[i] * n); o[i] = n ? v[k ? k - 1 : 0] / 1000.0 : 0; }
}
static void report(Mark a, Mark b, u64 expected, u64 got) {
    double t = (b.t - a.t) / 1e9, cpu = b.cpu - a.cpu;
    u64 dv = b.recv - a.recv, sn = b.sent - a.sent, ak = b.acked - a.acked;
    double unit = nsub ? dv : O.qos ? ak : sn; /* what the rate counts */
    u64 dup = 0, back = 0, uniq = 0, miss = 0;
    if (O.verify) for (int j = 0; j < nsub; j++) for (int i = 0; i < npub; i++) {
        Seen *z = &sub[j]->seen[i]; dup += z->dup; back += z->back; uniq += z->uniq;
        if (deliveries_per_pub == (u64)nsub || (npub == nsub && i == j)) miss += pub[i]->seq - z->uniq;
    }
    double p[5] = { 0 }; if (nlat) pct(lat, nlat, p);
    if (O.json) {
        jput(1, "mode", "\"%s\"", O.mode); if (O.label) jput(0, "label", "\"%s\"", O.label);
        jput(0, "qos", "%d", O.qos); jput(0, "sub_qos", "%d", O.sub_qos); jput(0, "pubs", "%d", npub); jput(0, "subs", "%d", nsub);
        jput(0, "payload_bytes", "%d", npub ? pub[0]->psize : 0); jput(0, "publish_bytes", "%d", npub ? pub[0]->tlen : 0);
        jput(0, "window", "%d", O.window); jput(0, "credit", "%ld", O.credit); jput(0, "seconds", "%.3f", t);
        jput(0, "sent_per_s", "%.0f", sn / t); jput(0, "delivered_per_s", "%.0f", dv / t); jput(0, "acked_per_s", "%.0f", ak / t);
        jput(0, "rate", "%.0f", unit / t);
        if (O.npids) { jput(0, "broker_cpu_s", "%.2f", cpu); jput(0, "broker_cpu_pct", "%.1f", 100 * cpu / t); jput(0, "per_cpu_s", "%.0f", cpu > 0 ? unit / cpu : 0); jput(0, "broker_rss_mb", "%.1f", pids_rss_kb() / 1024.0); }
        jput(0, "generator_cpu_pct", "%.1f", 100 * (b.self - a.self) / t);
        jput(0, "total_sent", "%llu", (unsigned long long)T_sent); jput(0, "expected", "%llu", (unsigned long long)expected); jput(0, "received", "%llu", (unsigned long long)got);
        jput(0, "missing", "%lld", (long long)expected - (long long)got); jput(0, "unacked", "%lld", O.qos ? (long long)T_sent - (long long)T_acked : 0LL);
        jput(0, "closed", "%llu", (unsigned long long)T_closed); jput(0, "protocol_errors", "%llu", (unsigned long long)T_protoerr); jput(0, "dup_flags", "%llu", (unsigned long long)T_dupflag);
        if (O.verify) { jput(0, "verify", "{\"unique\":%llu,\"lost\":%llu,\"duplicated\":%llu,\"out_of_order\":%llu,\"foreign\":%llu}", (unsigned long long)uniq, (unsigned long long)miss, (unsigned long long)dup, (unsigned long long)back, (unsigned long long)T_foreign); }
        if (nlat) jput(0, "latency_us", "{\"n\":%llu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", (unsigned long long)nlat, p[0], p[1], p[2], p[3], p[4]);
        printf("}\n");
    } else {
        printf("%s qos %d: %d publishers, %d subscribers, payload %d bytes, %.2f s\n", O.mode, O.qos, npub, nsub, npub ? pub[0]->psize : 0, t);
        printf("  published %.0f/s  delivered %.0f/s  acknowledged %.0f/s\n", sn / t, dv / t, ak / t);
        if (O.npids) printf("  broker CPU %.2f s (%.0f%%): %.0f messages per CPU-second, RSS %.1f MB\n", cpu, 100 * cpu / t, cpu > 0 ? unit / cpu : 0, pids_rss_kb() / 1024.0);
        printf("  generator CPU %.0f%%\n", 100 * (b.self - a.self) / t);
        printf("  total sent %llu, expected %llu, received %llu, missing %lld, closed %llu\n", (unsigned long long)T_sent, (unsigned long long)expected, (unsigned long long)got, (long long)expected - (long long)got, (unsigned long long)T_closed);
        if (O.verify) printf("  verify: unique %llu lost %llu duplicated %llu out of order %llu foreign %llu\n", (unsigned long long)uniq, (unsigned long long)miss, (unsigned long long)dup, (unsigned long long)back, (unsigned long long)T_foreign);
        if (nlat) printf("  latency us: p50 %.1f p90 %.1f p99 %.1f p99.9 %.1f max %.1f (n %llu)\n", p[0], p[1], p[2], p[3], p[4], (unsigned long long)nlat);
    }
}
static void drain(u64 expected) {
    u64 t = mono(), last = T_recv + T_acked;
    while ((T_recv < expected || (O.qos && T_acked < T_sent)) && mono() - t < (u64)(O.drain * 1e9)) {
        pump(20); if (T_recv + T_acked != last) { last = T_recv + T_acked; t = mono(); }
    }
    u64 e = mono() + 100000000ULL; while (mono() < e) pump(10); /* late duplicates */
}
static void finish(Mark a, Mark b) {
    u64 expected = T_sent * deliveries_per_pub; drain(expected);
    closing = 1; report(a, b, expected, T_recv);
    for (int i = 0; i < npub; i++) if (pub[i]->fd >= 0) conn_write(pub[i], (u8 *)"\xe0", 2);
    for (int i = 0; i < nsub; i++) if (sub[i]->fd >= 0) conn_write(sub[i], (u8 *)"\xe0", 2);
}
/* closed loop (or open, credit 0) saturation: fan-in, point to point, fan-out */
static void run_stream(int one_per_turn) {
    u64 t0 = mono(), tw = t0 + (u64)(O.warmup * 1e9), te = tw + (u64)(O.duration * 1e9);
    Mark a = { 0 }; int warm = 0; int rr = 0; u64 last_progress = t0, last_seen = 0;
    double per_ns = O.rate / 1e9; u64 released = 0;
    for (;;) {
        u64 now = mono();
        if (!warm && now >= tw) { a = mark(); warm = 1; if (O.ack_latency) nlat = 0; }
        if (now >= te) break;
        int wrote = 0;
        if (O.rate > 0) released = (u64)((now - t0) * per_ns);
        long room = O.credit > 0 && deliveries_per_pub ? (O.credit * (long)deliveries_per_pub - outstanding()) / (long)deliveries_per_pub : 1L << 30;
        if (O.rate > 0 && room > (long)(released - T_sent)) room = (long)(released - T_sent);
        int tries = 0;
        while (room > 0 && tries < npub) {
            Conn *c = pub[rr]; rr = rr + 1 == npub ? 0 : rr + 1; tries++;
            if (c->fd < 0 || c->wn != c->woff) continue;
            long k = one_per_turn ? 1 : npub > 1 ? (room + npub - 1) / npub : room;
            if (O.qos && k > O.window - c->inflight) k = O.window - c->inflight;
            if (k > room) k = room;
            if (k <= 0 || (!one_per_turn && O.qos && c->inflight && k < O.window / 4 && k < room)) continue; /* refill in batches */
            u32 n = 0; u64 ts = c->ts_at >= 0 || c->due ? mono() : 0;
            while (k-- > 0 && n + c->tlen <= 65536) { n += emit(c, obuf + n, ts); room--; }
            if (!n && c->tlen > 65536) { n = emit(c, obuf, ts); room--; }
            wrote = 1; conn_write(c, obuf, n);
        }
        pump(wrote || O.rate > 0 ? 0 : 1);
        nanosleep(&(struct timespec){ 0, 25000 }, NULL); /* let arrivals gather: fewer, larger reads */
        if (T_recv + T_acked != last_seen) { last_seen = T_recv + T_acked; last_progress = now; }
        else if (O.credit > 0 && deliveries_per_pub && now - last_progress > 300000000ULL && outstanding() > 0) { written_off += outstanding(); last_progress = now; }
        if (T_closed && T_closed >= (u64)(npub + nsub)) die("all connections closed");
    }
    Mark b = mark(); finish(a, b);
}
/* latency at a fixed rate; the time stamp is the scheduled time, so queueing in the generator counts */
static void run_latency(void) {
    u64 t0 = mono() + 10000000ULL, step = (u64)(1e9 / O.rate), n = 0, nw = (u64)(O.rate * O.warmup), ne = nw + (u64)(O.rate * O.duration);
    Mark a = { 0 }; int rr = 0;
    while (n < ne) {
        u64 due = t0 + n * step, now = mono();
        if (n == nw && !a.t) { a = mark(); nlat = 0; }
        while (n < ne && now >= due) { Conn *c = pub[rr]; rr = (rr + 1) % npub; int k = emit(c, obuf, due); conn_write(c, obuf, k); n++; due += step; if (n == nw) break; }
        pump(0);
        if (T_closed) die("a connection was closed");
    }
    Mark b = mark(); finish(a, b);
}
/* connection rate */
static u64 cr_end;
static void cr_recycle(Conn *c) {
    if (c->st == ST_READY) { conn_write(c, (u8 *)"\xe0", 2); conn_close(c); }
    if (mono() < cr_end) conn_open(c);
}
static void run_connect(void) {
    lat_on = 2; cr_mode = 1; cr_end = ~0ULL; int n = O.concurrency; C = xalloc(n * sizeof *C);
    u64 t0 = mono(); for (int i = 0; i < n; i++) { C[i] = conn_new(PUB, i); conn_open(C[i]); }
    while (mono() - t0 < (u64)(O.warmup * 1e9)) pump(10);
    u64 s = n_connack; Mark a = mark(); nlat = 0; u64 te = mono() + (u64)(O.duration * 1e9); u64 closed0 = T_closed;
    while (mono() < te) pump(10);
    cr_end = 0; Mark b = mark(); u64 k = n_connack - s; double t = (b.t - a.t) / 1e9, p[5] = { 0 }; pct(lat, nlat, p);
    double cpu = b.cpu - a.cpu;
    if (O.json) {
        jput(1, "mode", "\"connect\""); if (O.label) jput(0, "label", "\"%s\"", O.label);
        jput(0, "concurrency", "%d", n); jput(0, "seconds", "%.3f", t); jput(0, "rate", "%.0f", k / t);
        if (O.npids) { jput(0, "broker_cpu_s", "%.2f", cpu); jput(0, "broker_cpu_pct", "%.1f", 100 * cpu / t); jput(0, "per_cpu_s", "%.0f", cpu > 0 ? k / cpu : 0); }
        jput(0, "generator_cpu_pct", "%.1f", 100 * (b.self - a.self) / t); jput(0, "failed", "%llu", (unsigned long long)(T_closed - closed0));
        jput(0, "latency_us", "{\"n\":%llu,\"p50\":%.1f,\"p90\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"max\":%.1f}", (unsigned long long)nlat, p[0], p[1], p[2], p[3], p[4]); printf("}\n");
    } else {
        printf("connect: %.0f connections/s with CONNACK (concurrency %d), broker CPU %.2f s, %.0f per CPU-second, failed %llu\n", k / t, n, cpu, cpu > 0 ? k / cpu : 0, (unsigned long long)(T_closed - closed0));
        printf("  TCP connect to CONNACK us: p50 %.1f p99 %.1f max %.1f\n", p[0], p[2], p[4]);
    }
}
/* idle connections: memory of the broker */
static void run_idle(void) {
    int n = O.clients; C = xalloc(n * sizeof *C); double c0 = pids_cpu(); u64 t0 = mono();
    for (int i = 0; i < n; i++) {
        C[i] = conn_new(PUB, i);
        if (O.sub_each) { Who w = C[i]->who; char b[32]; if (!w.user) { snprintf(b, sizeof b, "dev%06d", i); w.user = b; } expand(C[i]->filter, sizeof C[i]->filter, O.sub_topic ? O.sub_topic : O.topic, &w, 0, 0, 0); C[i]->fqos = O.sub_qos; }
    }
    /* a first tenth warms the broker's allocator and is kept out of the figure */
    int w = n / 10; open_all(C, w, O.concurrency); usleep(300000); long r0 = pids_rss_kb();
    open_all(C + w, n - w, O.concurrency); double up = (mono() - t0) / 1e9; double c1 = pids_cpu();
    u64 e = mono() + (u64)(O.duration * 1e9); while (mono() < e) pump(50);
    long r1 = pids_rss_kb(); double c2 = pids_cpu();
    if (O.json) {
        jput(1, "mode", "\"idle\""); if (O.label) jput(0, "label", "\"%s\"", O.label);
        jput(0, "clients", "%d", n); jput(0, "alive", "%llu", (unsigned long long)(n_ready - T_closed)); jput(0, "subscribed", "%d", O.sub_each);
        jput(0, "rss_kb_before", "%ld", r0); jput(0, "rss_kb_after", "%ld", r1); jput(0, "rss_bytes_per_conn", "%.0f", (r1 - r0) * 1024.0 / (n - w));
        jput(0, "rss_mb_total", "%.1f", r1 / 1024.0);
        jput(0, "setup_s", "%.2f", up); jput(0, "setup_cpu_s", "%.2f", c1 - c0); jput(0, "idle_cpu_pct", "%.1f", 100 * (c2 - c1) / O.duration); printf("}\n");
    } else printf("idle: %d connections%s, broker RSS %.1f -> %.1f MB, %.0f bytes per connection, idle CPU %.1f%%\n", n, O.sub_each ? " with one subscription" : "", r0 / 1024.0, r1 / 1024.0, (r1 - r0) * 1024.0 / (n - w), 100 * (c2 - c1) / O.duration);
}

static void usage(void) {
    puts("usage: mqttload MODE [options]\n"
         "modes: fanin p2p fanout telemetry latency connect idle\n"
         "  --host H --port N              broker address (127.0.0.1:1883)\n"
         "  --user T --pass T              credential templates, e.g. dev{i}\n"
         "  --creds FILE                   user and password per line; client i takes line i\n"
         "  --sub-user T --sub-pass T --sub-creds FILE   the same for subscribers\n"
         "  --client-id T                  default ml-{role}-{i}\n"
         "  --topic T                      default devices/{user}/datastream ({user} is dev{i} without credentials)\n"
         "  --sub-topic T                  default: the topic, or + where it has a placeholder\n"
         "  --payload T --payload-file F --size N   payload template; blanks pad it to N bytes\n"
         "  --qos N --sub-qos N            publish and subscription QoS\n"
         "  --pubs N --subs N --clients N  how many\n"
         "  --window N                     unacknowledged QoS 1/2 publishes per publisher (telemetry: 1)\n"
         "  --credit N                     undelivered publishes in flight in all; 0 is an open loop\n"
         "  --rate R                       messages per second in all (latency 1000; others unlimited)\n"
         "  --duration S --warmup S --drain S\n"
         "  --concurrency N                simultaneous connection attempts\n"
         "  --keepalive S --no-clean --sub-each\n"
         "  --ack-latency                  measure publish to PUBACK or PUBCOMP instead of deliveries\n"
         "  --quickack                     acknowledge TCP segments at once (see README)\n"
         "  --pid P[,P..]                  broker processes for CPU and RSS figures\n"
         "  --verify                       check every sequence number: lost, duplicated, out of order\n"
         "  --json --label TEXT");
    exit(2);
}
int main(int ac, char **av) {
    setvbuf(stdout, NULL, _IOLBF, 0); signal(SIGPIPE, SIG_IGN); prctl(PR_SET_TIMERSLACK, 1UL, 0, 0, 0);
    if (ac < 2 || av[1][0] == '-') usage();
    O.mode = av[1];
    enum { HOST = 1, PORT, USER, PASS, CREDS, SUSER, SPASS, SCREDS, CID, TOPIC, STOPIC, PAYLOAD, PFILE, SIZE, QOS, SQOS, PUBS, SUBS, CLIENTS, WINDOW, CREDIT, RATE, DUR, WARM, DRAIN, CONC, KA, NOCLEAN, SUBEACH, PID, VERIFY, JSON, LABEL, QUICKACK, ACKLAT, HELP };
    static struct option lo[] = {
        { "host", 1, 0, HOST }, { "port", 1, 0, PORT }, { "user", 1, 0, USER }, { "pass", 1, 0, PASS }, { "creds", 1, 0, CREDS },
        { "sub-user", 1, 0, SUSER }, { "sub-pass", 1, 0, SPASS }, { "sub-creds", 1, 0, SCREDS }, { "client-id", 1, 0, CID }, { "topic", 1, 0, TOPIC },
        { "sub-topic", 1, 0, STOPIC }, { "payload", 1, 0, PAYLOAD }, { "payload-file", 1, 0, PFILE }, { "size", 1, 0, SIZE }, { "qos", 1, 0, QOS },
        { "sub-qos", 1, 0, SQOS }, { "pubs", 1, 0, PUBS }, { "subs", 1, 0, SUBS }, { "clients", 1, 0, CLIENTS }, { "window", 1, 0, WINDOW },
        { "credit", 1, 0, CREDIT }, { "rate", 1, 0, RATE }, { "duration", 1, 0, DUR }, { "warmup", 1, 0, WARM }, { "drain", 1, 0, DRAIN },
        { "concurrency", 1, 0, CONC }, { "keepalive", 1, 0, KA }, { "no-clean", 0, 0, NOCLEAN }, { "sub-each", 0, 0, SUBEACH }, { "pid", 1, 0, PID },
        { "verify", 0, 0, VERIFY }, { "json", 0, 0, JSON }, { "label", 1, 0, LABEL }, { "quickack", 0, 0, QUICKACK }, { "ack-latency", 0, 0, ACKLAT }, { "help", 0, 0, HELP }, { 0, 0, 0, 0 } };
    int k, window_set = 0; optind = 2;
    while ((k = getopt_long(ac, av, "", lo, NULL)) != -1) switch (k) {
        case HOST: O.host = optarg; break; case PORT: O.port = atoi(optarg); break;
        case USER: O.user = optarg; break; case PASS: O.pass = optarg; break; case CREDS: O.creds = optarg; break;
        case SUSER: O.sub_user = optarg; break; case SPASS: O.sub_pass = optarg; break; case SCREDS: O.sub_creds = optarg; break;
        case CID: O.cid = optarg; break; case TOPIC: O.topic = optarg; break; case STOPIC: O.sub_topic = optarg; break;
        case PAYLOAD: O.payload = optarg; break;
        case PFILE: { FILE *f = fopen(optarg, "r"); if (!f) die("cannot read %s", optarg); char *b = xalloc(1 << 20); size_t n = fread(b, 1, (1 << 20) - 1, f); fclose(f); while (n && (b[n - 1] == '\n')) b[--n] = 0; O.payload = b; break; }
        case SIZE: O.size = atoi(optarg); break; case QOS: O.qos = atoi(optarg); break; case SQOS: O.sub_qos = atoi(optarg); break;
        case PUBS: O.pubs = atoi(optarg); break; case SUBS: O.subs = atoi(optarg); break; case CLIENTS: O.clients = atoi(optarg); break;
        case WINDOW: O.window = atoi(optarg); window_set = 1; break; case CREDIT: O.credit = atol(optarg); break; case RATE: O.rate = atof(optarg); break;
        case DUR: O.duration = atof(optarg); break; case WARM: O.warmup = atof(optarg); break; case DRAIN: O.drain = atof(optarg); break;
        case CONC: O.concurrency = atoi(optarg); break; case KA: O.keepalive = atoi(optarg); break;
        case QUICKACK: O.quickack = 1; break; case ACKLAT: O.ack_latency = 1; break;
        case NOCLEAN: O.clean = 0; break; case SUBEACH: O.sub_each = 1; break;
        case PID: { char *s = strdup(optarg); for (char *t = strtok(s, ","); t && O.npids < MAXPID; t = strtok(NULL, ",")) O.pids[O.npids++] = atoi(t); break; }
        case VERIFY: O.verify = 1; break; case JSON: O.json = 1; break; case LABEL: O.label = optarg; break;
        default: usage();
    }
    if (O.sub_qos < 0) O.sub_qos = O.qos;
    if (O.ack_latency) { if (!O.qos) die("--ack-latency needs --qos 1 or 2"); lat_on = 3; }
    if (O.creds) load_creds(0, O.creds);
    if (O.sub_creds) load_creds(1, O.sub_creds);
    struct rlimit rl; if (!getrlimit(RLIMIT_NOFILE, &rl)) { rl.rlim_cur = rl.rlim_max; setrlimit(RLIMIT_NOFILE, &rl); }
    char ps[16]; snprintf(ps, sizeof ps, "%d", O.port); struct addrinfo hints = { .ai_family = AF_INET, .ai_socktype = SOCK_STREAM }, *ai;
    if (getaddrinfo(O.host, ps, &hints, &ai)) die("cannot resolve %s", O.host);
    addr = *(struct sockaddr_in *)ai->ai_addr; ep = epoll_create1(EPOLL_CLOEXEC);

    if (!strcmp(O.mode, "fanin")) {
        int P = O.pubs < 0 ? 10 : O.pubs, S = O.subs < 0 ? 1 : O.subs; if (O.credit < 0) O.credit = 1000;
        deliveries_per_pub = S; setup_pubsub(P, S, NULL, 0); run_stream(0);
    } else if (!strcmp(O.mode, "p2p")) {
        int P = O.pubs < 0 ? 1 : O.pubs; if (O.credit < 0) O.credit = O.qos ? (long)O.window * P : 1000;
        deliveries_per_pub = 1; setup_pubsub(P, P, NULL, 1); run_stream(0);
    } else if (!strcmp(O.mode, "fanout")) {
        int S = O.subs < 0 ? 100 : O.subs; if (O.credit < 0) O.credit = 20;
        deliveries_per_pub = S; setup_pubsub(1, S, NULL, 0); run_stream(0);
    } else if (!strcmp(O.mode, "telemetry")) {
        int P = O.clients, S = O.subs < 0 ? 1 : O.subs; if (!window_set) O.window = 1;
        if (O.credit < 0) O.credit = S ? (P < 500 ? P : 500) : 0;
        if (!S && !O.qos && O.rate <= 0) die("telemetry without a subscriber needs --qos 1 or --rate");
        deliveries_per_pub = S; setup_pubsub(P, S, NULL, 0); run_stream(1);
    } else if (!strcmp(O.mode, "latency")) {
        int P = O.pubs < 0 ? 10 : O.pubs, S = O.subs < 0 ? 1 : O.subs; if (O.rate <= 0) O.rate = 1000;
        if (!O.ack_latency) lat_on = 1;
        if (lat_on && !strstr(O.payload, "{ts}")) O.payload = "{\"value\":\"25.6\",\"telemetryDataId\":1,\"pub\":{pub},\"seq\":{seq},\"ts\":{ts}}";
        deliveries_per_pub = S; setup_pubsub(P, S, NULL, 0); run_latency();
    } else if (!strcmp(O.mode, "connect")) run_connect();
    else if (!strcmp(O.mode, "idle")) run_idle();
    else usage();
    return 0;
}
