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

// Enclosing is the supervisor of a program that this process belongs to.
type Enclosing struct {
	PID  int    // of the supervisor
	Name string // the node's; empty if the supervisor does not answer this user

	init int // boxer-init's pid
}

// FindEnclosing returns the supervisor of this process's program, or nil if this process
// is not inside boxer run. Every process of a program descends from its boxer-init, which
// adopts those whose parents have ended.
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

// parentOf returns the parent of a process, 0 if that is not known.
func parentOf(pid int) int {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	// The second field is a name in parentheses, and may have anything in it.
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

// String says where this process is.
func (e *Enclosing) String() string {
	if e.Name == "" {
		return fmt.Sprintf("already inside boxer run (process %d, which does not answer this user)", e.PID)
	}
	return fmt.Sprintf("already inside boxer run (node %s)", e.Name)
}

// A NetworkStatus is a network as a node of it sees it.
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

// enclosingPatience bounds how long the supervisor may take to ask its coordinator.
const enclosingPatience = 15 * time.Second

// Status asks the supervisor who is on its network. The supervisor asks the coordinator:
// this process needs no join URL.
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

// maxStatus bounds a statusAnswer in bytes: 65,536 nodes and some paths of each.
const maxStatus = 256 << 20

// asked is a connection to a supervisor, which has answered.
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
			err = unix.ESRCH // it was left behind, or is of another pid namespace
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

// request sends a request, and returns the answer's first line.
func request(c *net.UnixConn, q attachRequest) (who attachAnswer, err error) {
	c.SetDeadline(time.Now().Add(attachPatience))
	if err = json.NewEncoder(c).Encode(q); err == nil {
		err = readLine(c, &who)
	}
	c.SetDeadline(time.Time{})
	return who, err
}

// controlSuffix ends the names of control sockets.
const controlSuffix = ".trace"

// controlName is the name of the control socket of a node. Only the pid of its boxer-init
// tells a node from others: a supervisor may have several.
func controlName(init int) string { return strconv.Itoa(init) + controlSuffix }

// tellStatus answers a request about the network.
func (n *node) tellStatus(ctx context.Context, c *net.UnixConn) error {
	ctx, cancel := context.WithTimeout(ctx, enclosingPatience)
	defer cancel()
	a := statusAnswer{NetworkStatus: NetworkStatus{Self: n.member.client.Self().ID,
		Coordinator: n.join.Host}}
	var err error
	if a.Snapshot, err = coordinator.Observe(ctx, n.join); err != nil {
		a.Failed = err.Error()
	}
	c.SetWriteDeadline(time.Now().Add(attachPatience))
	return json.NewEncoder(c).Encode(a)
}
