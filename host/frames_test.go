package host

import (
	"bytes"
	"errors"
	"io"
	"testing"
	"testing/iotest"
)

func TestFrames(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	large := bytes.Repeat([]byte("x"), MaxFrame+1)
	w.Stream(Stdout).Write([]byte("out"))
	w.Stream(Stdout).Write(nil) // no frame
	w.Write(Stderr, large)
	w.Write(Stdin, nil)
	w.WriteJSON(Exit, Result{Code: 3})
	r := NewReader(iotest.OneByteReader(&b))
	for _, want := range []struct {
		kind Kind
		b    string
	}{{Stdout, "out"}, {Stderr, string(large[:MaxFrame])}, {Stderr, "x"}, {Stdin, ""},
		{Exit, `{"code":3}`}} {
		if kind, got, err := r.Read(); kind != want.kind || string(got) != want.b ||
			err != nil {
			t.Errorf("%c %d bytes %v, want %c %d bytes", kind, len(got), err, want.kind,
				len(want.b))
		}
	}
	if _, _, err := r.Read(); err != io.EOF {
		t.Errorf("at the end: %v", err)
	}
}

func TestBadFrames(t *testing.T) {
	for in, want := range map[string]error{
		"z\x00\x00\x00\x00":     errFrame,
		"o\xff\x00\x00\x00":     errFrame,
		"o\x00\x00":             io.ErrUnexpectedEOF,
		"o\x00\x00\x00\x05abcd": io.ErrUnexpectedEOF,
	} {
		if _, _, err := NewReader(bytes.NewReader([]byte(in))).Read(); !errors.Is(err, want) {
			t.Errorf("%q: %v, want %v", in, err, want)
		}
	}
}

func TestFrameLimit(t *testing.T) {
	var b bytes.Buffer
	w := NewWriter(&b)
	for _, n := range []int{10, 11} {
		w.Write(Proof, make([]byte, n))
	}
	r := NewReader(&b)
	r.Limit(10)
	if _, got, err := r.Read(); len(got) != 10 || err != nil {
		t.Errorf("at the limit: %d bytes, %v", len(got), err)
	}
	if _, _, err := r.Read(); !errors.Is(err, errFrame) {
		t.Errorf("above the limit: %v, want %v", err, errFrame)
	}
}

// failing is a writer that fails.
type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, io.ErrClosedPipe }

func TestWriterKeepsError(t *testing.T) {
	w := NewWriter(failing{})
	for range 2 {
		if err := w.Write(Stdout, []byte("a")); !errors.Is(err, io.ErrClosedPipe) {
			t.Errorf("got %v", err)
		}
	}
}

func FuzzReader(f *testing.F) {
	f.Add([]byte("o\x00\x00\x00\x03outx\x00\x00\x00\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		r := NewReader(bytes.NewReader(b))
		read := 0
		for {
			_, payload, err := r.Read()
			if err != nil {
				break
			}
			read += frameHeader + len(payload)
		}
		if read > len(b) {
			t.Errorf("%d bytes read of %d", read, len(b))
		}
	})
}
