package knot

func (k *knot) middle() {
	k.end()
	k.back()
}
