"""Tells of the signals that it gets, on the terminal and in a file.

    signals.py FILE

SIGTERM ends it with status 3, SIGHUP with 4; after SIGWINCH it says the window's rows and columns.
A shell will not do: one that is stopped inside vfork(2) does not stop.
"""
import os
import signal
import sys

NAMES = "INT TERM HUP WINCH CONT USR1".split()
ENDS = {"TERM": 3, "HUP": 4}


def say(*words):
    try:
        print(*words, flush=True)
    except OSError:
        pass  # the terminal is gone, and SIGHUP on its way


file = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT | os.O_APPEND)
signals = {getattr(signal, "SIG" + name): name for name in NAMES}
signal.pthread_sigmask(signal.SIG_BLOCK, signals)
say("ready")
while True:
    name = signals[signal.sigwait(signals)]
    os.write(file, f"got {name}\n".encode())
    if name in ENDS:
        os._exit(ENDS[name])
    say("got", name)
    if name == "WINCH":
        size = os.get_terminal_size()
        say(size.lines, size.columns)
