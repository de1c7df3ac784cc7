// Command rabbitmq publishes to a quorum queue of a RabbitMQ cluster and checks that no
// confirmed message is lost.
//
//	rabbitmq mq1,mq2,mq3
//
// It publishes one message after the other until its standard input ends, waits for the
// confirmation of each, says "writing" after every 100 in a row, and "interrupted
// DURATION" whenever one is confirmed again after one that was not. Then it consumes the
// queue and says "wrote N, lost M". It exits with status 1 if one is lost.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"strings"
	"time"

	amqp "github.com/rabbitmq/amqp091-go"
)

const (
	// attempt bounds one connect or publication, of which a failed one is tried again.
	attempt = 2 * time.Second
	// silence is how long a queue gives nothing before it is taken to be empty.
	silence = 5 * time.Second

	queue = "load"
)

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: rabbitmq HOST,HOST...")
		os.Exit(2)
	}
	c := &client{hosts: strings.Split(os.Args[1], ",")}
	acknowledged := c.write()
	lost, err := c.missing(acknowledged)
	if err != nil {
		fmt.Fprintln(os.Stderr, "rabbitmq:", err)
		os.Exit(1)
	}
	fmt.Printf("wrote %d, lost %d\n", len(acknowledged), lost)
	if lost > 0 {
		os.Exit(1)
	}
}

// A client is connected to one of the hosts at a time.
type client struct {
	hosts   []string
	next    int // whom to try next, modulo their number
	conn    *amqp.Connection
	channel *amqp.Channel
}

// connect connects to the next host that answers, unless there is a connection.
func (c *client) connect() error {
	if c.conn != nil && !c.conn.IsClosed() && !c.channel.IsClosed() {
		return nil
	}
	c.close()
	host := c.hosts[c.next%len(c.hosts)]
	c.next++
	conn, err := amqp.DialConfig("amqp://guest:guest@"+net.JoinHostPort(host, "5672"),
		amqp.Config{
			Heartbeat: attempt, Dial: amqp.DefaultDial(attempt),
		})
	if err != nil {
		return fmt.Errorf("connect to %s: %w", host, err)
	}
	c.conn = conn
	if c.channel, err = conn.Channel(); err == nil {
		err = c.channel.Confirm(false)
	}
	if err == nil {
		_, err = c.channel.QueueDeclare(queue, true, false, false, false,
			amqp.Table{amqp.QueueTypeArg: amqp.QueueTypeQuorum})
	}
	if err != nil {
		c.close()
		return fmt.Errorf("open the queue at %s: %w", host, err)
	}
	return nil
}

func (c *client) close() {
	if c.conn != nil {
		// the next connection is what matters
		_ = c.conn.CloseDeadline(time.Now().Add(attempt))
	}
	c.conn, c.channel = nil, nil
}

// publish publishes one message and waits until the cluster has confirmed it.
func (c *client) publish(text string) error {
	if err := c.connect(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(context.Background(), attempt)
	defer cancel()
	confirmed, err := c.channel.PublishWithDeferredConfirmWithContext(ctx, "", queue,
		false, false,
		amqp.Publishing{DeliveryMode: amqp.Persistent, Body: []byte(text)})
	if err == nil {
		var ok bool
		if ok, err = confirmed.WaitContext(ctx); err == nil && !ok {
			err = errors.New("not confirmed")
		}
	}
	if err != nil {
		c.close()
	}
	return err
}

// write publishes until standard input ends and returns the messages that were confirmed.
func (c *client) write() (acknowledged []string) {
	stopped := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stopped)
	}()
	last, failed, row := time.Now(), false, 0
	for i := 0; ; i++ {
		select {
		case <-stopped:
			return acknowledged
		default:
		}
		text := fmt.Sprintf("%08d", i)
		// it may be there all the same: nobody counts on either
		if err := c.publish(text); err != nil {
			fmt.Fprintln(os.Stderr, "rabbitmq:", err)
			failed, row = true, 0
			time.Sleep(100 * time.Millisecond)
			continue
		}
		acknowledged = append(acknowledged, text)
		if failed {
			fmt.Println("interrupted", time.Since(last).Round(time.Millisecond))
		}
		last, failed = time.Now(), false
		if row++; row%100 == 0 {
			fmt.Println("writing")
		}
		time.Sleep(time.Millisecond) // some load, not all that the machine can do
	}
}

// missing consumes the queue and returns how many of the messages were not in it.
func (c *client) missing(messages []string) (int, error) {
	if err := c.connect(); err != nil {
		return 0, err
	}
	defer c.close()
	deliveries, err := c.channel.Consume(queue, "", true, false, false, false, nil)
	if err != nil {
		return 0, fmt.Errorf("consume: %w", err)
	}
	have := make(map[string]bool)
	for quiet := false; !quiet; {
		select {
		case d, ok := <-deliveries:
			if !ok {
				return 0, errors.New("the connection has ended while messages were consumed")
			}
			have[string(d.Body)] = true
		case <-time.After(silence):
			quiet = true
		}
	}
	lost := 0
	for _, text := range messages {
		if !have[text] {
			lost++
		}
	}
	return lost, nil
}
