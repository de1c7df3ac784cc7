package host

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"sync"
)

// A Kind says what a frame contains.
type Kind byte

// The kinds of frames, in outputs of orders and on control connections.
const (
	Stdout Kind = 'o' // bytes of the program's standard output
	Stderr Kind = 'e' // bytes of its standard error, and of boxer's messages
	Event  Kind = 'v' // JSON of an EventMessage
	Exit   Kind = 'x' // JSON of a Result; the last frame of an output
	Alive  Kind = 'a' // no payload: keeps an idle connection open
	Stdin  Kind = 'i' // bytes for the program's standard input; empty: its end
	Signal Kind = 's' // one byte: the number of a signal for the program
	Start  Kind = 'g' // no payload: a held program may start
	Credit Kind = 'c' // no payload: one more frame of Stdin may be sent
	Key    Kind = 'k' // Control.Key: the first frame of a control connection

	// Those of package control besides.
	Challenge Kind = 'h' // JSON: what the owner of a node is to sign
	Proof     Kind = 'p' // JSON: the signature
	Request   Kind = 'q' // JSON: what is to be done
	Window    Kind = 'w' // JSON of a WindowSize: that of the terminal has changed
)

// A WindowSize is that of a terminal, in characters.
type WindowSize struct {
	Rows    uint16 `json:"rows"`
	Columns uint16 `json:"columns"`
}

// StdinCredit is how many frames of Stdin the launcher may send before the first Credit.
// Standard input without credit waits, so that signals can pass.
const StdinCredit = 4

// MaxFrame bounds the payload of a frame, in bytes.
const MaxFrame = 64 << 10

// frameHeader is the kind and the length of the payload, big endian.
const frameHeader = 5

// An EventMessage reports an event before the program's end.
type EventMessage struct {
	Event string `json:"event"` // EventHere

	// Instance names the host's environment, such as a function's log stream.
	Instance string `json:"instance,omitempty"`
	Cold     bool   `json:"cold,omitempty"` // the environment is new
}

// EventHere is the event of an output's first frame: the host has received the order.
const EventHere = "here"

// A Result is how a program has ended.
type Result struct {
	Code  int    `json:"code"`            // exit code as of boxer run
	Error string `json:"error,omitempty"` // why the program did not run to its end
}

// A Report is the output of an order in the form OutputJSON.
type Report struct {
	Result
	Stdout string `json:"stdout"` // the last MaxReport bytes
	Stderr string `json:"stderr"`
}

// MaxReport bounds each text of a Report, in bytes.
const MaxReport = 256 << 10

// A Writer writes frames. Its methods may be called from any goroutine.
type Writer struct {
	mu  sync.Mutex
	w   io.Writer
	buf []byte
	err error
}

// NewWriter returns a Writer to w. Each frame is one Write.
func NewWriter(w io.Writer) *Writer { return &Writer{w: w} }

// Write writes a frame, or several if the payload is larger than MaxFrame.
func (w *Writer) Write(k Kind, payload []byte) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	for first := true; first || len(payload) > 0; first = false {
		n := min(len(payload), MaxFrame)
		w.buf = append(w.buf[:0], byte(k))
		w.buf = binary.BigEndian.AppendUint32(w.buf, uint32(n))
		w.buf = append(w.buf, payload[:n]...)
		payload = payload[n:]
		if w.err != nil {
			return w.err
		}
		_, w.err = w.w.Write(w.buf)
	}
	return w.err
}

// WriteJSON writes a frame with the JSON of v.
func (w *Writer) WriteJSON(k Kind, v any) error {
	b, err := json.Marshal(v)
	if err != nil {
		return err
	}
	return w.Write(k, b)
}

// Stream returns an io.Writer whose bytes become frames of the kind.
func (w *Writer) Stream(k Kind) io.Writer { return streamWriter{w, k} }

type streamWriter struct {
	w *Writer
	k Kind
}

// Write implements io.Writer.
func (s streamWriter) Write(b []byte) (int, error) {
	if len(b) == 0 {
		return 0, nil // an empty frame is the end of standard input
	}
	if err := s.w.Write(s.k, b); err != nil {
		return 0, err
	}
	return len(b), nil
}

// A Reader reads frames.
type Reader struct {
	r   io.Reader
	buf []byte
	max uint32 // of a payload, in bytes
}

// NewReader returns a Reader of what a Writer has written to r.
func NewReader(r io.Reader) *Reader { return &Reader{r: r, max: MaxFrame} }

// Limit bounds the payloads of the next frames, in bytes; at most MaxFrame. Read
// allocates memory for a payload before it arrives.
func (r *Reader) Limit(n int) { r.max = uint32(min(n, MaxFrame)) }

// errFrame means that the bytes are not a frame.
var errFrame = errors.New("not a frame of boxer's")

// Read returns the next frame. The payload is valid until the next call. It fails with
// io.EOF at the end of the stream, and with io.ErrUnexpectedEOF within a frame.
func (r *Reader) Read() (Kind, []byte, error) {
	var h [frameHeader]byte
	if _, err := io.ReadFull(r.r, h[:]); err != nil {
		return 0, nil, err
	}
	k, n := Kind(h[0]), binary.BigEndian.Uint32(h[1:])
	switch k {
	case Stdout, Stderr, Event, Exit, Alive, Stdin, Signal, Start, Credit, Key,
		Challenge, Proof, Request, Window:
	default:
		return 0, nil, fmt.Errorf("%w: kind %d", errFrame, k)
	}
	if n > r.max {
		return 0, nil, fmt.Errorf("%w: %d bytes, at most %d", errFrame, n, r.max)
	}
	if cap(r.buf) < int(n) {
		r.buf = make([]byte, n)
	}
	b := r.buf[:n]
	if _, err := io.ReadFull(r.r, b); err != nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		return 0, nil, err
	}
	return k, b, nil
}
