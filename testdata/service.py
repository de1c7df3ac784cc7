"""A service of systemd, by libsystemd: prints what the library tells it, and notifies its manager."""
import ctypes, os, sys

sys.stdout.reconfigure(line_buffering=True)  # a child must not print what waits here once more

sd = ctypes.CDLL("libsystemd.so.0")
interval = ctypes.c_uint64()
print("sockets", sd.sd_listen_fds(0))
print("tcp", sd.sd_is_socket_inet(3, 2, 1, 1, int(sys.argv[1])))
print("watchdog", sd.sd_watchdog_enabled(0, ctypes.byref(interval)), interval.value)
print("started by the manager", os.environ["SYSTEMD_EXEC_PID"] == str(os.getpid()))
if os.fork() == 0:  # the variables are not for a child
    print("child's sockets", sd.sd_listen_fds(0), "watchdog", sd.sd_watchdog_enabled(0, None), flush=True)
    os._exit(0)
os.wait()
print("ready", sd.sd_notify(0, b"READY=1\nSTATUS=serving\nMAINPID=%d" % os.getpid()))
print("main process", sd.sd_notify(0, b"MAINPID=%d" % os.getpid()))
print("alive", sd.sd_notify(0, b"WATCHDOG=1"))
print("barrier", sd.sd_notify_barrier(0, ctypes.c_uint64(10000000)))
file = (ctypes.c_int * 1)(os.open("/dev/null", os.O_RDONLY))
print("file", sd.sd_pid_notify_with_fds(0, 0, b"FDSTORE=1\nFDNAME=null", file, 1), flush=True)
if os.getuid() == 0:
    os.setgid(65534)
    os.setuid(65534)
print("as another user", sd.sd_notify(0, b"STOPPING=1"), flush=True)
os._exit(7)  # at once: what it has sent counts
