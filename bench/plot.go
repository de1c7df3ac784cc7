package main

import (
	"encoding/xml"
	"fmt"
	"math"
	"os"
	"strings"
)

// The plot has a group of bars for each of these figures. A bar shows how many times
// worse than native a contender is. A shorter bar is better, whatever the figure's unit.
var plotted = []figure{connectP50, tripKiB, oneway.rate, oneway.cpu, pgbench1, redisGet, wrkRate}

// Sizes in pixels.
const (
	plotWidth  = 820
	plotLeft   = 250 // of the bars
	plotRight  = 60
	barHeight  = 13
	groupSpace = 16
	plotTop    = 58
)

// colours are the colours of the contenders in the plot.
var colours = map[string]string{
	boxerName: "#c2410c", "quic-go": "#64748b", proxiesName: "#a8a29e",
	"tailscale": "#4f6bd8", "wireguard-go": "#7b9c3f",
}

// writePlot draws the first lab's figures into an SVG file, if it has a name.
func (r *report) writePlot(file string) error {
	if file == "" || len(r.Labs) == 0 {
		return nil
	}
	return os.WriteFile(file, []byte(plot(r.Labs[0], r.Machine)), 0o644)
}

// A bar is the bar of one contender.
type bar struct {
	name  string
	worse float64 // how many times worse than native
}

func plot(r *labReport, machine string) string {
	groups := make(map[string][]bar)
	most := 2.0
	for _, f := range plotted {
		for _, c := range r.Contenders {
			x := ratios(r.Values[f.name][c.Name], r.Values[f.name][nativeName])
			if len(x) == 0 || c.Name == nativeName || colours[c.Name] == "" {
				continue
			}
			worse := median(x)
			if f.more {
				worse = 1 / worse
			}
			groups[f.name] = append(groups[f.name], bar{c.Name, worse})
			most = max(most, worse)
		}
	}
	var b strings.Builder
	y := drawGroups(&b, groups, func(worse float64) float64 { // logarithmic: 0.5 is at the left end
		return plotLeft + (plotWidth-plotLeft-plotRight)*math.Log(max(worse,
			0.5)/0.5)/math.Log(most/0.5)
	}, most)
	return fmt.Sprintf(`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" font-family="system-ui, sans-serif" font-size="12">
<rect width="100%%" height="100%%" fill="#fff"/>
<text x="16" y="24" font-size="15" font-weight="600">Times worse than kernel TCP over the same two NATs (shorter is better)</text>
<text x="16" y="42" fill="#555">%s; %s</text>
%s</svg>
`, plotWidth, y+10, escape(machine), escape(r.What), b.String())
}

// drawGroups draws the bars below each other, and returns the position of their end.
func drawGroups(b *strings.Builder, groups map[string][]bar,
	at func(worse float64) float64, most float64) int {
	y := plotTop
	var bars strings.Builder
	for _, f := range plotted {
		if len(groups[f.name]) == 0 {
			continue
		}
		fmt.Fprintf(&bars, "<text x=\"16\" y=\"%d\" font-weight=\"600\">%s</text>\n",
			y+barHeight, escape(f.name))
		for _, bar := range groups[f.name] {
			weight := "400"
			if bar.name == boxerName {
				weight = "700"
			}
			fmt.Fprintf(&bars, "<text x=\"%d\" y=\"%d\" text-anchor=\"end\" font-size=\"11\" font-weight=\"%s\">%s</text>\n", plotLeft-6, y+barHeight-3, weight, escape(bar.name))
			fmt.Fprintf(&bars, "<rect x=\"%d\" y=\"%d\" width=\"%.1f\" height=\"%d\" rx=\"2\" fill=\"%s\"/>\n", plotLeft, y, at(bar.worse)-plotLeft, barHeight-2, colours[bar.name])
			fmt.Fprintf(&bars, "<text x=\"%.1f\" y=\"%d\" font-size=\"11\">%s</text>\n",
				at(bar.worse)+4, y+barHeight-3, digits(bar.worse))
			y += barHeight
		}
		y += groupSpace
	}
	for tick := 0.5; tick <= most; tick *= 2 {
		dash, colour := "2 3", "#ccc"
		if tick == 1 {
			dash, colour = "", "#222" // native
		}
		fmt.Fprintf(b, "<line x1=\"%.1f\" x2=\"%.1f\" y1=\"%d\" y2=\"%d\" stroke=\"%s\" stroke-dasharray=\"%s\"/>\n", at(tick), at(tick), plotTop-4, y-groupSpace, colour, dash)
		fmt.Fprintf(b, "<text x=\"%.1f\" y=\"%d\" text-anchor=\"middle\" fill=\"#555\" font-size=\"11\">%v</text>\n", at(tick), y, tick)
	}
	b.WriteString(bars.String())
	return y
}

func escape(text string) string {
	var b strings.Builder
	_ = xml.EscapeText(&b, []byte(text)) // writing to a strings.Builder cannot fail
	return b.String()
}
