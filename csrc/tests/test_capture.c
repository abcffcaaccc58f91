/* test_capture.c - a capture that reads nothing: how it is made, refused, started and stopped */
#include "cdc/capture.h"

#include "kafka_mock.h"

static void outlet_up(dbi_outlet **outlet, dbi_rc *rc, dbi_err *err) {
    const dbi_kafka_property properties[] = {{"bootstrap.servers", NOWHERE}, {"log_level", "0"}};
    dbi_outlet_config config;

    dbi_outlet_defaults(&config);
    config.properties = properties;
    config.property_count = COUNT_OF(properties);
    *rc = dbi_outlet_new(outlet, &config, err);
}

static dbi_capture_config config_for(dbi_outlet *outlet) {
    static const char *const messages[] = {"audit", "*"};
    dbi_capture_config config;

    dbi_capture_defaults(&config);
    config.name = "orders";
    config.conninfo = "host=127.0.0.1 port=1 user=u password=hidden dbname=d";
    config.slot = "s";
    config.publication = "p";
    config.prefix = "orders";
    config.version = "test";
    config.dead_letter_topic = "orders.dead-letter";
    config.messages = messages;
    config.message_count = COUNT_OF(messages);
    config.outlet = outlet;
    return config;
}

TEST(capture_is_made_or_not) {
    dbi_outlet *outlet = NULL;
    dbi_capture *capture = NULL;
    dbi_capture_config config;
    dbi_capture_view view;
    dbi_err err;
    dbi_rc rc;

    outlet_up(&outlet, &rc, &err);
    TRY(rc);
    config = config_for(outlet);
    TRY(dbi_capture_new(&capture, &config, &err));
    dbi_capture_read(capture, &view);
    CHECK_INT(view.state, DBI_CAPTURE_STOPPED);
    CHECK_INT(view.refusals, 0);
    dbi_capture_free(capture);

    config.slot = "";
    TRY_RC(dbi_capture_new(&capture, &config, &err), DBI_ECONFIG);
    CHECK_HAS(err.msg, "slot");
    config = config_for(outlet);
    config.conninfo = "password = hidden nonsense";
    TRY_RC(dbi_capture_new(&capture, &config, &err), DBI_ECONFIG);
    CHECK(strstr(err.msg, "hidden") == NULL);
    config = config_for(NULL);
    TRY_RC(dbi_capture_new(&capture, &config, &err), DBI_EINVAL);
done:
    dbi_capture_free(capture);
    dbi_outlet_free(outlet);
}

TEST_WITH(capture_tries_until_it_is_stopped, .timeout_s = 60, .unswept = "its thread allocates, too") {
    dbi_outlet *outlet;
    dbi_capture *capture;
    dbi_capture_config config;
    dbi_capture_view view;
    bool ended;
    dbi_err err;
    dbi_rc rc;

    outlet_up(&outlet, &rc, &err);
    CHECK_RC(rc, DBI_OK);
    config = config_for(outlet);
    CHECK_RC(dbi_capture_new(&capture, &config, &err), DBI_OK);
    for (int round = 0; round < 2; round++) {
        CHECK_RC(dbi_capture_start(capture, &err), DBI_OK);
        CHECK_RC(dbi_capture_start(capture, &err), DBI_ESTATE);
        do {
            sleep_ms(1);
            dbi_capture_read(capture, &view);
        } while (view.state != DBI_CAPTURE_WAITING);
        CHECK_INT(view.error.rc, DBI_EUNREACHABLE);
        CHECK(strstr(view.error.msg, "hidden") == NULL);
        CHECK_RC(dbi_capture_join(capture, after_ms(1), &ended, &err), DBI_OK);
        CHECK(!ended);
        dbi_capture_stop(capture, after_ms(1000));
        CHECK_RC(dbi_capture_join(capture, after_ms(20000), &ended, &err), DBI_OK);
        CHECK(ended);
        dbi_capture_read(capture, &view);
        CHECK_INT(view.state, DBI_CAPTURE_STOPPED);
    }
    dbi_capture_free(capture);
    dbi_outlet_free(outlet);
}

TEST_MAIN()
