package landlock

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// A task is a thread: its number and its start time, since the kernel reuses numbers.
type task struct {
	tid     int
	started uint64 // in clock ticks since boot (proc(5))
}

// tasks asks the kernel about threads, and marks processes.
type tasks interface {
	// mark returns the mark of the thread's process, or 0 if it has none.
	mark(tid int) (uint64, error)
	setMark(tid int, mark uint64) error
	identify(tid int) (task, error)
	// process returns all threads of the thread's process, and the first of them.
	process(tid int) (leader task, threads []task, err error)
	// program returns a number that execve(2) changes.
	program(tid int) (uint64, error)
	// mayRestrict is Domains.MayRestrict.
	mayRestrict(tid int) bool
}

// procTasks are the threads of this host.
type procTasks struct{}

// MarkLimit is the resource limit that holds the marks: RLIMIT_LOCKS of
// include/uapi/asm-generic/resource.h, which has had no effect since Linux 2.4.25
// (getrlimit(2)). Marks are the highest values below RLIM_INFINITY.
const MarkLimit = 10

const noLimit = unix.RLIM_INFINITY

func (procTasks) mark(tid int) (uint64, error) {
	var limit unix.Rlimit
	err := unix.Prlimit(tid, MarkLimit, nil, &limit)
	if errors.Is(err, unix.EPERM) { // the process has become another user's
		limit.Cur, err = readLimit(tid)
	}
	if mark := noLimit - limit.Cur; err == nil && mark <= maxMarks {
		return mark, nil
	}
	return 0, err
}

func (procTasks) setMark(tid int, mark uint64) error {
	limit := noLimit - mark
	return unix.Prlimit(tid, MarkLimit, &unix.Rlimit{Cur: limit, Max: limit}, nil)
}

// readLimit returns the soft limit of file locks of a thread's process, from
// /proc/TID/limits (proc(5)), which all users may read.
func readLimit(tid int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/limits", tid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "\nMax file locks")
	fields := strings.Fields(rest)
	if !ok || len(fields) == 0 {
		return 0, fmt.Errorf("/proc/%d/limits: no file locks", tid)
	}
	if fields[0] == "unlimited" {
		return noLimit, nil
	}
	return strconv.ParseUint(fields[0], 10, 64)
}

// Fields of /proc/TID/stat after the name, from 0 (proc(5)).
const (
	statStarted = 19 // starttime
	statStack   = 25 // startstack
)

// readStat returns the fields of a file stat after the name, which ends with the last
// parenthesis.
func readStat(path string) ([][]byte, error) {
	b, err := os.ReadFile(path)
	if err != nil {
		return nil, err
	}
	fields := bytes.Fields(b[bytes.LastIndexByte(b, ')')+1:])
	if len(fields) <= statStack {
		return nil, fmt.Errorf("%s: %d fields", path, len(fields))
	}
	return fields, nil
}

func (procTasks) identify(tid int) (task, error) {
	stat, err := readStat(fmt.Sprintf("/proc/%d/task/%d/stat", tid, tid))
	if err != nil {
		return task{}, err
	}
	started, err := strconv.ParseUint(string(stat[statStarted]), 10, 64)
	return task{tid, started}, err
}

// program returns the address of the program's stack. execve(2) makes a new stack at a
// random address.
func (procTasks) program(tid int) (uint64, error) {
	stat, err := readStat(fmt.Sprintf("/proc/%d/stat", tid))
	if err != nil {
		return 0, err
	}
	return strconv.ParseUint(string(stat[statStack]), 10, 64)
}

func (p procTasks) process(tid int) (leader task, threads []task, err error) {
	entries, err := os.ReadDir(fmt.Sprintf("/proc/%d/task", tid))
	if err != nil {
		return task{}, nil, err
	}
	for _, e := range entries {
		number, err := strconv.Atoi(e.Name())
		if err != nil {
			return task{}, nil, err
		}
		t, err := p.identify(number)
		if os.IsNotExist(err) {
			continue // it has ended meanwhile
		}
		if err != nil {
			return task{}, nil, err
		}
		threads = append(threads, t)
	}
	tgid, err := statusField(tid, "Tgid", 10)
	if err != nil {
		return task{}, nil, err
	}
	leader, err = p.identify(int(tgid))
	return leader, threads, err
}

func (procTasks) mayRestrict(tid int) bool {
	if v, err := statusField(tid, "NoNewPrivs", 10); err != nil || v == 1 {
		return true
	}
	capabilities, err := statusField(tid, "CapEff", 16)
	return err != nil || capabilities&(1<<unix.CAP_SYS_ADMIN) != 0
}

// statusField returns a number of /proc/TID/status (proc(5)).
func statusField(tid int, name string, base int) (uint64, error) {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", tid))
	if err != nil {
		return 0, err
	}
	_, rest, ok := strings.Cut(string(b), "\n"+name+":\t")
	line, _, _ := strings.Cut(rest, "\n")
	if !ok {
		return 0, fmt.Errorf("/proc/%d/status: no %s", tid, name)
	}
	return strconv.ParseUint(strings.TrimSpace(line), base, 64)
}
