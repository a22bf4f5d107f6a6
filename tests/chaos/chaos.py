#!/usr/bin/python3
"""The whole chain under random faults: HTTP -> outbox -> transport -> inbox -> effect, and jobs; proofs after each round.

    tests/chaos/chaos.py [--transport amqp|postgres|both] [--seed N] [--kills N] [--seconds S] [--round N]

Two ushers share one Postgres, and over `amqp` one RabbitMQ, through fault proxies; the second one's wall clock is up to an hour off.
While clients create and change events and users, and hand in jobs, faults are drawn from the seed: kill -9 of any usher process, of
any process of Postgres, of the postmaster, of the broker; processes that stand still for a while; connections cut, delayed, stalled in
one direction; messages delivered again. Then all is healed, the chain runs empty, and the books must balance:

  lost        a committed command's message was never published
  order       first publications of an aggregate's messages are not in the order of their commits
  effects     a message had no effect, or more than one; or the effects of an aggregate came in another order
  answers     a command that was answered 2xx was not committed, or one was never answered
  dead        a message was put aside, although nothing was wrong with it
  jobs        one was lost, or ended twice
  cron        a line fired twice for one moment, or went back in time
  unique      two runs of a unique job were at work at once
  start       usher did not start, or gave up, or the chain did not run empty

Exit status: 0 all held; 1 a rule was broken; 2 the harness failed (or saw too little to prove anything), which says nothing about
usher. What the harness's own connections meet because of its faults is neither: such a fault counts as half done.

Times are the machine's, so a seed repeats the faults and not their exact moments: run it a few times. `both` runs one transport after
the other, --kills and --seconds for each. Files: world.py (processes, faults), carriers.py (transports), clients.py, books.py (notes and
proofs), faultproxy.py.
"""
import argparse
import os
import pathlib
import random
import sys
import time
import traceback

sys.path[:0] = [str(pathlib.Path(__file__).resolve().parent), str(pathlib.Path(__file__).resolve().parents[1] / "blackbox")]
import books  # noqa: E402
from clients import Broken  # noqa: E402
from world import World  # noqa: E402

HELD, VIOLATED, HARNESS = 0, 1, 2
ROUNDS_MORE = 10  # beyond what was asked, while something of COUNTS has not happened yet


def tell(world, counts, broken):
    print("\n" + "\n".join(f"{n:6}  {fault}" for fault, n in sorted(world.table.items(), key=lambda i: -i[1])))
    print("   ...  " + ", ".join(f"{n} {name}" for name, n in counts))
    for rule, rows in broken:
        print(f"VIOLATED {rule}:", *rows, sep="\n    ")
    if broken:
        print("".join(line for serve in world.serves for line in serve.log[-60:]))


def run(args, transport):
    """One transport, from an empty database to the last round's books."""
    rng = random.Random(f"{args.seed} {transport}")
    began, rounds, broken = time.monotonic(), 0, []
    print(f"\n--- over {transport}", flush=True)
    try:
        world = World(rng, transport)
    except Broken as error:
        print(f"VIOLATED {error}")
        return VIOLATED
    try:
        began, counts, last = time.monotonic(), [], None
        while not broken and (last is None or rounds < last):
            broken = world.round(args.round)
            rounds += 1
            print(f"round {rounds}: {world.kills} kills, {len(broken)} violations, {time.monotonic() - began:.0f} s; {world.settled}",
                  flush=True)
            counts = books.count(world.ask)
            if world.kills >= args.kills or time.monotonic() - began >= args.seconds:
                last = rounds if all(n for _, n in counts) else last or rounds + ROUNDS_MORE
        tell(world, counts, broken)
        unseen = [name for name, n in counts if n == 0]
        blind = [] if broken or unseen else books.blind(world.cluster.connect, world.last_job)
    finally:
        print(f"over {transport}: {world.kills} kills, {sum(world.table.values())} faults in {rounds} rounds, seed {args.seed}", flush=True)
        world.close()
    if broken:
        return VIOLATED
    if unseen or blind:
        print(f"proved nothing: {', '.join(unseen)} never happened" if unseen else f"proofs that do not see: {', '.join(blind)}")
        return HARNESS
    return HELD


def main():
    ap = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ap.add_argument("--transport", choices=["amqp", "postgres", "both"], default="both")
    ap.add_argument("--seed", type=int, default=int(os.environ.get("USHER_SEED", random.randrange(2**32))))
    ap.add_argument("--kills", type=int, default=300, help="go on until so many processes were killed")
    ap.add_argument("--seconds", type=float, default=1e9, help="begin no round after so long")
    ap.add_argument("--round", type=int, default=20, help="faults in a round")
    args = ap.parse_args()
    repeat = f"tests/chaos/chaos.py --transport {args.transport} --seed {args.seed} --kills {args.kills} --round {args.round}"
    print(f"to repeat: {repeat}", flush=True)
    worst = HELD
    for transport in ["amqp", "postgres"] if args.transport == "both" else [args.transport]:
        try:
            worst = max(worst, run(args, transport), key=[HELD, HARNESS, VIOLATED].index)
        except Exception:  # noqa: BLE001 - whatever it is, it is ours
            traceback.print_exc()
            worst = max(worst, HARNESS, key=[HELD, HARNESS, VIOLATED].index)
    print({HELD: "held", VIOLATED: "VIOLATED", HARNESS: "HARNESS ERROR: nothing is said about usher"}[worst])
    if worst != HELD:
        print(f"to repeat: {repeat}")
    return worst


if __name__ == "__main__":
    sys.exit(main())
