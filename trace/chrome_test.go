package trace

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"golang.org/x/net/websocket"

	"github.com/boxer-sandbox/boxer/internal/natlab"
)

// A browser is a page in headless Chromium, driven by the DevTools protocol.
type browser struct {
	t    *testing.T
	conn *websocket.Conn

	mu       sync.Mutex
	sent     int
	answers  map[int]chan json.RawMessage
	problems []string // exceptions, errors on the console, requests to elsewhere
}

// startBrowser starts Chromium with a profile of its own; it ends with the test.
func startBrowser(t *testing.T) *browser {
	t.Helper()
	if testing.Short() {
		t.Skip("starts Chromium, which takes seconds")
	}
	natlab.NeedCommands(t, "chromium")
	// Not t.TempDir, whose path has the test's name: Chromium puts a socket there, and
	// the path of a socket is short (unix(7)).
	home, err := os.MkdirTemp("", "chromium-")
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("chromium", "--headless", "--no-sandbox", "--disable-gpu",
		"--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--user-data-dir="+t.TempDir(), "--remote-debugging-port=0",
		"--remote-allow-origins=*", "--window-size=1440,1500", "about:blank")
	// Otherwise it leaves folders in /tmp and in the user's home.
	cmd.Env = append(os.Environ(), "TMPDIR="+home, "HOME="+home, "XDG_CONFIG_HOME="+home,
		"XDG_CACHE_HOME="+home)
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	stderr, err := cmd.StderrPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		syscall.Kill(-cmd.Process.Pid, syscall.SIGKILL) // its own group, which it leads
		cmd.Wait()
		os.RemoveAll(home)
	})
	listening := regexp.MustCompile(`DevTools listening on ws://([^/]+)/`)
	host := ""
	lines := bufio.NewScanner(stderr)
	for host == "" && lines.Scan() {
		if m := listening.FindStringSubmatch(lines.Text()); m != nil {
			host = m[1]
		}
	}
	if host == "" {
		t.Fatalf("chromium ended: %v", cmd.Wait())
	}
	go func() { // until it ends
		for lines.Scan() {
		}
	}()
	return attach(t, host)
}

// attach opens a page.
func attach(t *testing.T, host string) *browser {
	t.Helper()
	request, err := http.NewRequest(http.MethodPut,
		"http://"+host+"/json/new?about:blank", nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	var page struct{ WebSocketDebuggerURL string }
	if err := json.NewDecoder(response.Body).Decode(&page); err != nil {
		t.Fatal(err)
	}
	conn, err := websocket.Dial(page.WebSocketDebuggerURL, "", "http://127.0.0.1")
	if err != nil {
		t.Fatal(err)
	}
	b := &browser{t: t, conn: conn, answers: make(map[int]chan json.RawMessage)}
	go b.receive()
	t.Cleanup(func() { conn.Close() })
	for _, domain := range []string{"Page", "Runtime", "Log", "Network"} {
		b.send(domain+".enable", nil)
	}
	return b
}

// receive takes answers and events until the connection ends.
func (b *browser) receive() {
	for {
		var m struct {
			ID     int
			Method string
			Params json.RawMessage
			Result json.RawMessage
			Error  json.RawMessage
		}
		if err := websocket.JSON.Receive(b.conn, &m); err != nil {
			return
		}
		b.mu.Lock()
		switch {
		case m.ID != 0:
			b.answers[m.ID] <- append(m.Result, m.Error...)
		case m.Method == "Runtime.exceptionThrown", m.Method == "Log.entryAdded",
			m.Method == "Network.requestWillBeSent" && !strings.Contains(string(m.Params), `"url":"file:///`):
			b.problems = append(b.problems, m.Method+" "+string(m.Params))
		}
		b.mu.Unlock()
	}
}

// send sends a command and returns its result.
func (b *browser) send(method string, params map[string]any) json.RawMessage {
	b.t.Helper()
	if params == nil {
		params = map[string]any{}
	}
	b.mu.Lock()
	b.sent++
	id, answer := b.sent, make(chan json.RawMessage, 1)
	b.answers[id] = answer
	b.mu.Unlock()
	if err := websocket.JSON.Send(b.conn,
		map[string]any{"id": id, "method": method, "params": params}); err != nil {
		b.t.Fatal(err)
	}
	select {
	case result := <-answer:
		return result
	case <-time.After(time.Minute):
		b.t.Fatalf("no answer to %s", method)
		return nil
	}
}

// eval returns the value of a JavaScript expression as JSON, strings as they are.
func (b *browser) eval(expression string) string {
	b.t.Helper()
	var r struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails json.RawMessage
	}
	answer := b.send("Runtime.evaluate",
		map[string]any{"expression": expression, "returnByValue": true,
			"awaitPromise": true})
	if err := json.Unmarshal(answer, &r); err != nil || r.ExceptionDetails != nil {
		b.t.Fatalf("%s: %v, %s", expression, err, answer)
	}
	var s string
	if json.Unmarshal(r.Result.Value, &s) == nil {
		return s
	}
	return string(r.Result.Value)
}

// open loads a page and waits until its script has drawn it.
func (b *browser) open(url string) {
	b.t.Helper()
	b.send("Page.navigate", map[string]any{"url": "about:blank"})
	b.send("Page.navigate", map[string]any{"url": url})
	b.until(`document.documentElement.dataset.ready`, "true")
}

// until waits until an expression has a value: each look waits for a frame to be drawn.
func (b *browser) until(expression, want string) {
	b.t.Helper()
	got := ""
	for deadline := time.Now().Add(30 * time.Second); time.Now().Before(deadline); {
		got = b.eval(`new Promise(r => requestAnimationFrame(() => r(` + expression + `)))`)
		if got == want {
			return
		}
	}
	b.t.Fatalf("%s is %q after 30 s; want %q", expression, got, want)
}

// key presses a key.
func (b *browser) key(name string) {
	b.t.Helper()
	down := map[string]any{"type": "keyDown", "key": name}
	if len(name) == 1 {
		down["text"] = name
	}
	b.send("Input.dispatchKeyEvent", down)
	b.send("Input.dispatchKeyEvent", map[string]any{"type": "keyUp", "key": name})
}

// mouse sends an event of the mouse at a place of the timeline.
func (b *browser) mouse(kind string, x, y float64, more map[string]any) {
	b.t.Helper()
	var at struct{ X, Y float64 }
	if err := json.Unmarshal([]byte(b.eval(`(({x, y}) => ({x, y}))(document.getElementById('canvas').getBoundingClientRect())`)), &at); err != nil {
		b.t.Fatal(err)
	}
	params := map[string]any{"type": kind, "x": at.X + x, "y": at.Y + y, "button": "left",
		"buttons": 1, "clickCount": 1}
	if kind == "mouseWheel" || kind == "mouseMoved" && more == nil {
		params["button"], params["buttons"] = "none", 0
	}
	for k, v := range more {
		params[k] = v
	}
	b.send("Input.dispatchMouseEvent", params)
}

// search types a search.
func (b *browser) search(text string) {
	b.t.Helper()
	b.eval(`document.getElementById('search').focus(); document.getElementById('search').select()`)
	b.send("Input.insertText", map[string]any{"text": text})
}

// theme sets what the system prefers.
func (b *browser) theme(name string) {
	b.t.Helper()
	b.send("Emulation.setEmulatedMedia",
		map[string]any{"features": []map[string]any{{"name": "prefers-color-scheme",
			"value": name}}})
}

func (b *browser) noProblems() {
	b.t.Helper()
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, p := range b.problems {
		b.t.Error(p)
	}
}

// text returns the text of an element.
func (b *browser) text(id string) string {
	b.t.Helper()
	return b.eval(fmt.Sprintf("document.getElementById(%q).innerText", id))
}
