package launcher

import (
	"crypto/rand"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"
)

// A notifier forwards the program's messages to the service manager that started the
// supervisor (sd_notify(3)). The manager accepts messages only from the service's main
// process, which is the supervisor (NotifyAccess=main in systemd.service(5)); it knows
// the sender by its pid. The program therefore gets a socket of the supervisor's as
// NOTIFY_SOCKET, and the supervisor forwards what arrives there.
type notifier struct {
	conn   *net.UnixConn
	to     string // the manager's socket
	path   string // the program's NOTIFY_SOCKET
	logger *slog.Logger
	ended  chan struct{} // closed when serve returns
	main   atomic.Int64  // the program's pid; 0 until it is known
}

// setMain tells the notifier the program's pid. The kernel does not reuse that pid before
// the node ends. So the notifier accepts a message of the program even if the program has
// ended already, when /proc shows its parents no more.
func (n *notifier) setMain(pid int) {
	if n != nil {
		n.main.Store(int64(pid))
	}
}

// maxNotice bounds a message in bytes: systemd reads at most PIPE_BUF bytes.
const maxNotice = 4096

// maxPassed is the largest number of descriptors in a message: SCM_MAX_FD of
// linux/socket.h.
const maxPassed = 253

// startNotifier returns a notifier if this process has NOTIFY_SOCKET in its environment.
// Otherwise it returns nil, on which all methods may be called.
func startNotifier(logger *slog.Logger) (*notifier, error) {
	to := os.Getenv(notifySocket)
	if !strings.HasPrefix(to, "/") && !strings.HasPrefix(to, "@") {
		return nil, nil // no socket, or that of a virtual machine (vsock)
	}
	if logger == nil {
		logger = slog.New(slog.DiscardHandler)
	}
	n := &notifier{to: to, logger: logger, ended: make(chan struct{})}
	if err := n.listen(to[0] == '/'); err != nil {
		return nil, fmt.Errorf("%s: %w", notifySocket, err)
	}
	go n.serve()
	return n, nil
}

// listen opens the socket. In a directory: old libraries do not know abstract addresses.
// Otherwise at an abstract address. A program may change its user before it sends, so
// every user may send; serve checks the sender.
func (n *notifier) listen(inFolder bool) (err error) {
	n.path = "@boxer-notify-" + rand.Text()
	if dir := os.TempDir(); inFolder && fitsNotify(dir) {
		if dir, err := os.MkdirTemp(dir, notifyFolder); err == nil {
			n.path = filepath.Join(dir, "socket")
		}
	}
	n.conn, err = net.ListenUnixgram("unixgram",
		&net.UnixAddr{Name: n.path, Net: "unixgram"})
	if err == nil {
		err = controlFD(n.conn, func(fd int) error {
			return unix.SetsockoptInt(fd,
				unix.SOL_SOCKET, unix.SO_PASSCRED, 1)
		})
	}
	if err == nil && n.path[0] == '/' {
		err = errors.Join(os.Chmod(n.path, 0o777), os.Chmod(filepath.Dir(n.path), 0o711))
	}
	if err != nil {
		if n.conn != nil {
			n.conn.Close()
		}
		removeNotify(n.path)
	}
	return err
}

const notifyFolder = "boxer-notify-"

// fitsNotify reports whether a directory's path leaves room for the socket's name.
// sd_notify(3) accepts only absolute paths, and unix(7) only short ones.
func fitsNotify(dir string) bool {
	const random = "/socket" + "4294967295"      // os.MkdirTemp appends a number of 32 bits
	room := len(unix.RawSockaddrUnix{}.Path) - 1 // the final zero
	return filepath.IsAbs(dir) && len(filepath.Join(dir, notifyFolder))+len(random) <= room
}

// removeNotify removes the directory of a notifier's socket.
func removeNotify(path string) {
	if dir := filepath.Dir(path); strings.HasPrefix(filepath.Base(dir), notifyFolder) {
		os.Remove(path)
		os.Remove(dir)
	}
}

func controlFD(c *net.UnixConn, f func(fd int) error) error {
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var inner error
	return errors.Join(raw.Control(func(fd uintptr) { inner = f(int(fd)) }), inner)
}

// socket returns the program's NOTIFY_SOCKET. An empty string leaves the variable as it
// is.
func (n *notifier) socket() string {
	if n == nil {
		return ""
	}
	return n.path
}

// serve forwards messages until this process itself sends one, see close.
func (n *notifier) serve() {
	defer close(n.ended)
	b, oob := make([]byte, maxNotice+1),
		make([]byte, unix.CmsgSpace(unix.SizeofUcred)+unix.CmsgSpace(4*maxPassed))
	for {
		size, oobSize, _, _, err := n.conn.ReadMsgUnix(b, oob)
		if err != nil {
			if !errors.Is(err, net.ErrClosed) {
				n.logger.Warn("notifications of the program no longer reach the service manager", "err", err)
			}
			return
		}
		fds, from := linux.ParseRights(oob[:oobSize])
		switch {
		case from == nil || int64(from.Pid) != n.main.Load() && !maySpeak(from):
			n.logger.Debug("notification of a stranger", "from", from)
		case int(from.Pid) == os.Getpid():
			return
		default:
			n.send(string(b[:min(size, maxNotice)]), fds)
		}
		closeAll(fds)
	}
}

// send sends a message to the manager. It drops MAINPID=: the supervisor stays the
// service's main process. It is the manager's child, and ends with the program's status.
func (n *notifier) send(msg string, fds []int) {
	lines := strings.Split(msg, "\n")
	kept := lines[:0]
	for _, l := range lines {
		if name, _, _ := strings.Cut(l, "="); !strings.HasPrefix(name, "MAINPID") {
			kept = append(kept, l)
		}
	}
	msg = strings.Join(kept, "\n")
	if strings.Trim(msg, "\n") == "" && len(fds) == 0 {
		return
	}
	if err := sendUnix(n.to, msg, fds); err != nil {
		n.logger.Warn("a notification did not reach the service manager", "socket", n.to, "err", err)
	}
}

// notifyWithin bounds how long a manager that does not read delays the program's next
// message, and boxer's end.
const notifyWithin = 5 * time.Second

// sendUnix sends a message with descriptors to a datagram socket. Package net can do that
// only from a socket that is bound to a name.
func sendUnix(to, msg string, fds []int) error {
	s, err := unix.Socket(unix.AF_UNIX, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(s)
	limit := unix.NsecToTimeval(notifyWithin.Nanoseconds())
	if err := unix.SetsockoptTimeval(s, unix.SOL_SOCKET, unix.SO_SNDTIMEO,
		&limit); err != nil {
		return err
	}
	var rights []byte
	if len(fds) > 0 {
		rights = unix.UnixRights(fds...)
	}
	for {
		err = unix.Sendmsg(s, []byte(msg), rights, &unix.SockaddrUnix{Name: to},
			unix.MSG_NOSIGNAL)
		if !errors.Is(err, unix.EINTR) {
			return err
		}
	}
}

// close forwards the messages that have arrived, and ends the notifier.
func (n *notifier) close() {
	if n == nil || n.path == "" {
		return
	}
	if err := sendUnix(n.path, "", nil); err != nil {
		n.conn.Close()
	}
	<-n.ended
	n.conn.Close()
	removeNotify(n.path)
	n.path = ""
}

// maySpeak reports whether a sender may speak for the service: this user, root, or a
// process of the program's tree, which may run as another user by now.
func maySpeak(from *unix.Ucred) bool {
	return from.Uid == 0 || int(from.Uid) == os.Getuid() ||
		descends(int(from.Pid), os.Getpid())
}

// descends reports whether a process is a descendant of another.
func descends(pid, of int) bool {
	for pid > 1 && pid != of {
		b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
		if err != nil {
			return false
		}
		// pid (comm) state ppid; comm may contain anything
		_, rest, _ := strings.Cut(string(b[strings.LastIndexByte(string(b), ')')+1:]), " ")
		fields := strings.Fields(rest)
		if len(fields) < 2 {
			return false
		}
		if pid, err = strconv.Atoi(fields[1]); err != nil {
			return false
		}
	}
	return pid == of
}
