// Closed-loop load of unary gRPC calls on HTTP/2, by libnghttp2: each of `in-flight` slots sends its
// next request when its answer has come. Cheap enough (2-3 us of CPU a call) that on two cores the
// server is what is measured.
//
// A run is a warm-up, then the measured part. Before that part and at its end no call is open, and
// it begins when a line comes on standard input, so that the caller can read the server's CPU time
// exactly there. Every answer must have :status 200, grpc-status 0 and a message; each 251st is kept
// whole for the caller to check. Standard output: a line "warm", then one line of JSON.
//
//   load HOST PORT tls|plain PATH POOL IN_FLIGHT CONNECTIONS WARM_S SECONDS MAX_REQUESTS SALT SAMPLES
//
// POOL: u32 count, then for each body: u32 length, u32 offset of its 16-character id or ~0, bytes.
// SAMPLES: for each sample: u32 index in the pool, 16 characters of id, u32 length, bytes.
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <nghttp2/nghttp2.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { NO_ID = 0xffffffffu, ID = 16, SAMPLE_EVERY = 251, MAX_SAMPLES = 1024 };
enum { READ_BYTES = 256 * 1024, WINDOW = 16 << 20, MAX_CONNECTIONS = 1024 };

typedef struct { uint32_t length, id; const uint8_t *bytes; } Body;

typedef struct {
  uint64_t sent_ns;
  uint32_t index, length, read, got, room;
  uint8_t *request, *answer;
  int http_ok, grpc_ok;
} Slot;

typedef struct {
  int fd, wants_write;
  SSL *ssl;
  nghttp2_session *session;
  uint8_t *out;
  size_t out_used, out_done, out_room;
  Slot *idle[4096];
  int idle_count;
} Link;

static Body *pool;
static uint32_t pool_count, longest;
static const char *authority, *path, *scheme;
static unsigned long long serial, salt;
static uint64_t stop_ns, stop_count, issued, done, failed, open_calls;
static int is_measuring;
static FILE *samples;
static uint32_t sampled;
// Latencies in nanoseconds by exponent and seven bits of mantissa: 0.8 % wide.
static uint64_t histogram[64 * 128];

static void die(const char *what) {
  fprintf(stderr, "load: %s: %s\n", what, errno ? strerror(errno) : "failed");
  exit(1);
}

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static unsigned bucket_of(uint64_t ns) {
  if (ns < 128) return (unsigned)ns;
  unsigned exponent = 63u - (unsigned)__builtin_clzll(ns);
  return (exponent - 6) * 128 + (unsigned)((ns >> (exponent - 7)) & 127);
}

static double quantile_us(double q) {
  uint64_t total = 0, seen = 0;
  for (unsigned i = 0; i < 64 * 128; i++) total += histogram[i];
  uint64_t want = (uint64_t)(q * (double)total);
  for (unsigned i = 0; i < 64 * 128; i++) {
    seen += histogram[i];
    if (seen > want || (seen == total && total)) {
      if (i < 256) return i / 1e3;
      return (double)((128ull + i % 128) << (i / 128 - 1)) / 1e3;
    }
  }
  return 0;
}

static void read_pool(const char *name) {
  FILE *file = fopen(name, "rb");
  if (!file || fread(&pool_count, 4, 1, file) != 1 || !pool_count) die(name);
  pool = calloc(pool_count, sizeof *pool);
  for (uint32_t i = 0; i < pool_count; i++) {
    if (fread(&pool[i].length, 4, 1, file) != 1 || fread(&pool[i].id, 4, 1, file) != 1) die(name);
    uint8_t *bytes = malloc(pool[i].length);
    if (fread(bytes, 1, pool[i].length, file) != pool[i].length) die(name);
    pool[i].bytes = bytes;
    if (pool[i].length > longest) longest = pool[i].length;
  }
  fclose(file);
}

static ssize_t read_body(nghttp2_session *session, int32_t stream, uint8_t *to, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *data) {
  (void)session, (void)stream, (void)data;
  Slot *slot = source->ptr;
  size_t left = slot->length - slot->read, n = left < length ? left : length;
  memcpy(to, slot->request + slot->read, n);
  slot->read += (uint32_t)n;
  if (slot->read == slot->length) *flags |= NGHTTP2_DATA_FLAG_EOF;
  return (ssize_t)n;
}

#define FIELD(n, v) {(uint8_t *)(n), (uint8_t *)(v), strlen(n), strlen(v), NGHTTP2_NV_FLAG_NONE}

static int has_more(void) {
  return issued < stop_count && (!stop_ns || now_ns() < stop_ns);
}

static void submit(Link *link) {
  if (!link->idle_count || !has_more()) return;
  Slot *slot = link->idle[--link->idle_count];
  slot->index = (uint32_t)(serial % pool_count);
  const Body *body = &pool[slot->index];
  memcpy(slot->request, body->bytes, body->length);
  slot->length = body->length;
  if (body->id != NO_ID) {
    char id[ID + 1];
    snprintf(id, sizeof id, "%05llx%011llx", salt & 0xfffff, serial & 0xfffffffffff);
    memcpy(slot->request + body->id, id, ID);
  }
  slot->read = slot->got = 0;
  slot->http_ok = slot->grpc_ok = 0;
  nghttp2_nv head[] = {FIELD(":method", "POST"),
                       FIELD(":scheme", scheme),
                       FIELD(":path", path),
                       FIELD(":authority", authority),
                       FIELD("te", "trailers"),
                       FIELD("content-type", "application/grpc"),
                       FIELD("user-agent", "fogline-benchmark/1"),
                       FIELD("grpc-accept-encoding", "identity, gzip")};
  nghttp2_data_provider provider = {.source = {.ptr = slot}, .read_callback = read_body};
  slot->sent_ns = now_ns();
  if (nghttp2_submit_request(link->session, NULL, head, sizeof head / sizeof *head, &provider,
                             slot) < 0)
    die("submit");
  serial++, issued++, open_calls++;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_length, const uint8_t *value, size_t length, uint8_t flags,
                     void *data) {
  (void)flags, (void)data;
  Slot *slot = nghttp2_session_get_stream_user_data(session, frame->hd.stream_id);
  if (!slot) return 0;
  if (name_length == 7 && !memcmp(name, ":status", 7)) slot->http_ok = length == 3 && !memcmp(value, "200", 3);
  if (name_length == 11 && !memcmp(name, "grpc-status", 11)) slot->grpc_ok = length == 1 && *value == '0';
  if (name_length == 12 && !memcmp(name, "grpc-message", 12) && length && failed < 3)
    fprintf(stderr, "load: answer: %.*s\n", (int)length, (const char *)value);
  return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *bytes,
                   size_t length, void *data) {
  (void)flags, (void)data;
  Slot *slot = nghttp2_session_get_stream_user_data(session, stream);
  if (!slot) return 0;
  if (slot->got + length > slot->room) {
    slot->room = (uint32_t)(slot->got + length) * 2;
    slot->answer = realloc(slot->answer, slot->room);
  }
  memcpy(slot->answer + slot->got, bytes, length);
  slot->got += (uint32_t)length;
  return 0;
}

static void keep_sample(const Slot *slot) {
  char id[ID] = {0};
  if (pool[slot->index].id != NO_ID) memcpy(id, slot->request + pool[slot->index].id, ID);
  fwrite(&slot->index, 4, 1, samples);
  fwrite(id, 1, ID, samples);
  fwrite(&slot->got, 4, 1, samples);
  fwrite(slot->answer, 1, slot->got, samples);
  sampled++;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t error, void *data) {
  Link *link = data;
  Slot *slot = nghttp2_session_get_stream_user_data(session, stream);
  if (!slot) return 0;
  if (is_measuring) {
    histogram[bucket_of(now_ns() - slot->sent_ns)]++;
    if (done % SAMPLE_EVERY == 0 && sampled < MAX_SAMPLES) keep_sample(slot);
  }
  if (error || !slot->http_ok || !slot->grpc_ok || slot->got <= 5) failed++;
  done++, open_calls--;
  link->idle[link->idle_count++] = slot;
  submit(link);
  return 0;
}

static void flush_link(Link *link) {
  for (;;) {
    if (link->out_done == link->out_used) {
      link->out_done = link->out_used = 0;
      const uint8_t *chunk;
      ssize_t n;
      while (link->out_used < READ_BYTES && (n = nghttp2_session_mem_send(link->session, &chunk)) > 0) {
        if (link->out_used + (size_t)n > link->out_room) {
          link->out_room = (link->out_used + (size_t)n) * 2;
          link->out = realloc(link->out, link->out_room);
        }
        memcpy(link->out + link->out_used, chunk, (size_t)n);
        link->out_used += (size_t)n;
      }
      if (!link->out_used) { link->wants_write = 0; return; }
    }
    const uint8_t *from = link->out + link->out_done;
    size_t left = link->out_used - link->out_done;
    ssize_t n;
    if (link->ssl) {
      int wrote = SSL_write(link->ssl, from, (int)left);
      n = wrote > 0 ? wrote : -1;
      if (wrote <= 0) errno = SSL_get_error(link->ssl, wrote) == SSL_ERROR_WANT_WRITE ? EAGAIN : EIO;
    } else {
      n = send(link->fd, from, left, MSG_NOSIGNAL);
    }
    if (n < 0) {
      if (errno != EAGAIN) die("write");
      link->wants_write = 1;
      return;
    }
    link->out_done += (size_t)n;
  }
}

static void read_link(Link *link) {
  static uint8_t buffer[READ_BYTES];
  for (;;) {
    ssize_t n;
    if (link->ssl) {
      int got = SSL_read(link->ssl, buffer, sizeof buffer);
      if (got <= 0 && SSL_get_error(link->ssl, got) == SSL_ERROR_WANT_READ) return;
      n = got;
    } else {
      n = recv(link->fd, buffer, sizeof buffer, 0);
      if (n < 0 && errno == EAGAIN) return;
    }
    if (n <= 0) die("the server closed the connection");
    if (nghttp2_session_mem_recv(link->session, buffer, (size_t)n) < 0) die("HTTP/2");
    if (!link->ssl && n < (ssize_t)sizeof buffer) return;
  }
}

static void secure(Link *link) {
  SSL_CTX *context = SSL_CTX_new(TLS_client_method());
  SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  SSL_CTX_set_alpn_protos(context, (const uint8_t *)"\x02h2", 3);
  link->ssl = SSL_new(context);
  SSL_set_tlsext_host_name(link->ssl, "localhost");
  SSL_set_fd(link->ssl, link->fd);
  if (SSL_connect(link->ssl) != 1) die("TLS handshake");
}

static void connect_link(Link *link, const char *host, int port, int with_tls, int slots) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
  inet_pton(AF_INET, host, &address.sin_addr);
  link->fd = socket(AF_INET, SOCK_STREAM, 0);
  int yes = 1;
  setsockopt(link->fd, IPPROTO_TCP, TCP_NODELAY, &yes, sizeof yes);
  if (connect(link->fd, (struct sockaddr *)&address, sizeof address)) die("connect");
  if (with_tls) secure(link);
  fcntl(link->fd, F_SETFL, fcntl(link->fd, F_GETFL) | O_NONBLOCK);
  nghttp2_session_callbacks *callbacks;
  nghttp2_session_callbacks_new(&callbacks);
  nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
  nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
  nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
  nghttp2_session_client_new(&link->session, callbacks, link);
  nghttp2_settings_entry settings[] = {{NGHTTP2_SETTINGS_ENABLE_PUSH, 0},
                                       {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, WINDOW}};
  nghttp2_submit_settings(link->session, NGHTTP2_FLAG_NONE, settings, 2);
  nghttp2_session_set_local_window_size(link->session, NGHTTP2_FLAG_NONE, 0, WINDOW);
  for (int i = 0; i < slots; i++) {
    Slot *slot = calloc(1, sizeof *slot);
    slot->request = malloc(longest);
    slot->answer = malloc(slot->room = 65536);
    link->idle[link->idle_count++] = slot;
  }
}

static void run(Link *links, int count, int poller, double seconds, uint64_t requests) {
  issued = done = 0;
  stop_count = requests || seconds <= 0 ? requests : UINT64_MAX;
  stop_ns = seconds > 0 ? now_ns() + (uint64_t)(seconds * 1e9) : 0;
  for (int i = 0; i < count; i++) {
    while (links[i].idle_count && has_more()) submit(&links[i]);
    flush_link(&links[i]);
  }
  while (open_calls) {
    struct epoll_event events[64];
    int n = epoll_wait(poller, events, 64, 60000);
    if (n == 0) die("no answer for a minute");
    for (int i = 0; i < n; i++) {
      Link *link = events[i].data.ptr;
      int wanted = link->wants_write;
      if (events[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) read_link(link);
      flush_link(link);
      if (wanted != link->wants_write) {
        struct epoll_event event = {.events = EPOLLIN | (link->wants_write ? EPOLLOUT : 0u),
                                    .data.ptr = link};
        epoll_ctl(poller, EPOLL_CTL_MOD, link->fd, &event);
      }
    }
  }
}

static double cpu_s(void) {
  struct rusage u;
  getrusage(RUSAGE_SELF, &u);
  return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) +
         (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e6;
}

int main(int argc, char **argv) {
  if (argc != 13) { fprintf(stderr, "load: 12 arguments; see its source\n"); return 2; }
  signal(SIGPIPE, SIG_IGN);
  int port = atoi(argv[2]), with_tls = !strcmp(argv[3], "tls");
  scheme = with_tls ? "https" : "http";
  path = argv[4];
  authority = "localhost";
  read_pool(argv[5]);
  int in_flight = atoi(argv[6]), connections = atoi(argv[7]);
  if (connections < 1 || connections > MAX_CONNECTIONS || in_flight < connections || in_flight / connections > 4000)
    die("IN_FLIGHT or CONNECTIONS");
  salt = strtoull(argv[11], NULL, 10);
  samples = fopen(argv[12], "wb");
  if (!samples) die(argv[12]);
  Link *links = calloc((size_t)connections, sizeof *links);
  int poller = epoll_create1(0);
  for (int i = 0; i < connections; i++) {
    connect_link(&links[i], argv[1], port, with_tls, in_flight / connections + (i < in_flight % connections));
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = &links[i]};
    epoll_ctl(poller, EPOLL_CTL_ADD, links[i].fd, &event);
  }
  run(links, connections, poller, atof(argv[8]), 0);
  uint64_t warm_failed = failed;
  puts("warm");
  fflush(stdout);
  if (getchar() == EOF) return 1;
  failed = 0, is_measuring = 1;
  double used = cpu_s();
  uint64_t began = now_ns();
  run(links, connections, poller, atof(argv[9]), strtoull(argv[10], NULL, 10));
  double seconds = (double)(now_ns() - began) / 1e9;
  printf("{\"requests\": %llu, \"failed\": %llu, \"seconds\": %.6f, \"p50_us\": %.2f, \"p99_us\": %.2f, "
         "\"load_cpu_s\": %.4f}\n",
         (unsigned long long)done, (unsigned long long)(failed + warm_failed), seconds,
         quantile_us(0.5), quantile_us(0.99), cpu_s() - used);
  fclose(samples);
  return 0;
}
