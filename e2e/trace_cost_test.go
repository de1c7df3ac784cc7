package e2e

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestTraceCost runs pgbench against PostgreSQL, traced and not, in turns: with its
// connections traced it keeps 0.9 of its throughput. Each figure is the median of the
// rounds. With each send and receive trapped (-e network) it cannot: they are three for
// each query, of some 10 us at the least.
func TestTraceCost(t *testing.T) {
	if native {
		t.Skip("is about boxer")
	}
	if !*long {
		t.Skip("takes a minute: -e2e.long")
	}
	natlab.NeedCommands(t, "pgbench")
	c := newCloud(t)
	app := c.function("app", punchable)
	for name, set := range map[string]string{"plain": "", "connections": "connections",
		"network": "network"} {
		f := c.function(name, punchable)
		if set == "" {
			startPostgres(f)
			continue
		}
		file := filepath.Join(tempDir(t), "trace.jsonl")
		if err := os.Chmod(filepath.Dir(file), 0o777); err != nil {
			t.Fatal(err)
		}
		startPostgresBy(f, func(f *function, name string, args ...string) *exec.Cmd {
			cmd := f.host.Command(context.Background(), boxer,
				append([]string{"trace", "-e", set, "-o", file, "--name", f.name, "--",
					name}, args...)...)
			cmd.Env = append(os.Environ(), "BOXER_JOIN="+f.url)
			return cmd
		})
	}
	hosts := []string{"plain", "connections", "network"}
	tps := regexp.MustCompile(`tps = ([\d.]+)`)
	for _, host := range hosts {
		app.run("pgbench", "-h", host, "-U", "postgres", "-i", "-q", "-s", "5",
			"postgres")
	}
	for _, load := range []struct{ name, flag string }{{"TPC-B", "-n"},
		{"select only", "-Sn"}} {
		got := map[string][]float64{}
		for range 5 {
			for _, host := range hosts {
				out := app.run("pgbench", "-h", host, "-U", "postgres", load.flag, "-c",
					"8", "-T", "3", "postgres")
				v, err := strconv.ParseFloat(tps.FindStringSubmatch(out)[1], 64)
				if err != nil {
					t.Fatal(err)
				}
				got[host] = append(got[host], v)
			}
		}
		for _, v := range got {
			slices.Sort(v)
		}
		off, cheap, full := got["plain"][2], got["connections"][2], got["network"][2]
		t.Logf("%s: %.0f tps without a trace; -e connections %.3f of that, -e network %.3f", load.name, off, cheap/off, full/off)
		if load.name == "TPC-B" && cheap/off < 0.9 {
			t.Errorf("%s: a trace costs too much: %.3f of the throughput are left, want 0.9", load.name, cheap/off)
		}
	}
}
