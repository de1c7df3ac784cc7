package rewrite

import (
	"bytes"
	"os"
	"strconv"
)

func cString(b []byte) string {
	b, _, _ = bytes.Cut(b, []byte{0})
	return string(b)
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }

// descends reports whether a process is a descendant of another. /proc/PID/stat has the
// parent after the name, which is in parentheses (proc(5)).
func descends(pid, from int) bool {
	for range 1000 {
		if pid == from {
			return true
		}
		b, err := os.ReadFile("/proc/" + itoa(int64(pid)) + "/stat")
		if err != nil {
			return false
		}
		_, rest, ok := bytes.Cut(b[bytes.LastIndexByte(b, ')')+1:], []byte(" "))
		fields := bytes.Fields(rest)
		if !ok || len(fields) < 2 {
			return false
		}
		if pid, err = strconv.Atoi(string(fields[1])); err != nil || pid == 0 {
			return false
		}
	}
	return false
}
