/* breaker_news.c - changes of state that the core's own threads bring about, on their way to a breaker's listeners
 *
 * A writer's shippers use its breaker, and never take Python's lock. What they change is put on a list, and the main
 * thread tells the listeners when it next runs Python code. Pushing needs no lock, for a fork must find none held.
 */
#include <stdatomic.h>

#include "alloc.h"
#include "breaker_type.h"

typedef struct item {
    struct item *next;
    dbi_breaker_event event;
} item;

struct breaker_news {
    breaker_object *breaker; /* NULL: it is gone; changed and read with the GIL held */
    _Atomic(item *) newest;
    atomic_bool called; /* the main thread has been asked to come */
};

breaker_news *breaker_news_new(breaker_object *breaker) {
    breaker_news *news = dbi_calloc(1, sizeof *news);

    if (news != NULL)
        news->breaker = breaker;
    return news;
}

/* Oldest first; to be freed one by one. */
static item *items_take(breaker_news *news) {
    item *newest = atomic_exchange(&news->newest, NULL), *oldest = NULL;

    while (newest != NULL) {
        item *next = newest->next;

        newest->next = oldest;
        oldest = newest;
        newest = next;
    }
    return oldest;
}

/* Runs in the main thread, as the interpreter's pending call: with the GIL, and after the breaker's end, too. */
static int news_tell(void *arg) {
    breaker_news *news = arg;
    breaker_object *breaker = (breaker_object *)Py_XNewRef((PyObject *)news->breaker);
    item *next;

    atomic_store(&news->called, false); /* what comes from here on calls again */
    for (item *told = items_take(news); told != NULL; told = next) {
        next = told->next;
        if (breaker != NULL)
            breaker_tell(breaker, &told->event);
        dbi_free(told);
    }
    if (breaker == NULL)
        dbi_free(news);
    Py_XDECREF((PyObject *)breaker);
    return 0;
}

void breaker_news_add(breaker_news *news, const dbi_breaker_event *event) {
    item *added = dbi_malloc(sizeof *added);

    if (added == NULL) /* the breaker's figures show the change all the same */
        return;
    added->event = *event;
    added->next = atomic_load(&news->newest);
    while (!atomic_compare_exchange_weak(&news->newest, &added->next, added))
        continue;
    if (!atomic_exchange(&news->called, true) && Py_AddPendingCall(news_tell, news) != 0)
        atomic_store(&news->called, false); /* too many wait: the next change calls for this one, too */
}

void breaker_news_free(breaker_news *news) {
    if (news == NULL)
        return;
    news->breaker = NULL;
    if (atomic_load(&news->called)) /* the call that is on its way frees it */
        return;
    for (item *told = items_take(news), *next; told != NULL; told = next) {
        next = told->next;
        dbi_free(told);
    }
    dbi_free(news);
}
