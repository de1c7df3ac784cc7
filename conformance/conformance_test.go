package conformance

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// Each program has its own ports, so that none is in TIME-WAIT from another's end.
const (
	firstPort    = 7000
	portsProgram = 1000
)

// TestPrograms runs each program bare and under boxer, and compares.
func TestPrograms(t *testing.T) {
	natlab.NeedCommands(t, "cc")
	sources, err := filepath.Glob("programs/*.c")
	if err != nil || len(sources) == 0 {
		t.Fatal("no programs", err)
	}
	bare, boxed := bareWorld(t), boxedWorld(t)
	for i, source := range sources {
		name := strings.TrimSuffix(filepath.Base(source), ".c")
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(built, name)
			out, err := exec.Command("cc", "-O1", "-Wall", "-Wextra", "-Werror", "-pthread", "-o", path, source).CombinedOutput()
			if err != nil {
				t.Fatalf("cc: %v\n%s", err, out)
			}
			judge(t, name, bare, boxed, path, firstPort+i*portsProgram)
		})
	}
}

// judge plays a program in both worlds. CASE=name in the environment plays one case only.
func judge(t *testing.T, name string, bare, boxed *world, path string, port int) {
	only := os.Getenv("CASE")
	var linux, got map[string]map[string][]string
	var both sync.WaitGroup
	both.Go(func() { linux = bare.play(t, path, port, only) })
	both.Go(func() { got = boxed.play(t, path, port, only) })
	both.Wait()
	for _, side := range []string{"server", "client"} {
		for _, c := range slices.Sorted(maps.Keys(linux[side])) {
			label := name + "/" + c + "/" + side
			lines, met := excuse(label, got[side][c])
			if !slices.Equal(linux[side][c], lines) {
				t.Errorf("%s: boxer (+) is not as Linux (-):\n%s", label, compare(linux[side][c], lines))
			}
			for i, d := range known {
				if d.Case == label && !met[i] {
					t.Errorf("%s: boxer does not print %q: take the known difference out of the table", label, d.Boxer)
				}
			}
		}
	}
}
