package e2e

import (
	"os/exec"
	"path/filepath"
	"testing"
)

// jail is a command that runs boxer where it may use no filters; nil: there is none.
var jail []string

// TestJail runs tests once more where the kernel refuses what AWS Lambda functions are
// reported to refuse, so that boxer takes calls inside the programs. Who is root stays
// root, since these tests need it.
func TestJail(t *testing.T) {
	needBoxer(t)
	path := filepath.Join(built, "jail")
	if out, err := exec.Command("go", "build", "-o", path,
		"../internal/jail").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	for _, variant := range []struct {
		name string
		jail []string
		all  map[string]func(*testing.T)
	}{
		{"reported", []string{path, "-uid", "0", "--"}, map[string]func(*testing.T){
			"PostgreSQL": TestPostgreSQL, "Redis": TestRedis, "Nginx": TestNginx,
			"Go": TestGo, "Musl": TestMusl,
			"PythonHTTP": TestPythonHTTP, "Node": TestNode, "Java": TestJava,
			"Prefork": TestPrefork, "Spawn": TestSpawn,
			"Threads": TestThreads, "UDP": TestUDP, "Unprivileged": TestUnprivileged,
			"Hammer": TestHammer,
		}},
		{"strict", []string{path, "-uid", "0", "-strict", "--"},
			map[string]func(*testing.T){
				"Go": TestGo, "PythonHTTP": TestPythonHTTP, "Unprivileged": TestUnprivileged,
				"Spawn": TestSpawn,
			}},
	} {
		t.Run(variant.name, func(t *testing.T) {
			jail = variant.jail
			defer func() { jail = nil }()
			for name, test := range variant.all {
				t.Run(name, test)
			}
		})
	}
}
