/* c11_threads.h - C11's threads on top of POSIX's, for ThreadSanitizer
 *
 * librdkafka may be built on <threads.h>, which the C library implements without ThreadSanitizer noticing: its threads
 * would run unknown to it, and what its queues order would look like races. The definitions of the test program come
 * before the C library's.
 */
#ifndef DBI_C11_THREADS_H
#define DBI_C11_THREADS_H

#if defined(__SANITIZE_THREAD__)
#define C11_THREADS_WANTED
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define C11_THREADS_WANTED
#endif
#endif

#ifdef C11_THREADS_WANTED

#include <errno.h>
#include <pthread.h>
#include <stdint.h>
#include <stdlib.h>
#include <threads.h>

_Static_assert(sizeof(mtx_t) == sizeof(pthread_mutex_t) && sizeof(cnd_t) == sizeof(pthread_cond_t) &&
                   sizeof(thrd_t) == sizeof(pthread_t),
               "the C library makes them the same objects");

#define C11_EXPORT __attribute__((visibility("default")))

typedef struct c11_start {
    thrd_start_t run;
    void *arg;
} c11_start;

static void *c11_main(void *arg) {
    c11_start start = *(c11_start *)arg;

    free(arg);
    return (void *)(intptr_t)start.run(start.arg);
}

C11_EXPORT int thrd_create(thrd_t *thread, thrd_start_t run, void *arg) {
    c11_start *start = malloc(sizeof *start);
    int error;

    if (start == NULL)
        return thrd_nomem;
    *start = (c11_start){run, arg};
    error = pthread_create((pthread_t *)thread, NULL, c11_main, start);
    if (error != 0)
        free(start);
    return error == 0 ? thrd_success : error == EAGAIN ? thrd_nomem : thrd_error;
}

C11_EXPORT int thrd_join(thrd_t thread, int *result) {
    void *value;
    int error = pthread_join((pthread_t)thread, &value);

    if (error == 0 && result != NULL)
        *result = (int)(intptr_t)value;
    return error == 0 ? thrd_success : thrd_error;
}

C11_EXPORT int mtx_init(mtx_t *mutex, int type) {
    pthread_mutexattr_t attr;
    int error;

    (void)pthread_mutexattr_init(&attr);
    if (type & mtx_recursive)
        (void)pthread_mutexattr_settype(&attr, PTHREAD_MUTEX_RECURSIVE);
    error = pthread_mutex_init((pthread_mutex_t *)mutex, &attr);
    (void)pthread_mutexattr_destroy(&attr);
    return error == 0 ? thrd_success : thrd_error;
}

C11_EXPORT int mtx_lock(mtx_t *mutex) {
    return pthread_mutex_lock((pthread_mutex_t *)mutex) == 0 ? thrd_success : thrd_error;
}

C11_EXPORT int mtx_unlock(mtx_t *mutex) {
    return pthread_mutex_unlock((pthread_mutex_t *)mutex) == 0 ? thrd_success : thrd_error;
}

C11_EXPORT void mtx_destroy(mtx_t *mutex) {
    (void)pthread_mutex_destroy((pthread_mutex_t *)mutex);
}

C11_EXPORT int cnd_init(cnd_t *cond) {
    return pthread_cond_init((pthread_cond_t *)cond, NULL) == 0 ? thrd_success : thrd_error;
}

C11_EXPORT int cnd_signal(cnd_t *cond) {
    return pthread_cond_signal((pthread_cond_t *)cond) == 0 ? thrd_success : thrd_error;
}

C11_EXPORT int cnd_broadcast(cnd_t *cond) {
    return pthread_cond_broadcast((pthread_cond_t *)cond) == 0 ? thrd_success : thrd_error;
}

C11_EXPORT int cnd_wait(cnd_t *cond, mtx_t *mutex) {
    return pthread_cond_wait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex) == 0 ? thrd_success : thrd_error;
}

C11_EXPORT int cnd_timedwait(cnd_t *cond, mtx_t *mutex, const struct timespec *until) {
    int error = pthread_cond_timedwait((pthread_cond_t *)cond, (pthread_mutex_t *)mutex, until);

    return error == 0 ? thrd_success : error == ETIMEDOUT ? thrd_timedout : thrd_error;
}

C11_EXPORT void cnd_destroy(cnd_t *cond) {
    (void)pthread_cond_destroy((pthread_cond_t *)cond);
}

/* librdkafka itself is not instrumented: what it orders by atomics, and its own order of locks, is its business. */
const char *__tsan_default_suppressions(void);
C11_EXPORT const char *__tsan_default_suppressions(void) {
    return "called_from_lib:librdkafka.so\nrace:librdkafka.so\ndeadlock:librdkafka.so\n";
}

#endif
#endif
