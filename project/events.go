package project

import (
	"strconv"
	"sync"
	"time"
)

// An Event is something that has happened in a project.
type Event struct {
	Time     time.Time `json:"time"`
	Service  string    `json:"service"`
	Instance string    `json:"instance"`

	// Action is one of create, start, die, stop, kill, restart, destroy, wait, failed,
	// and "health_status: healthy" or unhealthy.
	Action     string            `json:"action"`
	Attributes map[string]string `json:"attributes,omitempty"`
}

// eventBacklog bounds the events that a slow reader has not taken.
const eventBacklog = 1024

// A broker passes events on to those who have subscribed.
type broker struct {
	mu  sync.Mutex
	all map[chan Event]struct{}
}

// subscribe returns a channel of events, and what ends it. A reader that is too slow
// loses events.
func (b *broker) subscribe() (<-chan Event, func()) {
	c := make(chan Event, eventBacklog)
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.all == nil {
		b.all = make(map[chan Event]struct{})
	}
	b.all[c] = struct{}{}
	return c, func() {
		b.mu.Lock()
		defer b.mu.Unlock()
		delete(b.all, c)
	}
}

func (b *broker) publish(e Event) {
	b.mu.Lock()
	defer b.mu.Unlock()
	for c := range b.all {
		select {
		case c <- e:
		default:
		}
	}
}

// event tells that something has happened to an instance.
func (s *Supervisor) event(i *instance, action string, attributes map[string]string) {
	s.log.Info(action, "instance", instanceName(i.svc.Name, i.Index))
	s.events.publish(Event{time.Now().UTC(), i.svc.Name, instanceName(i.svc.Name, i.Index),
		action, attributes})
}

func exitCodeOf(code int) map[string]string {
	return map[string]string{"exitCode": strconv.Itoa(code)}
}
