// Package knot is for the test of layers.
package knot

import "fmt"

type knot struct{ n int }

func (k *knot) start() {
	k.middle()
	fmt.Println(k.n)
}

func (k *knot) back() {}
