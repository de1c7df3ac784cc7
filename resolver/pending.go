package resolver

import (
	"encoding/binary"
	"errors"
	"net/netip"
	"slices"
	"sync"
	"time"
)

// The questions that a program sends to a nameserver of its own choice pass unchanged.
// Config.Observe receives them, each with the answer that has the same ID.

// A Client is a program that asks a nameserver of its own choice.
type Client struct {
	Asker   int            // the thread that asks; 0: unknown
	Program netip.AddrPort // the program's socket, over UDP
	Server  netip.AddrPort // the nameserver
}

const (
	// pendingTimeout is how long a question waits for its answer. dig and libc wait 5 s.
	pendingTimeout = 10 * time.Second
	// maxPending limits the questions that wait. Config.Observe does not receive further
	// ones.
	maxPending = 1 << 10
	// maxPendingQuery is the size of the largest question that waits, in bytes.
	maxPendingQuery = 4 << 10
)

// errNoAnswer says that the nameserver has not answered within pendingTimeout, or before
// the program stopped waiting.
var errNoAnswer = errors.New("the nameserver has not answered")

// pendingQuestions holds the questions that have passed and have no answer yet.
type pendingQuestions struct {
	mu    sync.Mutex
	byKey map[pendingKey]*pendingQuestion
}

// A pendingKey identifies the question that an answer is for.
type pendingKey struct {
	program, server netip.AddrPort // for UDP
	stream          *Stream        // for TCP
	id              uint16
}

type pendingQuestion struct {
	Question
	expire *time.Timer
}

// Pass is Own for a client's datagram. If it returns nil, the caller passes the datagram
// on, and Passed completes the question.
func (s *Server) Pass(c Client, query []byte) []byte {
	answer := s.ownAnswer(c, query, false)
	if answer == nil {
		s.noteQuestion(pendingKey{program: c.Program, server: c.Server}, c, query)
	}
	return answer
}

// Passed takes a datagram that a nameserver has sent to a client.
func (s *Server) Passed(c Client, answer []byte) {
	s.noteAnswer(pendingKey{program: c.Program, server: c.Server}, answer)
}

// Unanswered completes all questions that still wait, without answers.
func (s *Server) Unanswered() { s.giveUp(func(pendingKey) bool { return true }) }

// giveUpStream does the same for the questions of a Stream that has ended.
func (s *Server) giveUpStream(st *Stream) {
	s.giveUp(func(k pendingKey) bool { return k.stream == st })
}

func (s *Server) giveUp(which func(pendingKey) bool) {
	p := &s.pending
	p.mu.Lock()
	var keys []pendingKey
	for k := range p.byKey {
		if which(k) {
			keys = append(keys, k)
		}
	}
	p.mu.Unlock()
	for _, k := range keys {
		s.complete(k, nil)
	}
}

// noteQuestion records a message that passes, if it is a question.
func (s *Server) noteQuestion(k pendingKey, c Client, query []byte) {
	if s.observe == nil || len(query) < headerSize || len(query) > maxPendingQuery ||
		query[2]&(flagQR|maskOpcode) != 0 {
		return
	}
	k.id = binary.BigEndian.Uint16(query)
	s.complete(k, nil) // a repetition
	p := &s.pending
	p.mu.Lock()
	defer p.mu.Unlock()
	if len(p.byKey) >= maxPending {
		return
	}
	if p.byKey == nil {
		p.byKey = make(map[pendingKey]*pendingQuestion)
	}
	q := Question{Began: time.Now(), Query: slices.Clone(query), Server: c.Server,
		Asker: c.Asker, Passed: true}
	p.byKey[k] = &pendingQuestion{q, time.AfterFunc(pendingTimeout, func() { s.complete(k, nil) })}
}

// noteAnswer completes the question that has this answer.
func (s *Server) noteAnswer(k pendingKey, answer []byte) {
	if len(answer) < headerSize || answer[2]&flagQR == 0 {
		return
	}
	k.id = binary.BigEndian.Uint16(answer)
	s.complete(k, slices.Clone(answer))
}

// complete reports a question with its answer, or with errNoAnswer if answer is nil.
func (s *Server) complete(k pendingKey, answer []byte) {
	p := &s.pending
	p.mu.Lock()
	q := p.byKey[k]
	delete(p.byKey, k)
	p.mu.Unlock()
	if q == nil {
		return
	}
	q.expire.Stop()
	q.Took, q.Answer = time.Since(q.Began), answer
	if answer == nil {
		q.Err = errNoAnswer
	}
	s.observe(q.Question)
}
