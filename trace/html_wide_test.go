package trace

import (
	"bytes"
	"encoding/json"
	"image"
	"image/color"
	"image/png"
	"math"
	"net/netip"
	"strings"
	"testing"
	"time"
)

// wideTrace is a trace in which bars are as wide as the timeline, errors are harmless,
// and tables have long lines.
func wideTrace() []Event {
	const all = 10 * time.Second
	at := func(d time.Duration) Base { return Base{Time: d} }
	thread := func(tid int) Thread { return Thread{PID: tid, TID: tid, Comm: "worker"} }
	local, remote := netip.MustParseAddrPort("10.111.0.2:40000"),
		netip.MustParseAddrPort("10.111.0.3:5432")
	conn := func(id ConnID, state ConnState, t time.Duration,
		more Connection) *Connection {
		more.Base, more.Thread, more.ID, more.State = at(t), thread(7), id, state
		more.Local, more.Remote, more.Role, more.Proto, more.Peer, more.Path = local,
			remote, RoleConnect, "tcp", "db", "punched"
		return &more
	}
	call := func(tid int, t, took time.Duration, name, errno string) *Call {
		c := &Call{Base: at(t), Duration: took, Thread: thread(tid), Name: name, Args: []string{"3", `{sa_family=AF_INET, sin_port=htons(5432), sin_addr=inet_addr("10.111.0.3")}`, "16"}, FD: 3, Errno: errno}
		if errno != "" {
			c.Ret = -1
		}
		return c
	}
	return []Event{
		&Header{Start: sampleStart, Node: "app", Program: "worker"},
		conn(1, Connecting, 0, Connection{}),
		conn(1, Opened, 10*time.Millisecond,
			Connection{Setup: 10 * time.Millisecond}),
		conn(1, Closed, all, Connection{Duration: all, Reason: "closed by the program"}),
		conn(2, Connecting, 0, Connection{}),
		conn(2, Opened, 7*time.Second, Connection{Setup: 7 * time.Second}),
		conn(2, Closed, all, Connection{Duration: 3 * time.Second,
			Reason: "closed by the program"}),
		conn(3, Connecting, 0, Connection{}),
		conn(3, Failed, all, Connection{Setup: all, Errno: "ETIMEDOUT",
			Reason: "no path to db (10.111.0.3:5432): it does not answer, neither directly nor through the coordinator"}),
		conn(4, Connecting, 0, Connection{}),
		call(7, 0, all, "connect", ""), call(8, 0, all, "connect", "ETIMEDOUT"),
		call(9, time.Second, time.Millisecond, "connect", "EINPROGRESS"),
		call(9, 2*time.Second, time.Millisecond, "recvfrom", "EAGAIN"),
		call(9, 3*time.Second, time.Millisecond, "accept4", "EINTR"),
		&Call{Base: at(5 * time.Second), Duration: 5 * time.Second, Thread: thread(9),
			Name: "accept", Args: []string{"3"}, Phase: Lost},
		call(9, 4*time.Second, time.Millisecond, "connect", "ECONNREFUSED"),
		&DNS{Base: at(0), Duration: all, Thread: thread(7), Query: "slow.example.com",
			QType: "A", RCode: "NOERROR", Answers: []string{"192.0.2.7"},
			Server: "192.0.2.53"},
		&End{Base: at(all), Reason: "the program has ended with status 0"},
	}
}

// watchLabels has the timeline note what it writes, and the worst contrast of each text
// with what is behind it.
const watchLabels = `(() => {
	const light = ([r, g, b]) => [r, g, b].map(v => (v /= 255) <= 0.03928 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4).reduce((s, v, i) => s + v * [0.2126, 0.7152, 0.0722][i], 0);
	const write = CanvasRenderingContext2D.prototype.fillText, fill = CanvasRenderingContext2D.prototype.fillRect;
	let written = [];
	window.written = () => JSON.stringify(written);
	CanvasRenderingContext2D.prototype.fillRect = function (x, y, w, h) {
		if (x === 0 && y === 0 && w > 200 && h > 200) written = []; // it draws anew
		return fill.apply(this, arguments);
	};
	CanvasRenderingContext2D.prototype.fillText = function (text, x, y) {
		const ink = light([1, 3, 5].map(i => parseInt(this.fillStyle.slice(i, i + 2), 16)));
		const d = this.getImageData(x, y - 4, Math.max(1, Math.min(this.measureText(text).width, this.canvas.width - x)), 8).data;
		let contrast = 21;
		for (let i = 0; i < d.length; i += 4) {
			const under = light([d[i], d[i + 1], d[i + 2]]);
			contrast = Math.min(contrast, (Math.max(ink, under) + 0.05) / (Math.min(ink, under) + 0.05));
		}
		if (x >= 130) written.push({ Text: text, Contrast: contrast });
		return write.apply(this, arguments);
	};
})()`

// widths are those of a phone, a tablet and two screens, in pixels.
var widths = []int{390, 800, 1400, 1600}

// onScreens loads the page in each width and theme, and calls f.
func onScreens(t *testing.T, b *browser, url string, f func(t *testing.T, width int)) {
	t.Helper()
	for _, theme := range []string{"light", "dark"} {
		for _, width := range widths {
			b.theme(theme)
			b.send("Emulation.setDeviceMetricsOverride",
				map[string]any{"width": width, "height": 900, "deviceScaleFactor": 1,
					"mobile": width < 600})
			b.open(url)
			b.until(`document.getElementById('found').textContent`, "12 of 12 events")
			f(t, width)
		}
	}
}

// TestHTMLWideBars has bars that fill the timeline: each has a label that can be read.
// What is harmless is not shown as a failure.
func TestHTMLWideBars(t *testing.T) {
	b := startBrowser(t)
	b.send("Page.addScriptToEvaluateOnNewDocument", map[string]any{"source": watchLabels})
	onScreens(t, b, paged(t, wideTrace()...), func(t *testing.T, width int) {
		var written []struct {
			Text     string
			Contrast float64
		}
		if err := json.Unmarshal([]byte(b.eval(`new Promise(r => requestAnimationFrame(() => r(written())))`)), &written); err != nil {
			t.Fatal(err)
		}
		labels := make(map[string]int)
		for _, w := range written {
			if w.Contrast < 4.5 {
				t.Errorf("%d: %q has a contrast of %.1f", width, w.Text, w.Contrast)
			}
			if strings.HasPrefix(w.Text, "db :5432 — ETIMEDOUT no ") {
				w.Text = "db :5432 — ETIMEDOUT"
			}
			labels[w.Text]++
		}
		if labels["db :5432"] != 2 || labels["db :5432 — ETIMEDOUT"] != 1 ||
			labels["db :5432 — no answer"] != 1 ||
			labels["connect ETIMEDOUT"] != 1 || labels["connect"] != 1 ||
			labels["A slow.example.com"] != 1 {
			t.Errorf("%d: labels are missing: %+v", width, written)
		}
		const red = `[...document.querySelectorAll('#list .failed')].map(e => e.textContent).join('|')`
		if got := b.eval(red); strings.Count(got, "|") != 3 ||
			strings.Contains(got, "EINPROGRESS") || strings.Contains(got, "EAGAIN") ||
			strings.Contains(got, "EINTR") ||
			!strings.Contains(got, "ECONNREFUSED") {
			t.Errorf("%d: shown as failed: %s", width, got)
		}
	})
}

// TestHTMLWideTables looks for tables that are cut: none is on a screen of 1,400 pixels,
// and where one is, a shadow says so until the reader has come to its end.
func TestHTMLWideTables(t *testing.T) {
	b := startBrowser(t)
	cut := 0
	onScreens(t, b, paged(t, wideTrace()...), func(t *testing.T, width int) {
		var tables []struct{ X, Y, Right, Bottom, More, Below float64 }
		measure := `JSON.stringify([document.documentElement, ...document.querySelectorAll('.wide')].map(e => { const r = e.getBoundingClientRect();
			return { X: r.x + scrollX, Y: r.y + scrollY, Right: r.x + e.clientWidth + scrollX, Bottom: r.y + e.clientHeight + scrollY, More: e.scrollWidth - e.clientWidth, Below: e.scrollHeight - e.clientHeight }; }))`
		if err := json.Unmarshal([]byte(b.eval(measure)), &tables); err != nil {
			t.Fatal(err)
		}
		if tables[0].More > 0 {
			t.Errorf("%d: the page is %v pixels too wide", width, tables[0].More)
		}
		for i, at := range tables[1:] {
			pixel := b.screenshot(at.Right-60, at.Bottom-20, 80, 30)
			if at.More > 0 {
				cut++
				if width >= 800 {
					t.Errorf("%d: %v pixels of table %d are cut", width, at.More, i)
				}
			}
			// Beside the table is the padding of its card, without text.
			if got := pixel(at.Right-3, at.Bottom-14) != pixel(at.Right+6,
				at.Bottom-14); got != (at.More > 0) {
				t.Errorf("%d: table %d has a shadow at the right: %v; %v pixels are cut",
					width, i, got, at.More)
			}
			card := pixel(at.Right+6, at.Bottom-2)
			if got := pixel(at.Right-50, at.Bottom-1) != card &&
				pixel(at.Right-50, at.Bottom-3) != card; i == 0 && got != (at.Below > 1) {
				t.Errorf("%d: the list has a shadow below: %v; %v pixels are cut", width,
					got, at.Below)
			}
		}
		if width != widths[0] {
			return
		}
		b.eval(`document.querySelectorAll('.wide').forEach(e => { e.scrollLeft = 1e6; e.scrollTop = 1e6; })`)
		for i, at := range tables[1:] {
			pixel := b.screenshot(at.Right-60, at.Bottom-20, 80, 30)
			if pixel(at.Right-3, at.Bottom-14) != pixel(at.Right+6, at.Bottom-14) {
				t.Errorf("%d: table %d has a shadow at its end", width, i)
			}
		}
	})
	if cut == 0 {
		t.Error("no table is cut: this shows nothing")
	}
	b.noProblems()
}

// screenshot returns the colours of a part of the page. Chromium takes seconds for a
// picture of the whole page.
func (b *browser) screenshot(left, top, width, height float64) (pixel func(x, y float64) color.Color) {
	b.t.Helper()
	left, top = math.Floor(left), math.Floor(top)
	var shot struct{ Data []byte }
	answer := b.send("Page.captureScreenshot",
		map[string]any{"captureBeyondViewport": true, "clip": map[string]any{
			"x": left, "y": top, "width": width, "height": height, "scale": 1}})
	if err := json.Unmarshal(answer, &shot); err != nil {
		b.t.Fatal(err)
	}
	img, err := png.Decode(bytes.NewReader(shot.Data))
	if err != nil {
		b.t.Fatal(err)
	}
	return func(x, y float64) color.Color {
		b.t.Helper()
		at := image.Pt(int(x)-int(left), int(y)-int(top))
		if !at.In(img.Bounds()) {
			b.t.Fatalf("(%v, %v) is not in the picture", x, y)
		}
		return img.At(at.X, at.Y)
	}
}
