// Command quic echoes over QUIC: one end serves, the other sends a stream of bytes and
// compares. It knows nothing of boxer; quic-go asks the kernel for all that UDP sockets
// offer (UDP_SEGMENT, IP_PKTINFO, ECN).
package main

import (
	"bytes"
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"io"
	"log"
	"math/big"
	"os"
	"time"

	"github.com/quic-go/quic-go"
)

// size is how much the client sends, in bytes.
const size = 8 << 20

func main() {
	if len(os.Args) != 3 {
		log.Fatal("usage: quic serve|echo ADDR:PORT")
	}
	f := serve
	if os.Args[1] == "echo" {
		f = echo
	}
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if err := f(ctx, os.Args[2]); err != nil {
		log.Fatal(err)
	}
}

func serve(ctx context.Context, addr string) error {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		return err
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1),
		NotAfter: time.Now().Add(time.Hour)}
	certificate, err := x509.CreateCertificate(rand.Reader, template, template,
		key.Public(), key)
	if err != nil {
		return err
	}
	l, err := quic.ListenAddr(addr, &tls.Config{
		Certificates: []tls.Certificate{{Certificate: [][]byte{certificate},
			PrivateKey: key}}, NextProtos: []string{"echo"},
	}, nil)
	if err != nil {
		return err
	}
	fmt.Println("listening on", l.Addr())
	conn, err := l.Accept(ctx)
	if err != nil {
		return err
	}
	fmt.Println("accepted", conn.RemoteAddr(), "on", conn.LocalAddr())
	s, err := conn.AcceptStream(ctx)
	if err != nil {
		return err
	}
	if _, err := io.Copy(s, s); err != nil {
		return err
	}
	s.Close()
	<-conn.Context().Done()
	return nil
}

func echo(ctx context.Context, addr string) error {
	conn, err := quic.DialAddr(ctx, addr,
		&tls.Config{InsecureSkipVerify: true, NextProtos: []string{"echo"}}, nil)
	if err != nil {
		return err
	}
	s, err := conn.OpenStreamSync(ctx)
	if err != nil {
		return err
	}
	sent := make([]byte, size)
	rand.Read(sent)
	began := time.Now()
	go func() {
		s.Write(sent)
		s.Close()
	}()
	got, err := io.ReadAll(s)
	if err != nil {
		return err
	}
	if !bytes.Equal(got, sent) {
		return fmt.Errorf("%d bytes came back, and not those", len(got))
	}
	fmt.Printf("echoed %d bytes with %v in %v\n", len(got), conn.RemoteAddr(),
		time.Since(began).Round(time.Millisecond))
	return conn.CloseWithError(0, "done")
}
