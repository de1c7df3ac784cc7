package runtime

import (
	"os"
	"slices"
	"strings"
)

// joinVariable has the join URL, see boxer run.
const joinVariable = "BOXER_JOIN"

// programEnviron returns what a program gets of the environment of the runtime: not what
// is about the runtime itself. Functions have no home directory, and programs expect
// one: it is /tmp, which is all that a function can write to.
func programEnviron(env []string) []string {
	env = slices.DeleteFunc(slices.Clone(env), func(e string) bool {
		_, api := cutVariable(e, "AWS_LAMBDA_RUNTIME_API")
		_, handler := cutVariable(e, "_HANDLER")
		return api || handler
	})
	home := os.Getenv("HOME")
	if st, err := os.Stat(home); home == "" || err != nil || !st.IsDir() {
		env = setVariable(env, "HOME", "/tmp")
	}
	return env
}

// cutVariable returns the value of NAME=value if that is its name.
func cutVariable(e, name string) (string, bool) { return strings.CutPrefix(e, name+"=") }

// setVariable returns the environment with a variable replaced or added.
func setVariable(env []string, name, value string) []string {
	env = slices.DeleteFunc(env, func(e string) bool {
		_, ok := cutVariable(e, name)
		return ok
	})
	return append(env, name+"="+value)
}

// with returns the environment with the entries NAME=value of more in it.
func with(env, more []string) []string {
	env = slices.Clone(env)
	for _, e := range more {
		name, value, _ := strings.Cut(e, "=")
		env = setVariable(env, name, value)
	}
	return env
}
