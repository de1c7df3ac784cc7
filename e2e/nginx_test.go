package e2e

import (
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
	"github.com/boxer-sandbox/boxer/internal/proctest"
)

// nginxConf is for a server in the foreground, all of whose files are below {dir}.
const nginxConf = `
daemon off;
worker_processes 2;
pid {dir}/pid;
error_log stderr;
events { worker_connections 512; }
http {
	access_log {dir}/access.log;
	sendfile on;
	client_body_temp_path {dir}; proxy_temp_path {dir}; fastcgi_temp_path {dir}; uwsgi_temp_path {dir}; scgi_temp_path {dir};
	server { listen 80; root {dir}/www; }
}
`

// randomFile writes a file of size random bytes.
func randomFile(t *testing.T, path string, size int64) {
	t.Helper()
	f, err := os.Create(path)
	if err == nil {
		_, err = io.CopyN(f, rand.Reader, size)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}

func TestNginx(t *testing.T) {
	natlab.NeedCommands(t, "nginx", "curl")
	web, app := pair(t, "web", "app")
	dir := tempDir(t)
	if err := os.Mkdir(filepath.Join(dir, "www"), 0o755); err != nil {
		t.Fatal(err)
	}
	const files = 1000
	for i := range files {
		randomFile(t, filepath.Join(dir, "www", fmt.Sprint(i)), int64(i*37))
	}
	randomFile(t, filepath.Join(dir, "www", "big"), choose[int64](128<<20, 1<<30))
	conf := filepath.Join(dir, "nginx.conf")
	write(t, conf, strings.ReplaceAll(nginxConf, "{dir}", dir))
	web.start("nginx", "-p", dir, "-c", conf, "-e", "stderr")
	app.reach("web:80")

	same := func(t *testing.T, name, fetched string) {
		t.Helper()
		want, wantSize := checksum(t, filepath.Join(dir, "www", name))
		if got, size := checksum(t, fetched); got != want || size != wantSize {
			t.Errorf("%s: %d bytes %s, want %d bytes %s", name, size, got, wantSize, want)
		}
	}
	for _, tc := range []struct{ name, header string }{
		{"keep-alive", ""},
		{"a connection for each file", "Connection: close"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			app := app.with(t)
			to := tempDir(t)
			var list strings.Builder
			for i := range files {
				fmt.Fprintf(&list, "url = http://web/%d\noutput = %s/%d\n", i, to, i)
			}
			config := filepath.Join(to, "list")
			write(t, config, list.String())
			out := app.runFor(2*proctest.Patience, "curl", "--fail", "--silent",
				"--show-error", "--header", tc.header,
				"--write-out", "%{num_connects}\n", "--config", config)
			connects := 0
			for _, line := range strings.Fields(out) {
				connects += atoi(t, line)
			}
			if want := map[string]int{"": 1,
				"Connection: close": files}[tc.header]; connects != want {
				t.Errorf("curl made %d connections, want %d", connects, want)
			}
			for i := range files {
				same(t, fmt.Sprint(i), filepath.Join(to, fmt.Sprint(i)))
			}
		})
	}

	t.Run("big file", func(t *testing.T) {
		web, app := web.with(t), app.with(t)
		to := filepath.Join(tempDir(t), "big")
		// Without --ipv4 curl tries IPv6, too, after 200 ms (RFC 8305), and the first
		// connect of a node waits for a path.
		out := app.runFor(3*proctest.Patience, "curl", "--ipv4", "--fail", "--silent",
			"--show-error", "--output", to,
			"--write-out", "%{remote_ip} %{local_ip} %{speed_download}\n",
			"http://web/big")
		same(t, "big", to)
		var remote, local, speed string
		if _, err := fmt.Sscan(out, &remote, &local, &speed); err != nil {
			t.Fatalf("curl says %q: %v", out, err)
		}
		app.inPrefix("curl's own address", local)
		if want := web.address().String(); remote != want {
			t.Errorf("curl was connected to %s, want %s", remote, want)
		}
		t.Logf("%s bytes/s", speed)
	})

	t.Run("access log", func(t *testing.T) {
		web := web.with(t)
		lines := strings.Split(strings.TrimSpace(read(t, filepath.Join(dir, "access.log"))), "\n")
		if want := 2*files + 1; len(lines) != want {
			t.Errorf("%d lines, want %d", len(lines), want)
		}
		for _, line := range lines {
			client, _, _ := strings.Cut(line, " ")
			web.inPrefix("the client in the access log", client)
			if client == web.host.Addr().String() {
				t.Errorf("the client in the access log is the server: %s", line)
			}
		}
	})
}
