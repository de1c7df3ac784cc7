package e2e

import (
	"path/filepath"
	"strings"
	"testing"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// TestHAProxy runs a proxy that has computed its largest descriptor from maxconn, and
// ends if it gets a larger one: those of its resolvers' UDP sockets have to be low, too.
func TestHAProxy(t *testing.T) {
	natlab.NeedCommands(t, "haproxy", "/usr/bin/python3", "curl")
	c := newCloud(t)
	web, proxy, app := c.function("web", natlab.NAT{}), c.function("proxy", natlab.NAT{}),
		c.function("app", natlab.NAT{})
	dir := tempDir(t)
	write(t, filepath.Join(dir, "file"), "through the proxy\n")
	web.start("/usr/bin/python3", "-u", "-m", "http.server", "8000", "--bind", "0.0.0.0",
		"--directory", dir).
		Expect(`^Serving HTTP`)
	config := filepath.Join(tempDir(t), "haproxy.cfg")
	write(t, config, `global
  maxconn 256
resolvers network
  parse-resolv-conf
  hold valid 1s
defaults
  mode http
  timeout connect 5s
  timeout client 10s
  timeout server 10s
frontend in
  bind 0.0.0.0:8080
  default_backend web
backend web
  server web web:8000 check inter 200ms resolvers network resolve-prefer ipv4 init-addr none
`)
	proxy.start("haproxy", "-db", "-f", config)
	app.reach("proxy:8080")
	// Until the resolvers have the address, and a check has passed, the answer is 503.
	out := app.run("curl", "--silent", "--show-error", "--fail", "--retry", "50",
		"--retry-delay", "1",
		"--retry-all-errors", "http://proxy:8080/file")
	if out != "through the proxy\n" {
		t.Errorf("curl says %q", out)
	}
	for range 20 { // it goes on
		app.run("curl", "--silent", "--show-error", "--fail", "http://proxy:8080/file")
	}
}

// TestNodeClusterUDP runs a cluster of Node.js, whose primary binds the UDP socket and
// passes it on to its workers (SCM_RIGHTS): these see clients' addresses, and answer
// them.
func TestNodeClusterUDP(t *testing.T) {
	natlab.NeedCommands(t, "node")
	hub, app := pair(t, "hub", "app")
	file := filepath.Join(tempDir(t), "cluster.js")
	write(t, file, `
const dgram = require('dgram'), cluster = require('cluster');
if (cluster.isPrimary) {
  for (let i = 0; i < 2; i++) cluster.fork();
} else {
  const s = dgram.createSocket('udp4');
  s.on('message', (m, from) => s.send('you are ' + from.address, from.port, from.address));
  s.bind(7100, () => console.log('bound'));
}
`)
	hub.start("node", file).Expect(`^bound$`)
	client := filepath.Join(tempDir(t), "client.js")
	write(t, client, `
const dgram = require('dgram'), s = dgram.createSocket('udp4');
const ask = () => s.send('who am I?', 7100, 'hub');
const again = setInterval(ask, 500); // UDP may lose some
s.on('message', m => { console.log(String(m)); clearInterval(again); s.close(); });
ask();
`)
	got := app.run("node", client)
	address, ok := strings.CutPrefix(strings.TrimSpace(got), "you are ")
	if !ok {
		t.Fatalf("the worker says %q", got)
	}
	app.inPrefix("the client's address", address)
}
