package main

import (
	"encoding/xml"
	"errors"
	"io"
	"strings"
	"testing"
)

// sample is a report of two contenders and native.
func sample() *labReport {
	r := newLabReport(settings[0], []*field{
		{contender: contender{name: nativeName}}, {contender: contender{name: boxerName}},
		{contender: contender{name: "tailscale", other: true}},
		{contender: contender{name: "wireguard-go", other: true}},
	})
	for range 3 {
		for i, c := range r.Contenders {
			r.add(connectP50, c.Name, float64(100*(i+1)))
			r.add(oneway.rate, c.Name, float64(10-i))
		}
	}
	r.add(coldStart, boxerName, 50)
	return r
}

func TestReport(t *testing.T) {
	var b strings.Builder
	r := sample()
	all := &report{Machine: "a machine", Rounds: 3, Labs: []*labReport{r}}
	r.print(&b, all)
	all.printGoals(&b)
	for _, want := range []string{
		"| connect + first byte, p50 (us) | 100 [100-100] | 200 [200-200] | 300 [300-300] | 400 [400-400] |",
		"| connect + first byte, p50 (us) | 1.00 | 2.00 | 3.00 | 4.00 |",
		"| connect + first byte, p50 (us) | 200 | tailscale | 300 | 0.67 |",
		"| bulk, 1 stream (Gbit/s) | 9.00 | tailscale | 8.00 | 1.12 |",
		"| plain | connect + first byte, p50 | at most 1.00 times native | 2.00 | MISSED |",
		"| plain | bulk, 1 stream | at least 1.80 times tailscale | 1.12 | MISSED |",
	} {
		if !strings.Contains(b.String(), want+"\n") {
			t.Errorf("no row %q in:\n%s", want, b.String())
		}
	}
}

// TestPlot reads the plot as XML: every contender but native has its bar in each group.
func TestPlot(t *testing.T) {
	in := xml.NewDecoder(strings.NewReader(plot(sample(), "a <machine>")))
	bars := 0
	for {
		token, err := in.Token()
		if errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		if e, ok := token.(xml.StartElement); ok && e.Name.Local == "rect" {
			bars++
		}
	}
	// the background, and three bars for each of two figures
	if want := 1 + 2*3; bars != want {
		t.Errorf("%d rectangles, want %d", bars, want)
	}
}

func TestSettings(t *testing.T) {
	if _, err := settingsNamed("plain,nowhere"); err == nil || !strings.Contains(err.Error(), `"nowhere"`) {
		t.Errorf("got %v, want an error that names the lab", err)
	}
	if got, err := settingsNamed(settingNames()); err != nil ||
		len(got) != len(settings) {
		t.Errorf("got %d labs, %v; want all", len(got), err)
	}
}
