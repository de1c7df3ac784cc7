"""Starts a command as systemd starts a service: with a socket, a watchdog and NOTIFY_SOCKET, and prints the
notifications of its main process. Others it refuses, as NotifyAccess=main does.

manager.py path|abstract PORT COMMAND..."""
import array, os, socket, struct, sys, tempfile

kind, port, command = sys.argv[1], int(sys.argv[2]), sys.argv[3:]
listener = socket.create_server(("0.0.0.0", port))
manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
manager.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
folder = tempfile.mkdtemp()
path = folder + "/notify"
address = "@" + path if kind == "abstract" else path
manager.bind(address.replace("@", "\0"))
os.chmod(folder, 0o755)
if kind == "path":
    os.chmod(path, 0o777)

main = os.fork()
if main == 0:
    me = str(os.getpid())
    os.environ.update(LISTEN_FDS="1", LISTEN_PID=me, WATCHDOG_PID=me, WATCHDOG_USEC="20000000", SYSTEMD_EXEC_PID=me,
                      LISTEN_PIDFDID="1", NOTIFY_SOCKET=address)
    os.dup2(os.dup(listener.fileno()), 3)
    os.set_inheritable(3, True)
    os.execvp(command[0], command)
listener.close()

status, told = None, []
while status is None:
    try:
        manager.settimeout(0.05)  # nothing else tells that the process is gone
        text, control, _, _ = manager.recvmsg(4096, 4096)
    except TimeoutError:
        pid, got = os.waitpid(main, os.WNOHANG)
        status = got if pid else None
        continue
    files = [fd for _, kind, data in control if kind == socket.SCM_RIGHTS for fd in array.array("i", data)]
    sender = [struct.unpack("3i", data)[0] for _, kind, data in control if kind == socket.SCM_CREDENTIALS]
    if sender != [main]:
        told.append("refused: " + text.decode())
    elif text.decode() != "MAINPID=%d" % main:
        # Whoever names the main process again changes nothing.
        lines = [l for l in text.decode().split("\n") if l != "MAINPID=%d" % main]
        told.append(" ".join(lines) + (" with %d files" % len(files) if files else ""))
    for fd in files:
        os.close(fd)
for t in told:
    print("manager:", t)
print("manager: status", os.waitstatus_to_exitcode(status))
if kind == "path":
    os.unlink(path)
os.rmdir(folder)
