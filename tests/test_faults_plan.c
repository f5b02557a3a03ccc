/* Fault plans: what a good one becomes, and each mistake with its message. */
#include "tests/temp_folder.h"

#include "sparse/rng.h"
#include "tests/faults_check.h"

enum { NODES = 4 };

static struct hm_faults read_plan(const char *plan)
{
    struct hm_faults faults;
    struct hm_err err = {""};
    if (hm_faults_parse(&faults, plan, strlen(plan), "p.json", "", NODES, &err))
        fail_msg("%s\n%s", err.text, plan);
    return faults;
}

/* One line for each event. */
static void assert_story(const struct hm_faults *faults, const char *expected)
{
    char text[4000] = "";
    size_t at = 0;
    for (size_t i = 0; i < faults->n_events; i++) {
        char what[200], when[HM_NUMBER_TEXT_MAX];
        hm_fault_describe(&faults->event[i], what, sizeof what);
        hm_duration_print((double)faults->event[i].at_us, when);
        at += (size_t)snprintf(text + at, sizeof text - at, "%s %s\n", when, what);
    }
    assert_string_equal(text, expected);
}

static void assert_refused(const char *plan, const char *expected)
{
    struct hm_faults faults;
    struct hm_err err = {""};
    assert_int_equal(hm_faults_parse(&faults, plan, strlen(plan), "p.json", NULL, NODES, &err),
                     HM_EINPUT);
    assert_string_equal(err.text, expected);
    assert_int_equal(faults.n_events, 0);
    assert_null(faults.text);
    hm_faults_close(&faults);
}

/* A plan of the one event, which begins in column 13. */
static void assert_event_refused(const char *event, const char *expected)
{
    char plan[1000];
    snprintf(plan, sizeof plan, "{\"events\": [%s]}", event);
    assert_refused(plan, expected);
}

/* ---- good plans ---- */

static void test_story(void **state)
{
    (void)state;
    struct hm_faults faults = read_plan(
        "{\"events\": [\n"
        "{\"at\": \"7s\", \"do\": \"cut\", \"from\": [0, 1], \"to\": \"*\", \"for\": \"2s\"},\n"
        "{\"at\": \"1s\", \"do\": \"pause\", \"node\": [1, \"3\"], \"for\": \"500ms\"},\n"
        "{\"at\": \"2s\", \"do\": \"kill\", \"node\": 2, \"restart_after\": \"1s\"},\n"
        "{\"at\": \"4s\", \"do\": \"join\", \"count\": 2, \"comment\": \"two more\"},\n"
        "{\"at\": \"5s\", \"do\": \"leave\", \"node\": 5},\n"
        "{\"at\": \"6s\", \"do\": \"cut\", \"from\": 0, \"to\": 4, \"one_way\": true},\n"
        "{\"at\": \"9s\", \"do\": \"heal\", \"to\": 4},\n"
        "{\"at\": \"9s\", \"do\": \"reset\", \"from\": 0, \"to\": 1},\n"
        "{\"at\": \"10s\", \"do\": \"flip\", \"node\": 2},\n"
        "{\"at\": \"10s\", \"do\": \"flip\", \"node\": 4, \"what\": \"snapshot\"},\n"
        "{\"at\": \"11s\", \"do\": \"clock\", \"node\": 1, \"by\": \"-1.5s\"}\n"
        "]}");
    assert_int_equal(faults.n_joins, 2);
    assert_story(&faults, "1s pause node 1\n"
                          "1s pause node 3\n"
                          "1500ms resume node 1\n"
                          "1500ms resume node 3\n"
                          "2s kill node 2\n"
                          "3s restart node 2\n"
                          "4s join node 4\n"
                          "4s join node 5\n"
                          "5s leave node 5\n"
                          "6s cut from 0 to 4, one way\n"
                          "7s cut from 0-1 to * for 2s\n"
                          "9s end of cut from 0-1 to *\n"
                          "9s heal from * to 4\n"
                          "9s reset from 0 to 1\n"
                          "10s flip node 2 in its next delta\n"
                          "10s flip node 4 in its next snapshot\n"
                          "11s clock node 1 by -1500ms\n");
    hm_faults_close(&faults);
}

/* A later entry overrides what it sets, where and when it holds. */
static void test_links(void **state)
{
    (void)state;
    struct hm_faults faults = read_plan(
        "{\"links\": ["
        "{\"latency\": \"const:1ms\", \"drop\": 0.1, \"bandwidth\": \"10MB\"},"
        "{\"from\": 0, \"to\": \"1-2\", \"since\": \"2s\", \"until\": \"4s\", \"drop\": 0.5, "
        "\"duplicate\": 0.2, \"reorder\": 1},"
        "{\"from\": [0], \"to\": [2], \"since\": \"3s\", \"latency\": \"uniform:0,2ms\"}]}");
    struct hm_link_now now = hm_faults_link(&faults, 0, 1, 0);
    assert_true(now.latency == &faults.link[0].latency);
    assert_true(now.drop == .1 && now.bandwidth == 1e7 && now.duplicate == 0 && !now.cut);
    assert_int_equal(now.until_us, 2000000);
    now = hm_faults_link(&faults, 0, 1, 2000000);
    assert_true(now.drop == .5 && now.duplicate == .2 && now.reorder == 1 && now.bandwidth == 1e7);
    assert_int_equal(now.until_us, 4000000);
    now = hm_faults_link(&faults, 0, 1, 4000000);
    assert_true(now.drop == .1 && now.duplicate == 0);
    assert_true(now.until_us == HM_FAULTS_FOREVER);
    now = hm_faults_link(&faults, 1, 0, 3000000); /* the other way nothing was said */
    assert_true(now.drop == .1 && now.until_us == HM_FAULTS_FOREVER);
    now = hm_faults_link(&faults, 0, 2, 2500000);
    assert_true(now.latency == &faults.link[0].latency);
    assert_int_equal(now.until_us, 3000000);
    now = hm_faults_link(&faults, 0, 2, 3000000);
    assert_true(now.latency == &faults.link[2].latency && now.drop == .5);
    now = hm_faults_link(&faults, 9, 17, 0); /* who comes later is of all */
    assert_true(now.drop == .1);
    hm_faults_close(&faults);
    now = hm_faults_link(&faults, 0, 1, 0); /* no plan */
    assert_true(!now.latency && !now.cut && now.until_us == HM_FAULTS_FOREVER);
}

/* When the link from a to b is cut, as far as whole seconds show. */
static void assert_cut(const struct hm_faults *faults, uint32_t a, uint32_t b, const char *expected)
{
    char text[16] = "";
    for (uint64_t s = 0; s < strlen(expected); s++)
        text[s] = hm_faults_link(faults, a, b, s * 1000000).cut ? 'x' : '-';
    assert_string_equal(text, expected);
}

static void test_cuts(void **state)
{
    (void)state;
    struct hm_faults faults = read_plan(
        "{\"events\": ["
        "{\"at\": \"1s\", \"do\": \"cut\", \"from\": 0, \"to\": \"1-3\", \"for\": \"5s\"},"
        "{\"at\": \"2s\", \"do\": \"cut\", \"from\": 1, \"to\": 0, \"for\": \"1s\"},"
        "{\"at\": \"4s\", \"do\": \"heal\", \"from\": 0, \"to\": 1},"
        "{\"at\": \"5s\", \"do\": \"heal\", \"from\": 2, \"to\": 0, \"one_way\": true},"
        "{\"at\": \"7s\", \"do\": \"cut\", \"from\": 2, \"to\": 3, \"one_way\": true}]}");
    assert_cut(&faults, 0, 1, "-xxx------");
    assert_cut(&faults, 1, 0, "-xxx------");
    assert_cut(&faults, 0, 2, "-xxxxx----");
    assert_cut(&faults, 2, 0, "-xxxx-----");
    assert_cut(&faults, 3, 0, "-xxxxx----");
    assert_cut(&faults, 1, 2, "----------");
    assert_cut(&faults, 2, 3, "-------xxx");
    assert_cut(&faults, 3, 2, "----------");
    /* how long it stays so: to the next beginning, end or healing of a cut of this link */
    static const uint64_t until[] = {1, 2, 3, 4};
    for (size_t i = 0; i < sizeof until / sizeof until[0]; i++)
        assert_int_equal(hm_faults_link(&faults, 1, 0, i * 1000000).until_us, until[i] * 1000000);
    assert_int_equal(hm_faults_link(&faults, 3, 0, 1000000).until_us, 6000000);
    assert_true(hm_faults_link(&faults, 1, 2, 0).until_us == HM_FAULTS_FOREVER);
    hm_faults_close(&faults);
}

/* Ends of cuts at one time come in the order in which the cuts began, wherever the file has them.
 */
static void test_written_like_it_was_read(void **state)
{
    (void)state;
    struct hm_faults faults =
        read_plan("{\"events\": ["
                  "{\"at\": \"2s\", \"do\": \"cut\", \"from\": 0, \"to\": 1, \"for\": \"3s\"},"
                  "{\"at\": \"5s\", \"do\": \"kill\", \"node\": 1},"
                  "{\"at\": \"1s\", \"do\": \"cut\", \"from\": 2, \"to\": 3, \"for\": \"4s\"}]}");
    const char *story = "1s cut from 2 to 3 for 4s\n"
                        "2s cut from 0 to 1 for 3s\n"
                        "5s end of cut from 2 to 3\n"
                        "5s end of cut from 0 to 1\n"
                        "5s kill node 1\n";
    assert_story(&faults, story);
    char *text = hm_faults_write(&faults);
    struct hm_faults again = read_plan(text);
    assert_story(&again, story);
    free(text);
    hm_faults_close(&again);
    hm_faults_close(&faults);
}

static void test_nodes(void **state)
{
    (void)state;
    struct hm_faults faults =
        read_plan("{\"nodes\": ["
                  "{\"node\": \"*\", \"speed\": \"20k\", \"step_time\": \"gauss:17ms,3ms\"},"
                  "{\"node\": [1, 3], \"delay\": \"const:90ms\"},"
                  "{\"node\": 3, \"speed\": 100}]}");
    struct hm_node_pace pace = hm_faults_pace(&faults, 0);
    assert_true(pace.speed == 20000 && pace.step_time && !pace.delay);
    pace = hm_faults_pace(&faults, 1);
    assert_true(pace.speed == 20000 && pace.delay == &faults.node[1].delay);
    pace = hm_faults_pace(&faults, 3);
    assert_true(pace.speed == 100 && pace.delay && pace.step_time == &faults.node[0].step_time);
    hm_faults_close(&faults);
}

static void test_trace_beside_the_plan(void **state)
{
    (void)state;
    struct hm_faults faults;
    struct hm_err err;
    const char *path = temp_text("p.json", "{\"links\": [{\"latency\": \"trace:t\"}]}");
    temp_text("t", "5\n");
    assert_int_equal(hm_faults_open(&faults, path, NODES, &err), HM_OK);
    uint32_t position = 0;
    assert_int_equal(hm_dist_draw(&faults.link[0].latency, NULL, &position), 5);
    hm_faults_close(&faults);
    assert_int_equal(hm_faults_open(&faults, temp_path("none.json"), NODES, &err), HM_EIO);
    hm_faults_close(&faults);
    char expected[700];
    snprintf(expected, sizeof expected,
             "%s:1:24: links[0].latency: cannot read %s: No such file or directory", path,
             temp_path("t"));
    unlink(temp_path("t"));
    assert_int_equal(hm_faults_open(&faults, path, NODES, &err), HM_EIO);
    assert_string_equal(err.text, expected);
}

/* ---- mistakes ---- */

static void test_no_plan(void **state)
{
    (void)state;
    assert_refused("", "p.json:1:0: this is no JSON: unexpected token near end of file");
    assert_refused("{\n\"links\": [,]}", "p.json:2:11: this is no JSON: unexpected token near ','");
    assert_refused("{\"links\": [],\n \"links\": []}",
                   "p.json:2:8: this is no JSON: duplicate object key near '\"links\"'");
    assert_refused("[]", "p.json:1:1: a list; expected an object with links, nodes and events");
    assert_refused(" 7", "p.json:1:2: 7; expected an object with links, nodes and events");
    assert_refused("{\"links\": [],\n  \"event\": []}",
                   "p.json:2:3: event: there is no such part; known are links, nodes, events and "
                   "comment");
    assert_refused("{\"nodes\": {}}", "p.json:1:11: nodes: an object; expected a list in brackets");
    assert_refused("{\"nodes\": [{\"node\": 0, \"speed\": 1}, 5]}",
                   "p.json:1:37: nodes[1]: 5; expected an object in braces");
    char *deep = malloc(5001);
    memset(deep, '[', 5000);
    deep[5000] = 0;
    assert_refused(deep, "p.json:1:2049: this is no JSON: maximum parsing depth reached near '['");
    free(deep);
    char *long_one = calloc(1, HM_FAULTS_BYTES_MAX + 2);
    memset(long_one, ' ', HM_FAULTS_BYTES_MAX + 1);
    assert_refused(long_one, "p.json: a plan has at most 1048576 bytes");
    free(long_one);
}

static void test_bad_links(void **state)
{
    (void)state;
    assert_refused(
        "{\"links\": [\n  {\"drop\": 0.1},\n  {\"drop\": 0.1, \"lag\": 1}]}",
        "p.json:3:17: links[1].lag: there is no such field; known are comment, from, to, "
        "since, until, latency, bandwidth, drop, duplicate and reorder");
    assert_refused("{\"links\": [{}]}", "p.json:1:12: links[0]: nothing is set; expected latency, "
                                        "bandwidth, drop, duplicate or reorder");
    assert_refused("{\"links\": [{\"drop\": 1.5}]}",
                   "p.json:1:21: links[0].drop: 1.5 is no probability; expected a number from 0 to "
                   "1");
    assert_refused(
        "{\"links\": [{\"reorder\": \"much\"}]}",
        "p.json:1:24: links[0].reorder: 'much' is no probability; expected a number from "
        "0 to 1");
    assert_refused("{\"links\": [{\"bandwidth\": \"0MB\"}]}",
                   "p.json:1:26: links[0].bandwidth: '0MB' is no rate; expected more than 0 a "
                   "second, such as \"10MB\"");
    assert_refused("{\"links\": [{\"bandwidth\": \"10MB/s\"}]}",
                   "p.json:1:26: links[0].bandwidth: '10MB/s' is no rate; expected more than 0 a "
                   "second, such as \"10MB\"");
    assert_refused("{\"links\": [{\"latency\": 5}]}",
                   "p.json:1:24: links[0].latency: 5 is no distribution; expected text such as "
                   "\"const:90ms\" or \"lognormal:200us,0.5\"");
    assert_refused("{\"links\": [{\"latency\": \"5ms\"}]}",
                   "p.json:1:24: links[0].latency: '5ms' is no distribution; expected const:90ms, "
                   "uniform:10ms,20ms, gauss:17ms,3ms, lognormal:200us,0.5 or trace:FILE");
    assert_refused("{\"links\": [{\"latency\": \"trace:x\"}]}",
                   "p.json:1:24: links[0].latency: 'trace:x': traces cannot be used here");
    assert_refused("{\"links\": [{\"drop\": 0, \"since\": \"2s\", \"until\": \"2s\"}]}",
                   "p.json:1:48: links[0].until: this is not after since; expected a later time");
    assert_refused("{\"links\": [{\"drop\": 0, \"since\": 2}]}",
                   "p.json:1:33: links[0].since: 2 is no duration; expected text with a unit us, "
                   "ms, s, m or h, such as \"1.5s\"");
    assert_refused("{\"links\": [{\"drop\": 0, \"from\": 2, \"to\": [2]}]}",
                   "p.json:1:12: links[0]: from and to are both node 2 alone: that is no link");
    assert_refused("{\"links\": [{\"drop\": 0, \"from\": 4}]}",
                   "p.json:1:32: links[0].from: there is no node 4; expected 0 to 3");
    assert_refused("{\"links\": [{\"drop\": 0, \"from\": []}]}",
                   "p.json:1:32: links[0].from: a list of 0; expected 1 to 1024");
    assert_refused("{\"links\": [{\"drop\": 0, \"from\": [0, -1]}]}",
                   "p.json:1:32: links[0].from: -1 names no nodes; expected a number from 0, text "
                   "such as \"0,3-5\" or \"*\", or a list of them");
    assert_refused("{\"links\": [{\"drop\": 0, \"from\": \"0-9,x\"}]}",
                   "p.json:1:32: links[0].from: '0-9,x' names no nodes; expected numbers from 0 to "
                   "65535 and ranges of them, such as \"0,3-5\", or \"*\"");
}

static void test_bad_nodes(void **state)
{
    (void)state;
    assert_refused("{\"nodes\": [{\"speed\": 1}]}",
                   "p.json:1:12: nodes[0]: 'node' is missing, which an entry of nodes needs");
    assert_refused("{\"nodes\": [{\"node\": 1}]}",
                   "p.json:1:12: nodes[0]: nothing is set; expected speed, step_time or delay");
    assert_refused(
        "{\"nodes\": [{\"node\": 1, \"speed\": -1}]}",
        "p.json:1:33: nodes[0].speed: -1 is no rate; expected more than 0 a second, such "
        "as 20000 or \"20k\"");
    assert_refused("{\"nodes\": [{\"node\": 1, \"drop\": 1}]}",
                   "p.json:1:24: nodes[0].drop: there is no such field; known are comment, node, "
                   "speed, step_time and delay");
}

static void test_bad_events(void **state)
{
    (void)state;
    assert_event_refused("{\"at\": \"1s\"}",
                         "p.json:1:13: events[0]: 'do' is missing, which every event needs");
    assert_event_refused("{\"do\": \"kill\", \"node\": 1}",
                         "p.json:1:13: events[0]: 'at' is missing, which kill needs");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"kill\"}",
                         "p.json:1:13: events[0]: 'node' is missing, which kill needs");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"murder\", \"node\": 1}",
                         "p.json:1:32: events[0].do: 'murder' is no fault; expected pause, resume, "
                         "kill, restart, leave, join, cut, heal, reset, flip or clock");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"end of cut\"}",
                         "p.json:1:32: events[0].do: 'end of cut' is no fault; expected pause, "
                         "resume, kill, restart, leave, join, cut, heal, reset, flip or clock");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"kill\", \"node\": 1, \"for\": \"1s\"}",
                         "p.json:1:51: events[0].for: kill takes no such field; it takes node, at, "
                         "do and restart_after");
    assert_event_refused("{\"at\": \"1\", \"do\": \"kill\", \"node\": 1}",
                         "p.json:1:20: events[0].at: '1' is no duration; expected a number from 0 "
                         "to 1000h with a unit us, ms, s, m or h, such as \"1.5s\"");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"pause\", \"node\": 1, \"for\": \"0s\"}",
                         "p.json:1:59: events[0].for: '0s' is too short; expected 1us or longer");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"pause\", \"node\": 1, \"for\": \"1000h\"}",
                         "p.json:1:59: events[0].for: this ends after 1000h");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"cut\", \"from\": 0}",
                         "p.json:1:13: events[0]: 'to' is missing, which cut needs");
    assert_event_refused(
        "{\"at\": \"1s\", \"do\": \"cut\", \"from\": 0, \"to\": 1, \"one_way\": 1}",
        "p.json:1:70: events[0].one_way: 1; expected true or false");
    assert_event_refused(
        "{\"at\": \"1s\", \"do\": \"flip\", \"node\": 1, \"what\": \"hello\"}",
        "p.json:1:59: events[0].what: 'hello' cannot be damaged; expected delta or "
        "snapshot");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"clock\", \"node\": 1, \"by\": \"0s\"}",
                         "p.json:1:58: events[0].by: '0s' is no jump; expected a duration forward "
                         "or back with its unit, such as \"+3s\" or \"-250ms\"");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"join\", \"count\": 0}",
                         "p.json:1:49: events[0].count: 0 is no count; expected 1 to 65532");
    assert_event_refused(
        "{\"at\": \"1s\", \"do\": \"join\"}, {\"at\": \"2s\", \"do\": \"leave\", "
        "\"node\": 5}",
        "p.json:1:77: events[1].node: there is no node 5; expected 0 to 4, joining "
        "ones included");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"kill\", \"node\": 1, \"comment\": 1}",
                         "p.json:1:62: events[0].comment: 1; expected text");
    assert_event_refused(
        "{\"at\": \"1s\", \"d\\u00f6\\u001b\": 1}",
        "p.json:1:26: events[0].d\xc3\xb6?: there is no such field; known are comment, from, to, "
        "node, at, do, for, restart_after, one_way, what, by and count");
    /* columns count characters, and line ends in texts are escapes */
    assert_event_refused(
        "{\"comment\": \"\xc3\xb6\xc3\xb6 [{\\\"\\n\",\n\"at\": 1}",
        "p.json:2:7: events[0].at: 1 is no duration; expected text with a unit us, "
        "ms, s, m or h, such as \"1.5s\"");
}

#define AT(time, what, node) "{\"at\": \"" time "\", \"do\": \"" what "\", \"node\": " node "}"

static void test_contradictions(void **state)
{
    (void)state;
    assert_event_refused(AT("3s", "restart", "2"), "p.json:1:13: events[0]: restart of node 2 at "
                                                   "3s: it works since the start");
    assert_event_refused(
        AT("1s", "kill", "2") "," AT("2s", "kill", "[1, 2]"),
        "p.json:1:51: events[1]: kill of node 2 at 2s: it is dead since the kill at "
        "1s (events[0])");
    assert_event_refused(
        AT("2s", "kill", "2") "," AT("1s", "kill", "2"),
        "p.json:1:13: events[0]: kill of node 2 at 2s: it is dead since the kill at "
        "1s (events[1])");
    assert_event_refused(AT("1s", "leave", "2") "," AT("2s", "restart", "2"),
                         "p.json:1:52: events[1]: restart of node 2 at 2s: it has left since the "
                         "leave at 1s (events[0])");
    assert_event_refused(AT("1s", "pause", "2") "," AT("2s", "leave", "2"),
                         "p.json:1:52: events[1]: leave of node 2 at 2s: it is paused since the "
                         "pause at 1s (events[0])");
    assert_event_refused(
        "{\"at\": \"1s\", \"do\": \"pause\", \"node\": 0, \"for\": \"5s\"},\n" AT("2s", "kill",
                                                                                  "0"),
        "p.json:1:13: events[0]: resume of node 0 at 6s: it is dead since the kill at 2s "
        "(events[1])");
    assert_event_refused(AT("1s", "resume", "2"), "p.json:1:13: events[0]: resume of node 2 at 1s: "
                                                  "it works since the start");
    assert_event_refused(AT("1s", "kill", "4") ", {\"at\": \"2s\", \"do\": \"join\"}",
                         "p.json:1:13: events[0]: kill of node 4 at 1s: it has not joined yet");
    assert_event_refused("{\"at\": \"1s\", \"do\": \"heal\"},\n"
                         "{\"at\": \"2s\", \"do\": \"cut\", \"from\": 0, \"to\": 1}",
                         "p.json:1:13: events[0]: nothing was cut before that could heal");
    struct hm_faults faults = read_plan("{\"events\": [" AT("1s", "pause", "2") "," AT(
        "2s", "kill", "2") "," AT("3s", "restart", "2") "," AT("4s", "leave", "2") "]}");
    hm_faults_close(&faults);
}

static void test_too_many_events(void **state)
{
    (void)state;
    char *plan = malloc(4000000), *p = plan;
    p += sprintf(p, "{\"events\": [");
    for (int i = 0; i < 8192; i++)
        p += sprintf(p,
                     "%s{\"at\":\"%ds\",\"do\":\"kill\",\"node\":\"*\",\"restart_after\":\"1ms\"}",
                     i ? ",\n" : "", i);
    struct hm_faults faults = read_plan((strcpy(p, "]}"), plan));
    assert_int_equal(faults.n_events, HM_FAULTS_ENTRIES_MAX);
    hm_faults_close(&faults);
    strcpy(p, ",\n{\"at\":\"9000s\",\"do\":\"kill\",\"node\":1}]}");
    assert_refused(plan, "p.json:8193:1: events[8192]: with this there are more than 65536 events, "
                         "one a node");
    free(plan);
}

/* Who carries a plan out points at the entry, not at what it became. */
static void test_refusal_by_who_carries_it_out(void **state)
{
    (void)state;
    struct hm_err err;
    struct hm_faults faults = read_plan("{\"events\": [\n" AT("2s", "kill", "2") ",\n  " AT(
        "1s", "leave", "1") "], \"links\": [{\"drop\": 1}]}");
    assert_int_equal(faults.event[0].type, HM_FAULT_LEAVE);
    assert_int_equal(hm_faults_refuse(&faults, HM_PART_EVENTS, faults.event[0].entry, &err,
                                      "%s cannot be done here", "this"),
                     HM_EUSAGE);
    assert_string_equal(err.text, "p.json:3:3: events[1]: this cannot be done here");
    hm_faults_refuse(&faults, HM_PART_LINKS, 0, &err, "nor this");
    assert_string_equal(err.text, "p.json:3:54: links[0]: nor this");
    hm_faults_close(&faults);
}

/* ---- any bytes ---- */

static char *seed_plan(size_t *n)
{
    char path[4096];
    const char *source = getenv("HOGMESH_SOURCE");
    if (!source)
        skip();
    snprintf(path, sizeof path, "%s/tests/golden/fuzz/faults/all-fields.json", source);
    return (char *)temp_read(path, n);
}

/* Replaces a piece of the plan by a piece from elsewhere in it, or by a character. */
static size_t mutate(char *plan, size_t n, struct hm_rng *rng)
{
    uint32_t at = hm_rng_below(rng, (uint32_t)n), from = hm_rng_below(rng, (uint32_t)n);
    uint32_t length = 1 + hm_rng_below(rng, 6);
    static const char characters[] = "0123456789\"{}[],:.-*smu\\e ";
    if (at + length > n || from + length > n)
        return n;
    switch (hm_rng_below(rng, 3)) {
    case 0:
        memmove(plan + at, plan + from, length);
        return n;
    case 1:
        memmove(plan + at, plan + at + length, n - at - length);
        return n - length;
    default:
        plan[at] = characters[hm_rng_below(rng, sizeof characters - 1)];
        return n;
    }
}

static void test_damaged_plans(void **state)
{
    (void)state;
    size_t n, accepted = 0;
    char *seed = seed_plan(&n), *plan = malloc(n);
    const char *only = getenv("FAULTS_SEED");
    assert_int_equal(faults_check((uint8_t *)seed, n), 1);
    for (uint64_t i = only ? strtoull(only, NULL, 0) : 0; i < 4000; i++) {
        struct hm_rng rng = hm_rng_seed(i, 0);
        size_t m = n;
        memcpy(plan, seed, n);
        for (uint32_t k = hm_rng_below(&rng, 3) + 1; k; k--)
            m = mutate(plan, m, &rng);
        char *exact = malloc(m);
        memcpy(exact, plan, m);
        snprintf(faults_check_repeat, sizeof faults_check_repeat,
                 "FAULTS_SEED=%llu tests/test_faults_plan", (unsigned long long)i);
        accepted += (size_t)faults_check((uint8_t *)exact, m);
        free(exact);
        if (only)
            break;
    }
    assert_true(only || (accepted > 100 && accepted < 3900));
    free(seed);
    free(plan);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_story),
        cmocka_unit_test(test_links),
        cmocka_unit_test(test_cuts),
        cmocka_unit_test(test_written_like_it_was_read),
        cmocka_unit_test(test_nodes),
        cmocka_unit_test_setup_teardown(test_trace_beside_the_plan, temp_setup, temp_teardown),
        cmocka_unit_test(test_no_plan),
        cmocka_unit_test(test_bad_links),
        cmocka_unit_test(test_bad_nodes),
        cmocka_unit_test(test_bad_events),
        cmocka_unit_test(test_contradictions),
        cmocka_unit_test(test_too_many_events),
        cmocka_unit_test(test_refusal_by_who_carries_it_out),
        cmocka_unit_test(test_damaged_plans),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
