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

// clockTick is the unit of times in /proc/PID/stat: USER_HZ is 100 on all architectures (proc_pid_stat(5)).
const clockTick = 10 * time.Millisecond

// cpuOf returns the CPU time, user and system, that the processes have taken and all that descends from them, also what
// has ended since.
func cpuOf(roots []*process) (time.Duration, error) {
	files, err := filepath.Glob("/proc/[0-9]*/stat")
	if err != nil {
		return 0, err
	}
	children := make(map[int][]int)
	ticks := make(map[int]int)
	for _, file := range files {
		b, err := os.ReadFile(file)
		if errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ESRCH) {
			continue // it has ended
		} else if err != nil {
			return 0, err
		}
		pid, parent, used, err := parseStat(b)
		if err != nil {
			return 0, fmt.Errorf("%s: %w", file, err)
		}
		children[parent] = append(children[parent], pid)
		ticks[pid] = used
	}
	total := 0
	var add func(pid int)
	add = func(pid int) {
		total += ticks[pid]
		for _, child := range children[pid] {
			add(child)
		}
	}
	for _, p := range roots {
		add(p.cmd.Process.Pid)
	}
	return time.Duration(total) * clockTick, nil
}

// parseStat reads /proc/PID/stat. ticks are those of the process and of the children that it has waited for.
func parseStat(b []byte) (pid, parent, ticks int, err error) {
	open, end := bytes.IndexByte(b, '('), bytes.LastIndexByte(b, ')') // the name may have anything in it
	if open < 1 || end < open {
		return 0, 0, 0, errors.New("no name in it")
	}
	fields := bytes.Fields(b[end+1:]) // field 3, the state, is fields[0]
	if len(fields) < 15 {
		return 0, 0, 0, errors.New("cut short")
	}
	number := func(field []byte) int {
		n, e := strconv.Atoi(string(field))
		err = errors.Join(err, e)
		return n
	}
	pid, parent = number(bytes.TrimSpace(b[:open])), number(fields[1])
	for _, f := range fields[11:15] { // utime, stime, cutime, cstime
		ticks += number(f)
	}
	return pid, parent, ticks, err
}
