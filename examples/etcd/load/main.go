// Command load writes to an etcd cluster and checks that no acknowledged write is lost.
//
//	load http://etcd1:2379,http://etcd2:2379,http://etcd3:2379
//
// It puts one key after the other until its standard input ends, says "writing" after
// every 100 puts in a row, and "interrupted DURATION" whenever puts succeed again after
// one that failed. Then it reads every acknowledged key back from each endpoint and says
// "wrote N, lost M". It exits with status 1 if one is lost.
package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.uber.org/zap"
)

// attempt bounds one put or get, of which a failed one is tried again.
const attempt = time.Second

func main() {
	if err := load(strings.Split(os.Args[1], ",")); err != nil {
		fmt.Fprintln(os.Stderr, "load:", err)
		os.Exit(1)
	}
}

func load(endpoints []string) error {
	client, err := dial(endpoints...)
	if err != nil {
		return err
	}
	defer client.Close()
	acknowledged := write(client)
	lost := 0
	for _, endpoint := range endpoints {
		n, err := missing(endpoint, acknowledged)
		if err != nil {
			return err
		}
		lost += n
	}
	fmt.Printf("wrote %d, lost %d\n", len(acknowledged), lost)
	if lost > 0 {
		return fmt.Errorf("%d writes are lost", lost)
	}
	return nil
}

func dial(endpoints ...string) (*clientv3.Client, error) {
	return clientv3.New(clientv3.Config{
		// failed puts are counted, not shown
		Endpoints: endpoints, DialTimeout: attempt, Logger: zap.NewNop(),
	})
}

// write puts until standard input ends and returns the keys whose put was acknowledged.
func write(client *clientv3.Client) (acknowledged []string) {
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
		key := fmt.Sprintf("load/%08d", i)
		ctx, cancel := context.WithTimeout(context.Background(), attempt)
		_, err := client.Put(ctx, key, key)
		cancel()
		if err != nil { // it may be written all the same: nobody counts on either
			failed, row = true, 0
			continue
		}
		acknowledged = append(acknowledged, key)
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

// missing returns how many of the keys an endpoint does not have.
func missing(endpoint string, keys []string) (int, error) {
	client, err := dial(endpoint)
	if err != nil {
		return 0, err
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(context.Background(), 10*attempt)
	defer cancel()
	got, err := client.Get(ctx, "load/", clientv3.WithPrefix())
	if err != nil {
		return 0, fmt.Errorf("read from %s: %w", endpoint, err)
	}
	have := make(map[string]bool)
	for _, kv := range got.Kvs {
		have[string(kv.Key)] = string(kv.Value) == string(kv.Key)
	}
	lost := 0
	for _, key := range keys {
		if !have[key] {
			lost++
		}
	}
	return lost, nil
}
