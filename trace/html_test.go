package trace

import (
	"bytes"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// pagedData returns the data of a page, indented.
func pagedData(t *testing.T, page string) string {
	t.Helper()
	_, rest, _ := strings.Cut(page, `<script type="application/json" id="data">`)
	data, _, ok := strings.Cut(rest, "</script>")
	var out bytes.Buffer
	if err := json.Indent(&out, []byte(data), "", " "); err != nil || !ok {
		t.Fatalf("the page's data: %v", err)
	}
	return out.String() + "\n"
}

func TestHTMLGolden(t *testing.T) {
	golden(t, "merged.page.json", pagedData(t,
		write(t, "html", Options{}, readAll(t, "merged.jsonl")...)))
}

// TestHTMLNeedsNothing looks for what would make a browser ask elsewhere.
func TestHTMLNeedsNothing(t *testing.T) {
	page := write(t, "html", Options{})
	if found := regexp.MustCompile(`https?:|\bsrc=|<link|@import|url\(|\bimport\b|fetch\(|XMLHttpRequest|\{\{`).FindString(page); found != "" {
		t.Errorf("the page has %q", found)
	}
}

// TestHTMLIsBounded has more of everything than the page may hold: what failed stays, and
// the page says what is left out.
func TestHTMLIsBounded(t *testing.T) {
	var events []Event
	for i := range 500 {
		errno := ""
		if i == 17 {
			errno = "ECONNREFUSED"
		}
		events = append(events, &Call{Name: "connect", Args: []string{fmt.Sprint(i)},
			Duration: time.Duration(i), Errno: errno, Served: Served{Failure: errno}},
			&DNS{Query: fmt.Sprint("q", i), RCode: "NOERROR", Duration: time.Duration(i)},
			&Connection{ID: ConnID(i + 1), State: Closed, Duration: time.Duration(i),
				Errno: errno})
	}
	page := pagedData(t, write(t, "html", Options{MaxEvents: 10}, events...))
	var data pageData
	if err := json.Unmarshal([]byte(page), &data); err != nil {
		t.Fatal(err)
	}
	if len(data.Calls) != 10 || len(data.Conns) != 10 || len(data.Names) != 10 ||
		len(data.Notes) != 3 || !strings.Contains(data.Notes[0],
		"10 of 500 connections") {
		t.Errorf("%d calls, %d connections, %d names; notes %q", len(data.Calls),
			len(data.Conns), len(data.Names), data.Notes)
	}
	if args := data.Texts[data.Calls[0][7]]; args != "17" || data.Calls[9][2] != 499 {
		t.Errorf("the first call is %s, the last took %d: what failed and what was slow is gone", args, data.Calls[9][2])
	}
	if data.Figures[0][1] != 500.0 || data.Figures[3][1] != 500.0 ||
		data.Figures[2][1] != 1.0 {
		t.Errorf("figures %v do not count all", data.Figures)
	}
}

// paged writes a page to a file for the browser.
func paged(t *testing.T, events ...Event) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "page.html")
	if err := os.WriteFile(file, []byte(write(t, "html", Options{}, events...)),
		0o600); err != nil {
		t.Fatal(err)
	}
	return "file://" + file
}

// TestHTMLInBrowser uses the page as its reader does.
func TestHTMLInBrowser(t *testing.T) {
	b := startBrowser(t)
	url := paged(t, readAll(t, "merged.jsonl")...)
	b.open(url)
	b.until(`document.getElementById('found').textContent`, "21 of 21 events")
	for _, want := range []string{"no answer from node ghost (10.111.0.9:8080) for 13s",
		"refused by db (10.111.0.3:5433)", "192.0.2.53:53 did not answer within 5s",
		"reset by db (10.111.0.3:6379)"} {
		if !strings.Contains(b.text("list"), want) {
			t.Errorf("the list has no %q", want)
		}
	}
	if tables := b.text("tables"); !strings.Contains(tables, "Slowest connects") ||
		!strings.Contains(tables, "System calls") || !strings.Contains(tables, "Peers") {
		t.Errorf("the summary is\n%s", tables)
	}

	for query, found := range map[string]string{"errno:econnrefused": "2 of 21",
		"port:5432": "3 of 21", "node:db call:accept": "3 of 21", "is:failed": "7 of 21",
		"slow.example": "1 of 21", "no such thing": "0 of 21"} {
		b.search(query)
		b.until(`document.getElementById('found').textContent.slice(0, 7)`, found)
	}
	b.search(" ")
	b.until(`document.getElementById('found').textContent`, "21 of 21 events")
	b.eval(`document.getElementById('failed').click()`)
	b.until(`document.getElementById('found').textContent`, "7 of 21 events")
	b.eval(`document.getElementById('failed').click()`)

	span := `document.getElementById('view').textContent`
	all := b.eval(span)
	changed := func(what string, act func()) {
		t.Helper()
		before := b.eval(span)
		act()
		b.until(fmt.Sprintf("String(%s !== %q)", span, before), "true")
		t.Logf("%s: %s", what, b.eval(span))
	}
	changed("wheel", func() {
		b.mouse("mouseWheel", 400, 200,
			map[string]any{"deltaX": 0, "deltaY": -300})
	})
	changed("drag", func() {
		b.mouse("mousePressed", 400, 420, nil)
		b.mouse("mouseMoved", 300, 420, map[string]any{})
		b.mouse("mouseReleased", 300, 420, nil)
	})
	changed("drag of the scale", func() {
		b.mouse("mousePressed", 300, 10, nil)
		b.mouse("mouseMoved", 500, 10, map[string]any{})
		b.mouse("mouseReleased", 500, 10, nil)
	})
	changed("button", func() { b.eval(`document.getElementById('zoom-out').click()`) })
	b.eval(`document.getElementById('canvas').focus()`)
	for _, key := range []string{"+", "ArrowRight", "ArrowLeft", "-", "+"} {
		changed("key "+key, func() { b.key(key) })
	}
	b.key("0")
	b.until(span, all)

	b.key("ArrowDown")
	b.until(`document.querySelector('#details h3').textContent.slice(0, 7)`, "accept4")
	ghost := `String((document.querySelector('#details .fail') || {textContent: ''}).textContent.includes('no answer from node ghost'))`
	b.mouse("mousePressed", 600, 190, nil) // the lane of web's connections
	b.mouse("mouseReleased", 600, 190, nil)
	b.until(ghost, "true")
	b.key("Escape")
	b.until(ghost, "false")
	b.eval(`[...document.querySelectorAll('#list tbody tr')].find(r => r.textContent.includes('10.111.0.9')).click()`)
	b.until(ghost, "true")
	b.until(`String(location.hash.includes('event='))`, "true")
	b.noProblems()
}

// TestHTMLThemes measures the contrast of all text with what is behind it in dark and
// light: WCAG 2.1 wants 4.5.
func TestHTMLThemes(t *testing.T) {
	b := startBrowser(t)
	url := paged(t, readAll(t, "merged.jsonl")...)
	const contrast = `(() => {
		const parse = c => (c.match(/[\d.]+/g) || []).map(Number);
		const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
		const behind = e => { for (; e; e = e.parentElement) { const c = parse(getComputedStyle(e).backgroundColor); if (c.length === 3 || c[3] > 0.9) return c; } return [255, 255, 255]; };
		const poor = [];
		for (const e of document.body.querySelectorAll('*')) {
			if (![...e.childNodes].some(n => n.nodeType === 3 && n.data.trim()) || !e.offsetParent || e.closest('script, .visually-hidden, noscript')) continue;
			const a = light(parse(getComputedStyle(e).color)), b = light(behind(e));
			const ratio = (Math.max(a, b) + 0.05) / (Math.min(a, b) + 0.05);
			if (ratio < 4.5) poor.push(e.tagName + '.' + e.className + ' ' + ratio.toFixed(2) + ' ' + e.textContent.slice(0, 30));
		}
		return poor.join('; ');
	})()`
	const painted = `(() => {
		const c = document.getElementById('canvas'), d = c.getContext('2d').getImageData(0, 0, c.width, c.height).data, seen = new Set();
		for (let i = 0; i < d.length; i += 4) seen.add(d[i] << 16 | d[i + 1] << 8 | d[i + 2]);
		return seen.size > 50 ? [d[4 * c.width * 100 - 8], d[4 * c.width * 100 - 7]].join() : 'blank';
	})()`
	body := `getComputedStyle(document.body).backgroundColor`
	var bodies, canvases []string
	for _, theme := range []string{"light", "dark"} {
		b.theme(theme)
		b.open(url + "#event=4")
		b.until(`document.getElementById('found').textContent`, "21 of 21 events")
		if poor := b.eval(contrast); poor != "" {
			t.Errorf("%s: text with poor contrast: %s", theme, poor)
		}
		bodies, canvases = append(bodies, b.eval(body)), append(canvases, b.eval(painted))
	}
	if bodies[0] == bodies[1] || canvases[0] == canvases[1] || canvases[0] == "blank" ||
		canvases[1] == "blank" {
		t.Errorf("dark and light look alike: %q, %q", bodies, canvases)
	}
	b.eval(`document.getElementById('theme').click()`)
	b.until(body, bodies[0])
	b.noProblems()
}

// TestHTMLEscapes has a trace whose texts are markup and scripts.
func TestHTMLEscapes(t *testing.T) {
	evil := `</script><script>window.pwned=1</script><img src=x onerror="window.pwned=1">{{script}}<!--`
	thread := Thread{PID: 1, TID: 1, Comm: evil}
	url := paged(t, &Header{Node: evil, Program: evil, Start: sampleStart},
		&Call{Thread: thread, Name: evil, Args: []string{evil}, Errno: evil, Ret: -1,
			RetNote: evil, Served: Served{Peer: evil, Path: evil, Failure: evil,
				Note: evil}},
		&Connection{Thread: thread, ID: 1, State: Failed, Proto: evil, Role: RoleConnect,
			Peer: evil, Errno: evil, Reason: evil},
		&DNS{Thread: thread, Query: evil, QType: evil, Answers: []string{evil},
			RCode: evil, Server: evil, Failure: evil})
	b := startBrowser(t)
	b.open(url)
	b.until(`document.getElementById('found').textContent`, "3 of 3 events")
	for i := range 3 {
		b.eval(fmt.Sprintf(`document.querySelectorAll('#list tbody tr')[%d].click()`, i))
		b.until(`String(document.getElementById('details').textContent.includes('window.pwned=1'))`, "true")
	}
	b.mouse("mouseMoved", 140, 62, nil)
	if got := b.eval(`[String(window.pwned), document.scripts.length, document.images.length].join()`); got != "undefined,2,0" {
		t.Errorf("what the trace says became markup: %s", got)
	}
	b.noProblems()
}
