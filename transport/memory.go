package transport

import (
	"bufio"
	"math"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

const (
	minMemory = 64 << 20
	maxMemory = 512 << 20
)

// defaultMemory returns the default of Config.Memory in bytes: a sixteenth of the memory
// that this process may use. Linux's own tcp_mem is about a twelfth.
func defaultMemory() int64 {
	limit := machineMemory("/proc/meminfo")
	for _, dir := range cgroupDirs("/proc/self/cgroup", "/sys/fs/cgroup") {
		limit = min(limit, cgroupMemory(dir))
	}
	return min(max(limit/16, minMemory), maxMemory)
}

// machineMemory reads MemTotal (proc_meminfo(5)), in bytes.
func machineMemory(path string) int64 {
	f, err := os.Open(path)
	if err != nil {
		return math.MaxInt64
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		fields := strings.Fields(lines.Text())
		if len(fields) < 2 || fields[0] != "MemTotal:" {
			continue
		}
		if kib, err := strconv.ParseInt(fields[1], 10, 64); err == nil {
			return kib << 10
		}
	}
	return math.MaxInt64
}

// cgroupDirs returns the directories of the control groups that limit this process
// (cgroups(7)): its own group and those above it.
func cgroupDirs(self, root string) (dirs []string) {
	b, err := os.ReadFile(self)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(b)) {
		_, rest, _ := strings.Cut(strings.TrimSpace(line), ":")
		controllers, path, ok := strings.Cut(rest, ":")
		base := root
		switch {
		case !ok:
			continue
		case controllers == "memory": // version 1
			base = filepath.Join(root, "memory")
		case controllers != "": // another controller of version 1
			continue
		}
		for p := filepath.Clean("/" + path); ; p = filepath.Dir(p) {
			dirs = append(dirs, filepath.Join(base, p))
			if p == "/" {
				break
			}
		}
	}
	return dirs
}

// cgroupMemory returns the memory limit of a control group of version 2 or 1, in bytes.
func cgroupMemory(dir string) int64 {
	for _, name := range []string{"memory.max", "memory.limit_in_bytes"} {
		b, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if n, err := strconv.ParseInt(strings.TrimSpace(string(b)), 10, 64); err == nil && n > 0 {
			return n
		}
	}
	return math.MaxInt64 // "max", or no such group
}
