package e2e

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestBrowser has Chromium render a page of another node: a name, a script, and a picture
// that the script asks for. Its processes have filters of their own, and the sandboxed
// ones no network.
func TestBrowser(t *testing.T) {
	natlab.NeedCommands(t, "chromium", "/usr/bin/python3")
	dir := tempDir(t)
	write(t, filepath.Join(dir, "index.html"), `<p id=p>static</p><script>
fetch("/text").then(r => r.text()).then(x => { document.getElementById("p").textContent = x + location.host; });</script>`)
	write(t, filepath.Join(dir, "text"), "fetched from ")
	web, app := pair(t, "web", "app")
	web.start("/usr/bin/python3", "-m", "http.server", "80", "--bind", "0.0.0.0",
		"--directory", dir)
	app.reach("web:80")
	browse := func(t *testing.T, f *function, flags ...string) {
		t.Helper()
		home := tempDir(t)
		if err := os.Chmod(home, 0o777); err != nil {
			t.Fatal(err)
		}
		args := append([]string{"HOME=" + home, "TMPDIR=" + home,
			"XDG_CONFIG_HOME=" + home, "XDG_CACHE_HOME=" + home, "chromium", "--headless",
			"--disable-gpu", "--no-first-run", "--disable-background-networking",
			"--disable-component-update", "--disable-sync", "--user-data-dir=" + home,
			"--virtual-time-budget=5000", "--dump-dom"}, flags...)
		if out := f.run("env", append(args, "http://web/")...); !strings.Contains(out,
			"fetched from web") {
			t.Errorf("the page is %s", out)
		}
	}
	t.Run("without its sandbox", func(t *testing.T) { browse(t, app.with(t), "--no-sandbox") })
	t.Run("with its sandbox", func(t *testing.T) {
		natlab.NeedUsers(t)
		nobody := app.with(t).as("nobody")
		if err := nobody.host.Command(t.Context(), "unshare", "-r",
			"true").Run(); err != nil {
			t.Skip("users have no user namespaces, which the sandbox takes:", err)
		}
		browse(t, nobody)
	})
}
