package trace_test

import (
	"errors"
	"fmt"
	"io"
	"os"

	"github.com/boxer-sandbox/boxer/trace"
)

// Which connects failed, and where?
func ExampleReader() {
	file, err := os.Open("testdata/web.jsonl")
	if err != nil {
		fmt.Println(err)
		return
	}
	defer file.Close()
	for r := trace.NewReader(file); ; {
		event, err := r.Next()
		if errors.Is(err, io.EOF) {
			return
		}
		if err != nil {
			fmt.Println(err)
			return
		}
		if call, ok := event.(*trace.Call); ok && call.Name == "connect" &&
			call.Failure != "" {
			fmt.Printf("%s (%d): %s after %v\n", call.Comm, call.PID, call.Failure,
				call.Duration)
		}
	}
	// Output:
	// nc (4713): refused by db (10.111.0.3:5433) after 1.7ms
	// java (4717): no answer from node ghost (10.111.0.9:8080) for 13s after 13s
}

// Two nodes' traces as one, as strace would write it.
func ExampleMerge() {
	var inputs []trace.Input
	for _, name := range []string{"testdata/web.jsonl", "testdata/db.jsonl"} {
		inputs = append(inputs, trace.Input{Name: name,
			Open: func() (io.ReadCloser, error) { return os.Open(name) }})
	}
	text, err := trace.NewWriter("text", io.Discard, trace.Options{Durations: true})
	if err == nil {
		err = trace.Merge(text, inputs, nil)
	}
	fmt.Println(err)
	// Output: <nil>
}
