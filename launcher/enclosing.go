package launcher

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// Enclosing is the supervisor of the program to which this process belongs.
type Enclosing struct {
	PID  int    // of the supervisor
	Name string // the node's; empty if the supervisor does not answer this user

	init int // boxer-init's pid
}

// FindEnclosing returns the supervisor of this process's program, or nil if this process
// does not run under boxer run. Every process of a program descends from the program's
// boxer-init, which adopts orphans.
func FindEnclosing() *Enclosing {
	for pid := os.Getppid(); pid > 1; {
		parent := parentOf(pid)
		cmdline, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		if err == nil && bytes.HasPrefix(cmdline, []byte(initName+"\x00")) && parent > 1 {
			e := &Enclosing{PID: parent, init: pid}
			if c, err := e.dial(attachRequest{About: true}); err == nil {
				e.Name = c.who.Name
				c.Close()
			}
			return e
		}
		pid = parent
	}
	return nil
}

// parentOf returns the parent of a process, or 0 if it is not known.
func parentOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is a name in parentheses, which may contain any character.
	fields := strings.Fields(string(b[bytes.LastIndexByte(b, ')')+1:]))
	if len(fields) < 2 {
		return 0
	}
	parent, err := strconv.Atoi(fields[1])
	if err != nil {
		return 0
	}
	return parent
}

// String describes the supervisor, for messages.
func (e *Enclosing) String() string {
	if e.Name == "" {
		return fmt.Sprintf("already inside boxer run (process %d, which does not answer this user)", e.PID)
	}
	return fmt.Sprintf("already inside boxer run (node %s)", e.Name)
}

// A NetworkStatus describes a network from the view of one node.
type NetworkStatus struct {
	Self        uint32 // the node's id
	Coordinator string // host and port
	Snapshot    coordinator.Snapshot
}

// statusAnswer is what follows the attachAnswer to a request about the network.
type statusAnswer struct {
	NetworkStatus
	Failed string `json:",omitempty"` // why there is no status
}

// enclosingPatience bounds how long the supervisor may take. It asks its coordinator
// meanwhile.
const enclosingPatience = 15 * time.Second

// Status asks the supervisor for the members of its network. The supervisor asks the
// coordinator, so this process needs no join URL.
func (e *Enclosing) Status(ctx context.Context) (NetworkStatus, error) {
	c, err := e.dial(attachRequest{Status: true})
	if err != nil {
		return NetworkStatus{}, fmt.Errorf("%v: ask its supervisor: %w", e, err)
	}
	defer c.Close()
	defer context.AfterFunc(ctx, func() { c.SetDeadline(time.Now()) })()
	c.SetDeadline(time.Now().Add(enclosingPatience))
	var a statusAnswer
	err = json.NewDecoder(io.LimitReader(c, maxStatus)).Decode(&a)
	switch {
	case ctx.Err() != nil:
		err = ctx.Err()
	case a.Failed != "":
		err = errors.New(a.Failed)
	}
	if err != nil {
		return NetworkStatus{}, fmt.Errorf("%v: %w", e, err)
	}
	return a.NetworkStatus, nil
}

// maxStatus bounds a statusAnswer in bytes: 65,536 nodes with some paths each.
const maxStatus = 256 << 20

// asked is a connection to a supervisor that has answered a request.
type asked struct {
	*net.UnixConn
	who attachAnswer
}

// dial connects to the supervisor's control socket.
func (e *Enclosing) dial(q attachRequest) (*asked, error) {
	err := error(unix.ENOENT)
	for _, dir := range coordinator.RuntimeDirs() {
		path := filepath.Join(dir, controlName(e.init))
		var c *net.UnixConn
		if c, err = net.DialUnix("unix", nil,
			&net.UnixAddr{Name: path, Net: "unix"}); err != nil {
			continue
		}
		a := &asked{UnixConn: c}
		var peer *unix.Ucred
		if peer, err = peerOf(c); err == nil && int(peer.Pid) != e.PID {
			err = unix.ESRCH // a stale socket, or one of another PID namespace
		}
		if err == nil {
			if a.who, err = request(c, q); err == nil {
				return a, nil
			}
		}
		c.Close()
	}
	return nil, err
}

// request sends a request and reads the first line of the answer.
func request(c *net.UnixConn, q attachRequest) (who attachAnswer, err error) {
	c.SetDeadline(time.Now().Add(attachPatience))
	if err = json.NewEncoder(c).Encode(q); err == nil {
		err = readLine(c, &who)
	}
	c.SetDeadline(time.Time{})
	return who, err
}

// controlSuffix is the suffix of the names of control sockets.
const controlSuffix = ".trace"

// controlName returns the name of a node's control socket. It contains the pid of the
// node's boxer-init, because one supervisor may have several nodes.
func controlName(init int) string { return strconv.Itoa(init) + controlSuffix }

// tellStatus answers a request for the network's status.
func (n *node) tellStatus(ctx context.Context, c *net.UnixConn) error {
	ctx, cancel := context.WithTimeout(ctx, enclosingPatience)
	defer cancel()
	a := statusAnswer{NetworkStatus: NetworkStatus{Self: n.member.client.Self().ID,
		Coordinator: n.join.Host}}
	var err error
	if a.Snapshot, err = coordinator.ObserveAs(ctx, n.join,
		n.member.client.Self().Name); err != nil {
		a.Failed = err.Error()
	}
	c.SetWriteDeadline(time.Now().Add(attachPatience))
	return json.NewEncoder(c).Encode(a)
}
