package project

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/coordinator"
	"github.com/boxer-sandbox/boxer/internal/linux"
)

// A process is boxer run of one instance, as the supervisor sees it.
type process struct {
	cmd   *exec.Cmd
	began uint64        // see startTime
	ready chan struct{} // closed when ran and info are there
	ended chan struct{} // closed when code is there
	code  int

	conn packetConn

	mu      sync.Mutex
	ran     bool // the program has been started
	info    Ready
	last    int // number of the last command
	waiting map[int]chan agentReply
}

// outputDelay bounds how long the output of a process is read after its end, where
// another one still has its end of the pipe.
const outputDelay = 5 * time.Second

// launch starts the process of an instance. Its output goes to the two writers, which
// are not used any more when ended is closed.
func (s *spawner) launch(cmd *exec.Cmd, stdout, stderr io.Writer) (*process, error) {
	p := &process{cmd: cmd, ready: make(chan struct{}), ended: make(chan struct{}),
		waiting: make(map[int]chan agentReply)}
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, os.NewSyscallError("socketpair", err)
	}
	theirs := os.NewFile(uintptr(fds[1]), "agent")
	defer theirs.Close()
	if p.conn, err = newPacketConn(os.NewFile(uintptr(fds[0]), "agent")); err != nil {
		return nil, err
	}
	cmd.ExtraFiles = []*os.File{theirs} // descriptor 3
	cmd.Stdout, cmd.Stderr, cmd.WaitDelay = stdout, stderr, outputDelay
	if err = s.start(cmd); err != nil {
		p.conn.Close()
		return nil, err
	}
	p.began = startTime(cmd.Process.Pid)
	go p.listen() // ends with the process
	go p.wait(s)
	return p, nil
}

// listen takes what the process says.
func (p *process) listen() {
	told := sync.OnceFunc(func() { close(p.ready) })
	defer told()
	for {
		var r agentReply
		files, err := p.conn.receive(&r)
		closeFiles(files)
		if err != nil {
			break
		}
		p.mu.Lock()
		if r.Ready != nil {
			p.info, p.ran = *r.Ready, true
			told()
		} else if c := p.waiting[r.ID]; c != nil {
			delete(p.waiting, r.ID)
			c <- r
		}
		p.mu.Unlock()
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.waiting {
		close(c)
	}
	p.waiting = nil
}

func (p *process) wait(s *spawner) {
	err := p.cmd.Wait()
	p.code = p.cmd.ProcessState.ExitCode()
	if ws, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		p.code = 128 + int(ws.Signal())
		s.awaitOrphans() // boxer-init ends the program
		removeSockets()
	}
	if err != nil && p.cmd.ProcessState.Success() {
		p.code = exitBoxer // its output could not be read
	}
	s.forget(p.cmd.Process.Pid)
	p.conn.Close()
	close(p.ended)
}

// removeSockets removes the control sockets that killed nodes have left: nobody listens
// there. A node that starts listens right after it has made its socket.
func removeSockets() {
	refused := func(path string) bool {
		c, err := net.Dial("unix", path)
		if err == nil {
			c.Close()
		}
		return errors.Is(err, unix.ECONNREFUSED)
	}
	for _, dir := range coordinator.RuntimeDirs() {
		sockets, _ := filepath.Glob(filepath.Join(dir, "[0-9]*.trace"))
		for _, path := range sockets {
			if refused(path) {
				time.Sleep(20 * time.Millisecond)
				if refused(path) {
					os.Remove(path)
				}
			}
		}
	}
}

// errNotRunning means that there is no program beside which a command could run.
var errNotRunning = errors.New("it does not run")

// exec runs a command in the node and returns its exit code. The end of ctx kills it.
// signals are passed on to it.
func (p *process) exec(ctx context.Context, c Command, signals <-chan unix.Signal) (int,
	error) {
	reply := make(chan agentReply, 1)
	p.mu.Lock()
	if !p.ran || p.waiting == nil {
		p.mu.Unlock()
		return exitBoxer, errNotRunning
	}
	p.last++
	id := p.last
	p.waiting[id] = reply
	p.mu.Unlock()
	null, err := os.OpenFile(os.DevNull, os.O_RDWR, 0)
	if err != nil {
		return exitBoxer, err
	}
	defer null.Close()
	files := slices.Clone(c.Streams[:])
	for i, f := range files {
		if f == nil {
			files[i] = null
		}
	}
	if err := p.conn.send(agentRequest{ID: id, Command: c}, files...); err != nil {
		return exitBoxer, err
	}
	done := ctx.Done()
	for {
		select {
		case r, ok := <-reply:
			switch {
			case !ok: // ended with the program
				return 128 + int(unix.SIGKILL), nil
			case r.Error != "":
				return r.Code, &ExecError{r.Code, r.Error}
			}
			return r.Code, nil
		case sig := <-signals:
			_ = p.conn.send(agentRequest{ID: id, Signal: int(sig)})
		case <-done:
			_ = p.conn.send(agentRequest{ID: id, Signal: int(unix.SIGKILL)})
			done = nil
		}
	}
}

// forwarded are the signals that boxer run passes on to its program.
var forwarded = []unix.Signal{unix.SIGHUP, unix.SIGINT, unix.SIGQUIT, unix.SIGUSR1,
	unix.SIGUSR2, unix.SIGALRM, unix.SIGTERM, unix.SIGCONT, unix.SIGTSTP, unix.SIGWINCH}

// signal sends the program a signal. SIGKILL ends boxer run, and so all that it started.
func (p *process) signal(sig unix.Signal) {
	select {
	case <-p.ended:
		return
	default:
	}
	p.mu.Lock()
	program := p.info.Program
	p.mu.Unlock()
	if program > 0 && sig != unix.SIGKILL && !slices.Contains(forwarded, sig) {
		_ = unix.Kill(program, sig)
		return
	}
	_ = p.cmd.Process.Signal(sig)
}

// filesOf returns the descriptors of a control message.
func filesOf(oob []byte) (files []*os.File) {
	fds, _ := linux.ParseRights(oob)
	for _, fd := range fds {
		unix.CloseOnExec(fd)
		files = append(files, os.NewFile(uintptr(fd), "passed"))
	}
	return files
}

// startTime returns when a process has started, in clock ticks since boot, 0 if it does
// not run (proc_pid_stat(5), field 22).
func startTime(pid int) uint64 {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return 0
	}
	after := string(b[bytes.LastIndexByte(b, ')')+1:]) // the name may have parentheses
	fields := strings.Fields(after)
	if len(fields) < 20 || fields[0] == "Z" {
		return 0
	}
	n, _ := strconv.ParseUint(fields[19], 10, 64)
	return n
}
