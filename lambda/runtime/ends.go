package runtime

import (
	"errors"
	"io"
	"net"
	"os"
	"os/exec"
	"sync"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/host"
)

// The descriptors of boxer run beside the standard ones: exec.Cmd.ExtraFiles.
const (
	linkFD = 3 + iota // a socket that boxer run connects with the launcher
	holdFD            // a pipe: the program starts when a byte arrives
)

// ends are this process's ends of the descriptors of a boxer run.
type ends struct {
	theirs  []*os.File // closed once the process has them
	stdout  *os.File
	stderr  *os.File
	stdin   *os.File // nil: the program has /dev/null
	control net.Conn // nil: no control connection
	hold    *os.File // nil: the program starts at once
	copied  sync.WaitGroup
}

// open makes the descriptors and adds the other ends to cmd.
func (e *ends) open(cmd *exec.Cmd, c *host.Control) (err error) {
	if e.stdout, cmd.Stdout, err = e.pipe(true); err != nil {
		return err
	}
	if e.stderr, cmd.Stderr, err = e.pipe(true); err != nil {
		return err
	}
	if c == nil {
		return nil
	}
	stdin, theirs, err := e.pipe(false)
	if err != nil {
		return err
	}
	e.stdin, cmd.Stdin = stdin, theirs
	link, err := e.socketpair()
	if err != nil {
		return err
	}
	cmd.ExtraFiles = []*os.File{link}
	if c.Hold {
		var held *os.File
		if e.hold, held, err = e.pipe(false); err != nil {
			return err
		}
		cmd.ExtraFiles = append(cmd.ExtraFiles, held)
	}
	return nil
}

// pipe makes a pipe. This process gets the reading end, or the writing end.
func (e *ends) pipe(reads bool) (ours, theirs *os.File, err error) {
	r, w, err := os.Pipe()
	if err != nil {
		return nil, nil, err
	}
	if !reads {
		r, w = w, r
	}
	e.theirs = append(e.theirs, w)
	return r, w, nil
}

// socketpair makes the control connection and returns the child's end.
func (e *ends) socketpair() (*os.File, error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	ours := os.NewFile(uintptr(fds[0]), "control")
	theirs := os.NewFile(uintptr(fds[1]), "link")
	e.theirs = append(e.theirs, theirs)
	e.control, err = net.FileConn(ours) // copies the descriptor
	return theirs, errors.Join(err, ours.Close())
}

// start starts the process, and begins to copy its output.
func (e *ends) start(cmd *exec.Cmd, out output) error {
	if err := cmd.Start(); err != nil {
		return err
	}
	for _, f := range e.theirs {
		f.Close()
	}
	e.theirs = nil
	e.copied.Go(func() { drain(out.stdout, e.stdout) })
	e.copied.Go(func() { drain(out.stderr, e.stderr) })
	return nil
}

// drain copies until the end of src. It goes on reading if dst fails, so that the process
// does not block.
func drain(dst io.Writer, src io.Reader) {
	if _, err := io.Copy(dst, src); err != nil {
		_, _ = io.Copy(io.Discard, src)
	}
}

// wait waits for the process and for the rest of its output. boxer run ends all processes
// of its program, so no process keeps the pipes open.
func (e *ends) wait(cmd *exec.Cmd) error {
	err := cmd.Wait()
	e.copied.Wait()
	return err
}

// close closes what is open.
func (e *ends) close() error {
	for _, f := range append(e.theirs, e.stdout, e.stderr, e.stdin, e.hold) {
		if f != nil {
			f.Close()
		}
	}
	if e.control != nil {
		e.control.Close()
	}
	return nil
}
