/*
 * cli_commands.c - the table of commands.
 */
#include "usher/cmd.h"

#define ROW(name_) .name = #name_, .options = OPTIONS_##name_, .run = cmd_##name_

const Command COMMANDS[] = {
    {ROW(serve), .arguments = "", .brief = "serve the contexts on the configured databases",
     .doc =
         "Starts a supervisor that forks single-threaded workers by role: http, relay and consume. Configured by the "
         "environment\n(`usher help config`) and, where USHER_CONFIG names one, a file of NAME=value lines. SIGTERM "
         "finishes what is in\nflight and ends; SIGHUP reads the file again and applies LOG_LEVEL and QUIRKS_OFF. "
         "SIGUSR2 "
         "starts the program anew\n(as the file is now), hands it the listening sockets and, when it serves, drains "
         "this one; should it not serve within\nHANDOVER_TIMEOUT, this one goes on. Sockets that systemd passes as "
         "http or "
         "admin (sd_listen_fds) are served\ninstead of LISTEN and ADMIN_LISTEN."},
    {ROW(gateway), .arguments = "[check|record]", .arguments_max = 1, .subcommands = "check record",
     .brief = "stand in front of the old system, and pass its traffic on unchanged",
     .doc =
         "Serves GATEWAY_LISTEN and passes every request on to LEGACY_URL, or to the side that GATEWAY_ROUTES and the "
         "stages say.\nNeeds no database. SIGHUP reads the routes again without a request lost.\n"
         "check  reads the configuration, says every mistake with its place and how to mend it (exit 1), and explains "
         "each route\n"
         "record  serves, and writes what passes to --to FILE in the recordings' format, secret and personal values "
         "redacted"},
    {ROW(dev), .arguments = "", .brief = "serve with a private Postgres of its own, migrated and seeded",
     .doc = "Starts a Postgres under --data (as another user when started as root; on a unix socket only), applies the "
            "migrations,\nadds sample data to an empty database and serves. Prints `ready` with the addresses. Leaves "
            "nothing "
            "running when it ends;\nstarts again on the same data."},
    {ROW(reset), .arguments = "", .brief = "empty a development database",
     .doc = "Empties the contexts' tables, outbox, inbox and transport of the database that `usher dev --data DIR` "
            "runs. When it "
            "returns,\nno earlier message has any later effect. The ten venues stay."},
    {ROW(seed), .arguments = "", .brief = "add sample data",
     .doc =
         "Adds sample events and users through the contexts' own actions; does nothing where there are some already."},
    {ROW(migrate), .arguments = "up|down|status|verify|generate", .arguments_min = 1, .arguments_max = 1,
     .subcommands = "up down status verify generate",
     .brief = "bring databases to the declarations, and prove that they agree",
     .doc = "up        applies what is missing, one migrator at a time\n"
            "down      takes back down to --to VERSION (exclusive) of one --context\n"
            "status    lists every migration and whether it is applied\n"
            "verify    exit 1 where declarations, snapshots and the live catalogue disagree, saying where\n"
            "generate  writes the next numbered migration and snapshot where the declarations have changed; refuses\n"
            "          a destructive step, a table rewrite or a long lock without the --allow that names it"},
    {ROW(routes), .arguments = "", .brief = "list every endpoint",
     .doc = "The endpoint inventory: method, path, context, action, the quirks that shape it, and the recordings that "
            "cover it."},
    {ROW(replay), .arguments = "FILES...", .arguments_min = 1, .arguments_max = -1,
     .brief = "replay recorded conversations against a server and compare",
     .doc = "Sends each recorded request as it was sent, with ids captured from this server's own answers in the place "
            "of the\n"
            "recorded ones, and prints a readable difference per exchange. Exit 1 on a difference that --expect does "
            "not name."},
    {ROW(diffs), .arguments = "list|show|explain|expect|resolve|export [ID]", .arguments_min = 1, .arguments_max = 2,
     .subcommands = "list show explain expect resolve export",
     .brief = "what differs between the old side and the new, by cause",
     .doc = "list     every cause with its count, and how much was compared and skipped on each route\n"
            "show     one cause with its samples; explain says what it means and what to do\n"
            "expect   names a difference as wanted: --reason, --owner, --until; from then on it counts again\n"
            "resolve  says that it is mended; if it comes again it is listed again\n"
            "export   samples as a recording for `usher replay`; secret and personal values are redacted"},
    {ROW(cutover), .arguments = "status|plan|shadow|canary|promote|rollback|retire|sign [CONTEXT] [reads|writes]",
     .arguments_min = 1, .arguments_max = 3, .subcommands = "status plan shadow canary promote rollback retire sign",
     .brief = "move a context's reads or writes from the old side to the new, and back",
     .doc = "status    the stage of everything, the last changes, what the gateways see\n"
            "plan      the next step, what it will do, and which of its gates do not hold\n"
            "shadow    mirror to the new side and compare (writes are tried and rolled back); clients get the old "
            "answers\n"
            "canary    --percent of the callers are answered by the new side\n"
            "promote   all are. Refused unless every gate holds, or --force with a --reason\n"
            "rollback  the old side answers again, at once; stage shadow, or legacy with --legacy\n"
            "retire    says when it ends (--gone), then answers 410\n"
            "sign      a header with which a tester chooses the side of single requests: sign new|legacy"},
    {ROW(rehearse), .arguments = "CONTEXT [reads|writes]", .arguments_min = 1, .arguments_max = 2,
     .brief = "go a context's whole way to the new side and back, under load, and time it",
     .doc =
         "Takes the stages of running gateways from where they are (legacy or shadow) through shadow, canary and "
         "promote and\nback, by the same steps as `usher cutover`, while it asks the gateway at a bounded rate, and "
         "reports: what clients saw\nfail (0 is wanted), p50 and p99 of each phase, the time from each change until "
         "all workers acted on it (1 s), how long\nwrites waited (2 s), and with --break how long it took to step back "
         "by itself (30 s). Exit 0 when all of it held, 1 when\nnot, 2 when there was trouble with the surroundings "
         "before anything was changed.\n"
         "Reads are asked on the context's GET routes with ids that its lists tell, or from --requests. Writes are "
         "rehearsed only\nwith --requests, whose writes are then really made, on whichever side answers.\n"
         "Gates that say \"not available\" or stay inconclusive need --force with a reason, which is audited; one "
         "that fails is never\noverridden. In the end, also after Ctrl-C and when it is killed, the stage is put back "
         "as it was; --undo does that for one\nwhose processes were all killed. Only gateways of this machine are "
         "asked and moved, unless --i-mean-it names the others."},
    {.name = "shadow-write",
     .options = OPTIONS_shadow_write,
     .run = cmd_shadow_write,
     .arguments = "RECORDINGS...",
     .arguments_min = 1,
     .arguments_max = -1,
     .brief = "run recorded writes on the new side, roll them back, and compare what they would have done",
     .doc =
         "Runs each recorded POST and PUT on the contexts' databases in a transaction that is rolled back, and tells\n"
         "per request what would have been answered, written and published; compares the answer with the recorded\n"
         "one and the messages with those that the old side put on the bus (--messages). Nothing stays in any table.\n"
         "A conversation whose requests build on each other needs --advance URL, a server on the same databases:\n"
         "each exchange is sent to it after its trial, and that **is** written.\n"
         "Exit 1 on a difference that --expect does not name, 2 when a trial could not be run."},
    {ROW(quirks), .arguments = "", .brief = "list the old system's habits and whether each is on",
     .doc = "Each habit of the old system that usher keeps is a named quirk, on by default; QUIRKS_OFF switches some "
            "off."},
    {ROW(bus), .arguments = "status|dead list|show|retry|discard [LETTERS...]", .arguments_min = 1, .arguments_max = -1,
     .subcommands = "status dead", .brief = "what waits between the contexts, and what was put aside",
     .doc = "status        outboxes and queues: how many messages wait, and for how long\n"
            "dead list     dead letters, grouped by queue, type and reason\n"
            "dead show     body, headers and fault of the letters named, or of those that --queue and --reason leave\n"
            "dead retry    puts letters back into their queues under their own ids, behind what waits there; may be "
            "killed and\n              repeated: none is put back twice, none has a second effect\n"
            "dead discard  deletes letters"},
    {ROW(jobs), .arguments = "list|show|why|retry|cancel|pause|resume|scale|run|queues|audit [ID|LINE|QUEUE|KIND]",
     .arguments_min = 1, .arguments_max = 2,
     .subcommands = "list show why retry cancel pause resume scale run queues audit",
     .brief = "look at background work, and act on it",
     .doc = "list      jobs, the newest first; --state, --kind, --queue narrow it\n"
            "show ID   all that is known of one\n"
            "why ID    why it does not run, or what became of it; why LINE: the same of a cron line\n"
            "retry ID  run it as soon as it may, whether it failed, was cancelled or waits\n"
            "cancel ID at once while it waits; while it runs, its worker ends it, wherever that is\n"
            "pause QUEUE, resume QUEUE   begin nothing of it; go on\n"
            "scale QUEUE                 other limits than declared, at once: --limit, --global\n"
            "run KIND  insert one now; --args holds its arguments\n"
            "queues    each queue with what waits, runs and who serves it\n"
            "audit     who did which of these, and when\n"
            "Reading needs the role usher_jobs_reader, acting usher_jobs_operator; `usher migrate up` makes both. See "
            "docs/jobs.md."},
    {ROW(doctor), .arguments = "", .brief = "check configuration, databases, privileges, clock and limits",
     .doc = "Checks what serving needs and says how to mend what is wrong. Exit 1 when something is."},
    {ROW(schema), .arguments = "", .brief = "write the JSON Schemas of all bodies and messages",
     .doc = "Writes a file per body of either surface and per message to contracts/schemas; --check says which are "
            "stale."},
    {ROW(asyncapi), .arguments = "", .brief = "print the AsyncAPI document of the messages",
     .doc = "AsyncAPI 3.0: which messages there are, their schemas and envelope, on which exchanges and queues."},
    {ROW(config), .arguments = "", .brief = "show the configuration as it is read",
     .doc =
         "Every setting is an environment variable. Shows each with its value (secrets masked), default and meaning."},
    {ROW(version), .arguments = "", .brief = "show the version", .doc = "Version, compiler and libraries."},
    {ROW(help), .arguments = "[COMMAND]", .arguments_max = 1, .brief = "explain a command",
     .doc =
         "`usher help` lists the commands, `usher help COMMAND` explains one, `usher help config` lists the settings."},
    {.name = NULL},
};
