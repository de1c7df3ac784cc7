package launcher

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"sync"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
)

// A control is one end of the socket between supervisor and boxer-init. It carries JSON
// messages, some of them with descriptors. End of file means that the other process has
// ended.
type control struct {
	f       *os.File
	sending *sync.Mutex // held while a message is written
}

func newControl(fd int) control {
	return control{os.NewFile(uintptr(fd), "control"), new(sync.Mutex)}
}

// maxMessage bounds a message in bytes. The filter program and the command's arguments
// must fit; Linux limits the arguments to 2 MiB (execve(2)).
const maxMessage = 4 << 20

// A startRequest tells boxer-init what to start.
type startRequest struct {
	Argv    []string
	Filter  []byte // sandbox.Program.Bytes
	Signals signalState
	// there is no filter: execute the file that comes with the request
	Loader bool `json:",omitempty"`
	// the filter traps calls that start a program: send the listener first
	Served bool `json:",omitempty"`
	// stop and continue the supervisor with the program
	JobControl bool   `json:",omitempty"`
	Hostname   string `json:",omitempty"` // set it in the tree's own UTS namespace
	Notify     string `json:",omitempty"` // the program's NOTIFY_SOCKET; see notifier

	Cover *cover `json:",omitempty"` // nil: the program sees the host's files

	// Will is the node's last will, until an initCommand brings another one.
	Will *coordinator.Will `json:",omitempty"`
}

// A childEvent tells the supervisor what has happened to the program.
type childEvent struct {
	// the listener comes with this event, before the program is started
	Listening bool   `json:",omitempty"`
	Started   int    `json:",omitempty"` // the program's pid; the listener comes with this event
	Failed    string `json:",omitempty"` // why the program did not start
	// why the program sees the host's /proc/net
	Uncovered string `json:",omitempty"`
	Code      int    `json:",omitempty"` // with Failed: the exit code
	// a signal stopped the program; counts such stops from 1
	Stop   uint64 `json:",omitempty"`
	Exited bool   `json:",omitempty"` // all processes of the tree have ended
	Status int    `json:",omitempty"` // with Exited: the exit status as shells show it

	// Exec is about a command that runs beside the program; nothing else is set then.
	Exec *execEvent `json:",omitempty"`
}

// An initCommand is a message of the supervisor to boxer-init while the program runs.
type initCommand struct {
	// Stop answers a childEvent with Stop. The supervisor is prepared for the stop, and
	// boxer-init may stop the supervisor, too.
	Stop uint64 `json:",omitempty"`

	Will *coordinator.Will `json:",omitempty"` // replaces the node's last will

	Signal int  `json:",omitempty"` // send this signal to the program
	Kill   bool `json:",omitempty"` // kill the program's tree; a childEvent follows

	// Exec runs or signals a command beside the program. Its streams come along, and the
	// file to execute instead of it, if there is one.
	Exec *execRequest `json:",omitempty"`

	// Done answers a childEvent with Exited: boxer-init may end, too.
	Done bool `json:",omitempty"`
}

// controlPair makes the two ends.
func controlPair() (ours control, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return control{}, nil, fmt.Errorf("socketpair: %w", err)
	}
	return newControl(fds[0]), os.NewFile(uintptr(fds[1]), "control"), nil
}

// send writes one message, with a descriptor if fd is not negative.
func (c control) send(msg any, fd int) error {
	if fd < 0 {
		return c.sendAll(msg)
	}
	return c.sendAll(msg, fd)
}

// sendAll writes one message with descriptors.
func (c control) sendAll(msg any, fds ...int) error {
	body, err := json.Marshal(msg)
	if err != nil {
		return err
	}
	b := make([]byte, 4, 4+len(body))
	b[0], b[1], b[2], b[3] = byte(len(body)>>24), byte(len(body)>>16), byte(len(body)>>8),
		byte(len(body))
	b = append(b, body...)
	var oob []byte
	if len(fds) > 0 {
		oob = unix.UnixRights(fds...)
	}
	c.sending.Lock()
	defer c.sending.Unlock()
	for len(b) > 0 {
		n, err := unix.SendmsgN(int(c.f.Fd()), b, oob, nil, unix.MSG_NOSIGNAL)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return fmt.Errorf("control: %w", err)
		}
		b, oob = b[n:], nil
	}
	return nil
}

// receive reads one message and its descriptor, nil if it has none. It returns
// io.EOF when the other process is gone.
func (c control) receive(msg any) (*os.File, error) {
	files, err := c.receiveAll(msg)
	if len(files) == 0 {
		return nil, err
	}
	closeFiles(files[1:])
	return files[0], err
}

// receiveAll is receive for a message that may have several descriptors.
func (c control) receiveAll(msg any) ([]*os.File, error) {
	var head [4]byte
	files, err := c.read(head[:])
	if err != nil {
		return nil, err
	}
	size := int(head[0])<<24 | int(head[1])<<16 | int(head[2])<<8 | int(head[3])
	if size > maxMessage {
		return files, errors.New("control: message too large")
	}
	body := make([]byte, size)
	if _, err := c.read(body); err != nil {
		return files, err
	}
	return files, json.Unmarshal(body, msg)
}

// maxFiles is the most descriptors that come with a message.
const maxFiles = 4

// read fills b. Descriptors, if there are any, come with the first byte.
func (c control) read(b []byte) (files []*os.File, err error) {
	oob := make([]byte, unix.CmsgSpace(4*maxFiles))
	for len(b) > 0 {
		n, oobn, _, _, err := unix.Recvmsg(int(c.f.Fd()), b, oob, unix.MSG_CMSG_CLOEXEC)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if errors.Is(err, unix.ECONNRESET) || err == nil && n == 0 {
			return files, io.EOF
		}
		if err != nil {
			return files, fmt.Errorf("control: %w", err)
		}
		if oobn > 0 {
			files = append(files, passedFiles(oob[:oobn])...)
		}
		b = b[n:]
	}
	return files, nil
}

func passedFiles(oob []byte) (files []*os.File) {
	fds, _ := linux.ParseRights(oob)
	for _, fd := range fds {
		files = append(files, os.NewFile(uintptr(fd), "passed"))
	}
	return files
}

func closeFiles(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}
