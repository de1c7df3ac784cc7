"""Runs test files, each in a process of its own, and prints PASS or FAIL and its name.

runfiles.py JOBS SECONDS FILE... -- COMMAND...

A file of JavaScript may have a comment with flags for its command. Each has numbers of its own in the
environment, by which Node's tests keep their temporary files and sockets apart.
"""
import concurrent.futures, os, re, subprocess, sys

jobs, seconds, rest = int(sys.argv[1]), float(sys.argv[2]), sys.argv[3:]
files, command = rest[: rest.index("--")], rest[rest.index("--") + 1 :]


def run(numbered):
    number, path = numbered
    with open(path, errors="replace") as f:
        flags = re.search(r"^// Flags: (.*)$", f.read(), re.M)
    argv = command + (flags.group(1).split() if flags else []) + [os.path.abspath(path)]
    env = dict(os.environ, TEST_THREAD_ID=str(number), TEST_SERIAL_ID=str(number))
    try:
        done = subprocess.run(argv, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, timeout=seconds, env=env)
        return path, done.returncode == 0, done.stdout
    except subprocess.TimeoutExpired as e:
        return path, False, (e.stdout or b"") + b"takes too long\n"


with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
    for path, passed, said in pool.map(run, enumerate(files)):
        print("PASS" if passed else "FAIL", path, flush=True)
        if not passed:
            print(said.decode(errors="replace")[-2000:], flush=True)
