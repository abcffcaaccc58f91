/* postgres_fake.h - a server of PostgreSQL's protocol, in this process, that misbehaves to order
 *
 * It takes the startup message, asks for a password where the test gave it one, and answers statements by their text:
 *
 *     error CODE         ErrorResponse with that SQLSTATE, and a DETAIL        begin      ready, in a transaction
 *     fatal              FATAL 57P01, and the connection closed                rows N     N rows of one column
 *     reset              the connection reset                                  stall      nothing, ever
 *     read only          default_transaction_read_only reported as on          late       an answer after 500 ms
 *     copy               takes a COPY and counts its bytes                     copy fatal FATAL in the middle of it
 *     copy error         refuses the COPY's first rows                         copy stall reads nothing of it
 *     copy noise         16 MB of notices before it reads any row
 */
#ifndef DBI_POSTGRES_FAKE_H
#define DBI_POSTGRES_FAKE_H

#include <arpa/inet.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <sys/socket.h>
#include <unistd.h>

#include "clock.h"
#include "test.h"

#define FAKE_CONNECTIONS 128

typedef struct fake fake;

typedef struct fake_client {
    fake *server;
    pthread_t thread;
    atomic_int fd;
} fake_client;

struct fake {
    int fd;
    pthread_t thread;
    char conninfo[200];
    int port;
    _Atomic(const char *) password;                    /* NULL = none is asked for */
    void (*on_password)(void *arg, const char *given); /* called before the answer to a password */
    void *arg;
    atomic_bool mute;   /* says nothing from the startup message on */
    atomic_bool asleep; /* reads no statement for the time being */
    atomic_bool deaf;   /* answers no statement any more */
    atomic_int connected, terminated, statements, checks;
    atomic_size_t copied;
    fake_client clients[FAKE_CONNECTIONS];
    atomic_int count;
};

static inline void sleep_ms(int64_t ms) {
    const struct timespec pause = {.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000 * DBI_NS_PER_MS)};
    (void)nanosleep(&pause, NULL);
}

static inline int64_t after_ms(int64_t ms) {
    return dbi_clock_deadline(NULL, ms * DBI_NS_PER_MS);
}

static inline bool fake_read(int fd, void *bytes, size_t size) {
    return size == 0 || recv(fd, bytes, size, MSG_WAITALL) == (ssize_t)size;
}

static inline uint32_t fake_number(const unsigned char bytes[4]) {
    return (uint32_t)bytes[0] << 24 | (uint32_t)bytes[1] << 16 | (uint32_t)bytes[2] << 8 | bytes[3];
}

/* One message: its type, its length, and the body given. */
static inline void fake_send(int fd, char type, const void *body, size_t size) {
    unsigned char head[5] = {(unsigned char)type};
    uint32_t length = htonl((uint32_t)size + 4);

    memcpy(head + 1, &length, 4);
    (void)send(fd, head, 5, MSG_NOSIGNAL | MSG_MORE);
    (void)send(fd, body, size, MSG_NOSIGNAL);
}

static inline void fake_ready(int fd, char status) {
    fake_send(fd, 'Z', &status, 1);
}

static inline void fake_done(int fd, const char *tag, char status) {
    fake_send(fd, 'C', tag, strlen(tag) + 1);
    fake_ready(fd, status);
}

static inline void fake_parameter(int fd, const char *name, const char *value) {
    char body[100];
    size_t size = strlen(name) + 1;

    memcpy(body, name, size);
    memcpy(body + size, value, strlen(value) + 1);
    fake_send(fd, 'S', body, size + strlen(value) + 1);
}

static inline void fake_error(int fd, char type, const char *severity, const char *sqlstate, const char *text) {
    char body[5000];
    int size = snprintf(body, sizeof body, "S%s%cV%s%cC%s%cM%s%cDKey (secret)=(row data).%c", severity, 0, severity, 0,
                        sqlstate, 0, text, 0, 0);

    fake_send(fd, type, body, (size_t)size + 1);
}

/* Reads nothing and says nothing until the client, or the test, is gone. */
static inline void fake_stall(int fd) {
    struct pollfd end = {.fd = fd, .events = POLLRDHUP};

    (void)poll(&end, 1, -1);
}

static inline void fake_reset(fake_client *client) {
    const struct linger linger = {.l_onoff = 1};
    int fd = atomic_exchange(&client->fd, -1);

    (void)setsockopt(fd, SOL_SOCKET, SO_LINGER, &linger, sizeof linger);
    (void)close(fd);
}

/* Messages of the client until `last` has come; false when the client has gone. Bytes of CopyData are counted. */
static inline bool fake_skip(fake_client *client, const char *last, char *type) {
    static _Thread_local unsigned char body[1 << 17];

    for (;;) {
        unsigned char head[5];
        size_t size;

        if (!fake_read(client->fd, head, 5))
            return false;
        size = fake_number(head + 1) - 4;
        CHECK(size <= sizeof body);
        if (!fake_read(client->fd, body, size))
            return false;
        if (head[0] == 'd')
            client->server->copied += size;
        if (strchr(last, head[0]) != NULL) {
            *type = (char)head[0];
            return true;
        }
    }
}

/* True: the connection goes on. */
static inline bool fake_copy(fake_client *client, const char *how) {
    int fd = client->fd;
    char type;

    fake_send(fd, 'G', "\1\0\0", 3);
    if (strcmp(how, " noise") == 0) {
        char text[4097];

        memset(text, '.', sizeof text - 1);
        text[sizeof text - 1] = '\0';
        for (int i = 0; i < 4000; i++)
            fake_error(fd, 'N', "NOTICE", "00000", text);
    }
    if (strcmp(how, " stall") == 0) {
        fake_stall(fd);
        return false;
    }
    if (strcmp(how, " error") == 0 || strcmp(how, " fatal") == 0) {
        if (!fake_skip(client, "d", &type))
            return false;
        fake_error(fd, 'E', strcmp(how, " fatal") == 0 ? "FATAL" : "ERROR",
                   strcmp(how, " fatal") == 0 ? "57P01" : "22P04", "these rows do not do");
        if (strcmp(how, " fatal") == 0)
            return false;
        fake_ready(fd, 'I');
        return fake_skip(client, "cf", &type);
    }
    if (!fake_skip(client, "cf", &type))
        return false;
    if (type == 'c')
        fake_done(fd, "COPY 1", 'I');
    else {
        fake_error(fd, 'E', "ERROR", "57014", "COPY from stdin failed");
        fake_ready(fd, 'I');
    }
    return true;
}

static inline bool fake_statement(fake_client *client, const char *sql) {
    int fd = client->fd, rows;

    client->server->statements++;
    if (client->server->deaf || strcmp(sql, "stall") == 0) {
        fake_stall(fd);
        return false;
    }
    if (sql[0] == '\0') {
        client->server->checks++;
        fake_send(fd, 'I', "", 0);
        fake_ready(fd, 'I');
    } else if (strncmp(sql, "error ", 6) == 0) {
        fake_error(fd, 'E', "ERROR", sql + 6, "it was refused");
        fake_ready(fd, 'I');
    } else if (strcmp(sql, "fatal") == 0) {
        fake_error(fd, 'E', "FATAL", "57P01", "terminating connection");
        return false;
    } else if (strcmp(sql, "reset") == 0) {
        fake_reset(client);
        return false;
    } else if (strncmp(sql, "copy", 4) == 0) {
        return fake_copy(client, sql + 4);
    } else if (strncmp(sql, "rows ", 5) == 0) {
        rows = atoi(sql + 5);
        fake_send(fd, 'T', "\0\1n\0\0\0\0\0\0\0\0\0\0\27\0\4\377\377\377\377\0\0", 22);
        for (int i = 0; i < rows; i++)
            fake_send(fd, 'D', "\0\1\0\0\0\1x", 7);
        fake_done(fd, "SELECT", 'I');
    } else {
        if (strcmp(sql, "read only") == 0)
            fake_parameter(fd, "default_transaction_read_only", "on");
        if (strcmp(sql, "late") == 0)
            sleep_ms(500);
        fake_done(fd, "DONE", strcmp(sql, "begin") == 0 ? 'T' : 'I');
    }
    return true;
}

/* The startup message, the password where one is wanted, and what comes before the first ReadyForQuery. */
static inline bool fake_startup(fake_client *client) {
    fake *server = client->server;
    unsigned char head[8];
    char body[2048];
    size_t size;

    if (!fake_read(client->fd, head, 8) || (size = fake_number(head) - 8) > sizeof body ||
        !fake_read(client->fd, body, size))
        return false;
    if (server->mute) {
        fake_stall(client->fd);
        return false;
    }
    if (server->password != NULL) {
        fake_send(client->fd, 'R', "\0\0\0\3", 4); /* in clear text */
        if (!fake_read(client->fd, head, 5) || (size = fake_number(head + 1) - 4) > sizeof body ||
            !fake_read(client->fd, body, size))
            return false;
        if (server->on_password != NULL)
            server->on_password(server->arg, body);
        if (strcmp(body, server->password) != 0) {
            fake_error(client->fd, 'E', "FATAL", "28P01", "password authentication failed for user \"u\"");
            return false;
        }
    }
    fake_send(client->fd, 'R', "\0\0\0\0", 4);
    fake_parameter(client->fd, "client_encoding", "UTF8");
    fake_parameter(client->fd, "default_transaction_read_only", "off");
    fake_send(client->fd, 'K', "\0\0\0\7\0\0\0\1", 8);
    fake_ready(client->fd, 'I');
    server->connected++;
    return true;
}

/* The body of a message; of a long one its beginning. */
static inline bool fake_body(fake_client *client, char *body, size_t room, size_t size) {
    static _Thread_local char rest[65536];
    size_t kept = size < room - 1 ? size : room - 1;

    while (client->server->asleep)
        sleep_ms(1);
    if (!fake_read(client->fd, body, kept))
        return false;
    body[kept] = '\0';
    for (size_t left = size - kept, piece; left > 0; left -= piece) {
        piece = left < sizeof rest ? left : sizeof rest;
        if (!fake_read(client->fd, rest, piece))
            return false;
    }
    return true;
}

static inline void *fake_serve(void *arg) {
    fake_client *client = arg;
    bool open = fake_startup(client);
    char body[4096];

    while (open) {
        unsigned char head[5];

        if (!fake_read(client->fd, head, 5) || !fake_body(client, body, sizeof body, fake_number(head + 1) - 4))
            break;
        switch (head[0]) {
        case 'Q':
            open = fake_statement(client, body);
            break;
        case 'S': /* of the extended protocol only its end is looked at */
            client->server->statements++;
            fake_send(client->fd, '1', "", 0);
            fake_send(client->fd, '2', "", 0);
            fake_send(client->fd, 'n', "", 0);
            fake_done(client->fd, "DONE", 'I');
            break;
        case 'X':
            client->server->terminated++;
            open = false;
            break;
        default:
            break;
        }
    }
    (void)shutdown(client->fd, SHUT_RDWR);
    return NULL;
}

static inline void *fake_accept(void *arg) {
    fake *server = arg;
    int fd;

    while ((fd = accept(server->fd, NULL, NULL)) >= 0) {
        fake_client *client = &server->clients[server->count];

        CHECK(server->count < FAKE_CONNECTIONS);
        client->server = server;
        client->fd = fd;
        CHECK_INT(setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){1}, sizeof(int)), 0);
        CHECK_INT(pthread_create(&client->thread, NULL, fake_serve, client), 0);
        server->count++;
    }
    return NULL;
}

static inline void fake_up(fake *server) {
    struct sockaddr_in name = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t size = sizeof name;

    server->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    /* small ones, so that who does not read is noticed soon */
    CHECK_INT(setsockopt(server->fd, SOL_SOCKET, SO_RCVBUF, &(int){65536}, sizeof(int)), 0);
    CHECK_INT(setsockopt(server->fd, SOL_SOCKET, SO_SNDBUF, &(int){65536}, sizeof(int)), 0);
    CHECK_INT(bind(server->fd, (struct sockaddr *)&name, size), 0);
    CHECK_INT(listen(server->fd, 128), 0);
    CHECK_INT(getsockname(server->fd, (struct sockaddr *)&name, &size), 0);
    server->port = ntohs(name.sin_port);
    (void)snprintf(server->conninfo, sizeof server->conninfo,
                   "host=127.0.0.1 port=%d user=u dbname=d sslmode=disable gssencmode=disable", server->port);
    CHECK_INT(pthread_create(&server->thread, NULL, fake_accept, server), 0);
}

static inline void fake_down(fake *server) {
    (void)shutdown(server->fd, SHUT_RDWR);
    CHECK_INT(pthread_join(server->thread, NULL), 0);
    (void)close(server->fd);
    for (int i = 0; i < server->count; i++) {
        (void)shutdown(server->clients[i].fd, SHUT_RDWR);
        CHECK_INT(pthread_join(server->clients[i].thread, NULL), 0);
        (void)close(server->clients[i].fd);
    }
}

#endif
