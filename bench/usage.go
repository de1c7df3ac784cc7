package main

import (
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"time"

	"golang.org/x/sys/unix"
)

// clockTick is the unit of times in /proc/PID/stat: USER_HZ is 100 on all architectures
// (proc_pid_stat(5)).
const clockTick = 10 * time.Millisecond

// A usage is the CPU time and memory that processes have used.
type usage struct {
	cpu    time.Duration // user and system time, including that of ended children
	memory int64         // resident, in bytes
}

// usageOf returns the usage of the processes and all their descendants.
func usageOf(roots []*process) (usage, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return usage{}, err
	}
	children := make(map[int][]int)
	taken := make(map[int]stat)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		} else if err != nil {
			return usage{}, err
		}
		st, err := parseStat(b)
		if err != nil {
			return usage{}, fmt.Errorf("%s: %w", file, err)
		}
		children[st.parent] = append(children[st.parent], st.pid)
		taken[st.pid] = st
	}
	var total usage
	var add func(pid int)
	add = func(pid int) {
		total.cpu += time.Duration(taken[pid].ticks) * clockTick
		total.memory += int64(taken[pid].pages) * int64(os.Getpagesize())
		for _, child := range children[pid] {
			add(child)
		}
	}
	for _, p := range roots {
		add(p.cmd.Process.Pid)
	}
	return total, nil
}

// A stat holds fields of /proc/PID/stat (proc_pid_stat(5)).
type stat struct {
	pid, parent int
	ticks       int // of the process and of the children that it has waited for
	pages       int // resident
}

// parseStat reads /proc/PID/stat.
func parseStat(b []byte) (st stat, err error) {
	// the name may contain any character
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')')
	if open < 1 || end < open {
		return stat{}, errors.New("no name in it")
	}
	fields := bytes.Fields(b[end+1:]) // field 3, the state, is fields[0]
	if len(fields) < 22 {
		return stat{}, errors.New("cut short")
	}
	number := func(field []byte) int {
		n, e := strconv.Atoi(string(field))
		err = errors.Join(err, e)
		return n
	}
	st = stat{pid: number(bytes.TrimSpace(b[:open])), parent: number(fields[1]),
		pages: number(fields[21])}
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		st.ticks += number(f)
	}
	return st, err
}
