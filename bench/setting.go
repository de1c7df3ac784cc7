package main

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A setting describes the network of a lab.
type setting struct {
	name  string
	rate  int64         // of the server's link in bits per second, 0: not limited
	loss  float64       // on the server's link, each way, 0 to 1
	delay time.Duration // on the server's link, each way: a round trip takes twice that
	// measure everything in this lab, also what does not depend on the network
	whole bool
}

// settings are the labs.
var settings = []setting{
	{name: "plain", whole: true},
	{name: "rate", rate: 600e6},
	{name: "loss", loss: 0.01},
	{name: "near", delay: 500 * time.Microsecond},
	{name: "far", rate: 600e6, loss: 0.01, delay: 10 * time.Millisecond},
}

// String describes the setting for the reader.
func (s setting) String() string {
	text := "two functions, each behind a NAT of its own"
	if s.rate > 0 {
		text += fmt.Sprintf("; the server's link limited to %d Mbit/s", s.rate/1e6)
	}
	if s.loss > 0 {
		text += fmt.Sprintf("; %v %% of its packets lost each way", s.loss*100)
	}
	if s.delay > 0 {
		text += fmt.Sprintf("; a round trip of %v", 2*s.delay)
	}
	return text
}

func settingNames() string {
	var names []string
	for _, s := range settings {
		names = append(names, s.name)
	}
	return strings.Join(names, ",")
}

// settingsNamed returns the labs with these names.
func settingsNamed(names string) ([]setting, error) {
	var found []setting
	for name := range strings.SplitSeq(names, ",") {
		i := slices.IndexFunc(settings, func(s setting) bool { return s.name == name })
		if i < 0 {
			return nil, fmt.Errorf("lab %q: there are %s", name, settingNames())
		}
		found = append(found, settings[i])
	}
	return found, nil
}
