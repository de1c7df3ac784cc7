package examples

import (
	"testing"
	"time"
)

// TestErlang joins two Erlang nodes by name, calls from one into the other, and kills
// that one.
func TestErlang(t *testing.T) {
	c := newCloud(t, "erl", "epmd")
	erl := func(sname, program string) []string {
		return []string{"erl", "-noinput", "-sname", sname, "-setcookie", "example",
			"-eval", program}
	}
	alpha := c.function("alpha").start(erl("a", `io:format("alpha is ~p~n", [node()]).`)...)
	alpha.Expect(`^alpha is a@alpha$`)
	beta := c.function("beta").start(erl("b", `
		io:format("ping ~p~n", [net_adm:ping('a@alpha')]),
		io:format("nodes ~p~n", [nodes()]),
		io:format("call ~p~n", [rpc:call('a@alpha', lists, sum, [lists:seq(1, 1000)])]),
		Big = binary:copy(<<"0123456789">>, 500000),
		io:format("big ~p~n", [rpc:call('a@alpha', erlang, md5, [Big]) =:= erlang:md5(Big)]),
		io:format("back ~p~n", [rpc:call('a@alpha', rpc, call, ['b@beta', erlang, node, []])]),
		monitor_node('a@alpha', true),
		io:format("watching~n"),
		receive {nodedown, N} -> io:format("down ~p~n", [N]) end.`)...)
	for _, want := range []string{`ping pong`, `nodes \[a@alpha\]`, `call 500500`, `big true`, `back b@beta`, `watching`} {
		beta.Expect(`^` + want + `$`)
	}
	began := time.Now()
	alpha.Kill()
	beta.Expect(`^down a@alpha$`)
	t.Logf("a@alpha killed: b@beta knows after %v",
		time.Since(began).Round(time.Millisecond))

	again := c.replacement("alpha", "alpha-again").start(erl("a", `
		io:format("connected ~p~n", [net_adm:ping('b@beta')]).`)...)
	again.Expect(`^connected pong$`)
	t.Logf("another a@alpha is connected %v after the first was killed",
		time.Since(began).Round(time.Millisecond))
}
