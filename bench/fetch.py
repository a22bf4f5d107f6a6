"""fetch.py - the peers that a machine lacks, once: from their lock files, by npm and dotnet.

What cannot be had (no network, no node, no dotnet) is left out and said, here and at the end of the run. To add a peer: a row.
"""
import shutil
import subprocess

from measure import ROOT

NPM, DOTNET = "npm", "dotnet"
# folder below bench/peers, by what it is made, the cases that want it
PEERS = [("fastify", NPM, {"peers"}), ("amqplib", NPM, {"relay", "inbox"}), ("jobs", NPM, {"jobs"}),
         ("aspnet", DOTNET, {"peers"}), ("masstransit", DOTNET, {"relay"}), ("yarp", DOTNET, {"gateway-small", "gateway-large"})]


def made(name, by):
    return (ROOT / "bench/peers" / name / "node_modules" if by == NPM else ROOT / "build/bench" / name / "peer.dll").exists()


def make(name, by):
    folder = ROOT / "bench/peers" / name
    argv = ["npm", "ci", "--ignore-scripts"] if by == NPM else ["dotnet", "publish", "-c", "Release", "-o", str(ROOT / "build/bench" / name), str(folder)]
    done = subprocess.run(argv, cwd=folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if done.returncode != 0:
        print(f"{name} cannot be made: {' '.join(argv[:2])} says:\n{done.stdout[-800:]}", flush=True)


def peers_of(cases):
    for name, by, wanted in PEERS:
        if wanted & set(cases) and not made(name, by) and shutil.which(by):
            print(f"making {name} by {by}", flush=True)
            make(name, by)
