package launcher

import (
	"errors"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/boxer-sandbox/boxer/internal/linux"
	"golang.org/x/sys/unix"

	"github.com/boxer-sandbox/boxer/syscalls"
	"github.com/boxer-sandbox/boxer/trace"
)

// The recorder learns of a traced node's processes from their calls. For a trace, the
// filter traps the calls that create a process, replace its program and end it. A pidfd
// reports a process that ended in another way. If the filter was not made for a trace,
// the recorder first sees a process when it makes a network call.

// processCalls are the calls that create, replace or end a process, by number.
var processCalls = func() map[uintptr]string {
	calls := make(map[uintptr]string)
	for _, name := range processCallNames {
		if nr, ok := callNumbers().Native[name]; ok {
			calls[nr] = name
		}
	}
	return calls
}()

var processCallNames = []string{"fork", "vfork", "clone", "clone3", "execve", "execveat",
	"exit_group"}

// processRows returns the filter's rows for processCalls in an ABI that has these
// numbers, except for calls that the trace shows in full. shown has their native numbers.
func processRows(shown []uintptr, numbers map[string]uintptr,
	compat bool) []syscalls.Entry {
	var rows []syscalls.Entry
	for nr, name := range processCalls {
		of, ok := numbers[name]
		if !ok || containsNumber(shown, nr) {
			continue
		}
		row := syscalls.Entry{Nr: of, Compat: compat, Note: "traced"}
		// clone3 has its flags in memory, where a filter cannot read them
		if name == "clone" {
			row.When = []syscalls.Condition{{Arg: 0, Mask: unix.CLONE_THREAD, Equal: 0}}
		}
		rows = append(rows, row)
	}
	return rows
}

func containsNumber(list []uintptr, nr uintptr) bool {
	for _, n := range list {
		if n == nr {
			return true
		}
	}
	return false
}

// A process is a process of the node.
type process struct {
	thread trace.Thread
	parent int
	pidfd  int // -1 if it is not open
	forks  bool
	code   int // argument of exit_group(2), if called
	called bool
	leaves time.Time // when it called exit_group(2)
	ended  time.Time // when its pidfd reported the end; zero before that
	last   *execAttempt
}

// An execAttempt is a call of execve(2) whose success is not known yet.
type execAttempt struct {
	known bool   // comm shows whether it succeeded
	comm  string // the process's comm at its next attempt
}

const (
	// maxProcesses bounds the processes that the recorder watches. Each takes a
	// descriptor.
	maxProcesses = 256
	// reapFor is how long the recorder waits for the status of a process. The kernel
	// reports the status when the parent has reaped the process.
	reapFor = time.Second
)

// noteProcessLocked records what a call shows about its process. It returns false for
// calls that boxer-init makes before it executes the program.
func (r *recorder) noteProcessLocked(rec *syscalls.Record, t thread) bool {
	name := processCalls[rec.Nr]
	exec := strings.HasPrefix(name, "execve")
	if r.skip != 0 && !r.begun && t.parent == r.skip {
		if !exec {
			return false
		}
		r.begun = true
	}
	p := r.procs[t.PID]
	if p == nil && rec.Late {
		return true // the process may have ended
	}
	if p == nil {
		if t.parent == r.skip && r.skip != 0 {
			t.Comm = initName // until it has executed the program
		}
		p = r.seenLocked(t, rec.Start)
	} else if t.TID == t.PID {
		p.thread.Comm = t.Comm
	}
	switch {
	case p == nil:
	case exec:
		if p.last != nil && !p.last.known {
			p.last.known, p.last.comm = true, t.Comm
		}
		p.last = &execAttempt{}
		r.execs[rec.ID] = p.last
		delete(r.threads, rec.TID) // execve changes its name
	case name == "exit_group":
		p.called, p.code, p.leaves = true, int(rec.Args[0]&0xff), rec.Start
	case name != "":
		p.forks = true
	}
	return true
}

// seenLocked emits the start of a process that was not known.
func (r *recorder) seenLocked(t thread, now time.Time) *process {
	if len(r.procs) >= maxProcesses || t.PID == 0 {
		return nil
	}
	p := &process{thread: t.Thread, parent: t.parent, pidfd: -1}
	p.thread.TID = t.PID
	r.procs[t.PID] = p
	r.queue = append(r.queue, queued{event: &trace.Process{
		Base: trace.Base{Time: now.Sub(r.start)}, Thread: p.thread, What: "start",
		Parent: t.parent,
	}})
	return p
}

// knowProcesses records the processes that exist when the trace begins. The trace has no
// event for their start.
func (r *recorder) knowProcesses() {
	var there []thread
	for _, init := range children(os.Getpid()) {
		for _, pid := range descendants(init) {
			if t, err := lookThread(pid); err == nil {
				there = append(there, t)
			}
		}
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range there {
		if len(r.procs) < maxProcesses && r.procs[t.PID] == nil {
			r.procs[t.PID] = &process{thread: t.Thread, parent: t.parent, pidfd: -1}
		}
	}
}

// tellExec emits the event of a successful execve(2).
func (r *recorder) tellExec(subscribers []*subscriber, rec *syscalls.Record) {
	r.mu.Lock()
	try := r.execs[rec.ID]
	delete(r.execs, rec.ID)
	who := r.threads[rec.TID].Thread
	r.mu.Unlock()
	if try == nil {
		return
	}
	d := rec.Decode(0)
	arg := 0
	if processCalls[rec.Nr] == "execveat" {
		arg = 1
	}
	if arg >= len(d.Args) {
		return
	}
	exe, err := strconv.Unquote(d.Args[arg])
	if err != nil {
		exe = d.Args[arg]
	}
	comm := try.comm
	if !try.known {
		now, err := lookThread(rec.TID)
		if err == nil {
			who, comm = now.Thread, now.Comm
		} else {
			comm = commOf(exe) // it has ended meanwhile
		}
	}
	if comm != commOf(exe) {
		return
	}
	who.TID, who.Comm = rec.TID, comm
	if who.PID == 0 {
		who.PID = rec.TID
	}
	r.mu.Lock()
	if p := r.procs[who.PID]; p != nil {
		p.thread.Comm = comm
	}
	r.mu.Unlock()
	give(subscribers, &trace.Process{Base: trace.Base{Time: rec.Start.Sub(r.start)},
		Thread: who, What: "exec", Exe: exe})
}

// commOf returns the name of a process after an execve(2) of a file (proc(5), comm).
func commOf(exe string) string {
	const size = 15 // TASK_COMM_LEN, less the NUL
	name := filepath.Base(exe)
	return name[:min(len(name), size)]
}

// lookAtProcesses finds children that have not made a trapped call yet, and processes
// that have ended. If last is true the trace ends, and it stops watching the remaining
// processes.
func (r *recorder) lookAtProcesses(last bool) {
	born := r.newChildren()
	now := time.Now()
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, t := range born {
		if r.procs[t.PID] == nil {
			r.seenLocked(t, now)
		}
	}
	for _, p := range r.procs {
		if p.pidfd < 0 && p.ended.IsZero() {
			p.open(now)
		}
	}
	r.pollProcessesLocked(now)
	for pid, p := range r.procs {
		if p.ended.IsZero() {
			if last {
				delete(r.procs, pid)
				p.close()
			}
			continue
		}
		status, known := p.status()
		if !known && !last && now.Sub(p.ended) < reapFor {
			continue
		}
		delete(r.procs, pid)
		p.close()
		at := p.ended
		if p.called && !p.leaves.IsZero() {
			at = p.leaves
		}
		e := &trace.Process{Base: trace.Base{Time: at.Sub(r.start)}, Thread: p.thread,
			What: "exit", Status: status}
		r.queue = append(r.queue, queued{event: e})
	}
}

// newChildren looks for the children of processes that have just created some.
func (r *recorder) newChildren() (born []thread) {
	r.mu.Lock()
	var parents []int
	for pid, p := range r.procs {
		if p.forks {
			p.forks = false
			parents = append(parents, pid)
		}
	}
	r.mu.Unlock()
	for _, parent := range parents {
		for _, pid := range children(parent) {
			if t, err := lookThread(pid); err == nil {
				born = append(born, t)
			}
		}
	}
	return born
}

// open opens a pidfd. This fails if the process has ended and its parent has reaped it.
func (p *process) open(now time.Time) {
	fd, err := unix.PidfdOpen(p.thread.PID, 0)
	switch {
	case err == nil:
		p.pidfd = fd
	case errors.Is(err, unix.ESRCH):
		p.ended = now
	}
}

// close closes the pidfd if it is open.
func (p *process) close() {
	if p.pidfd >= 0 {
		unix.Close(p.pidfd)
		p.pidfd = -1
	}
}

// pollProcessesLocked polls the pidfds for processes that have ended.
func (r *recorder) pollProcessesLocked(now time.Time) {
	var fds []unix.PollFd
	var whose []*process
	for _, p := range r.procs {
		if p.pidfd >= 0 && p.ended.IsZero() {
			fds = append(fds, unix.PollFd{Fd: int32(p.pidfd), Events: unix.POLLIN})
			whose = append(whose, p)
		}
	}
	if len(fds) == 0 {
		return
	}
	if n, err := unix.Poll(fds, 0); err != nil || n == 0 {
		return
	}
	for i, fd := range fds {
		if fd.Revents != 0 {
			whose[i].ended = now
		}
	}
}

// status returns how a process ended, in the form of trace.Process.
func (p *process) status() (status string, known bool) {
	if ws, ok := linux.PidfdExitStatus(p.pidfd); ok {
		if ws.Signaled() {
			return unix.SignalName(ws.Signal()), true
		}
		return strconv.Itoa(ws.ExitStatus()), true
	}
	if p.called {
		return strconv.Itoa(p.code), true
	}
	return "", false
}

// programEnded records the exit status of the program itself. boxer-init, its parent,
// knows it on every kernel.
func (r *recorder) programEnded(pid, code int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if p := r.procs[pid]; p != nil && !p.called && code <= exitSignal {
		p.called, p.code = true, code
	}
}

// endOf returns the status with which a program ended.
func endOf(code int) string {
	text := "the program has ended with status " + strconv.Itoa(code)
	if sig := unix.SignalName(unix.Signal(code - exitSignal)); code > exitSignal &&
		sig != "" {
		text += " (as after " + sig + ")"
	}
	return text
}
