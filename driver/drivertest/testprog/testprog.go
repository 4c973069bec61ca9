package testprog

import (
	"fmt"
	"strconv"
)

// Failed is the exit code of a verb that could not do its work; the reason is on standard error.
const Failed = 100

// Separator, as an argument of its own, stands between two verbs that run one after the other.
const Separator = ";"

type verb func(s System, args []string) (int, error)

var verbs map[string]verb

func init() { // a function, because some verbs refer to the table through Main
	verbs = map[string]verb{
		"exit": exit, "print": printLine, "eprint": eprintLine, "raw": raw, "eraw": eraw,
		"lines": lines, "long": long, "both": both,
		"env": env, "cwd": cwd, "hostname": hostname, "id": id, "clock": clock,
		"trap-term": trapTerm, "ignore-term": ignoreTerm, "pause": pause, "kill-self": killSelf,
		"oom": oom, "eat": eat, "oom-child": oomChild, "spawn-holder": spawnHolder,
		"await": await, "stat": stat, "tree": tree, "cat": cat, "write": write, "put": put, "check": check,
		"mkdir": mkdir, "symlink": symlink, "link": link, "chmod": chmod, "chown": chown, "touch": touch,
		"remove": remove, "many": many, "check-many": checkMany, "refused": refused,
		"serve": serve, "connect": connect, "addresses": addresses, "lookup": lookup, "names": names,
		"linger": linger, "burn": burn, "fork": fork, "capabilities": capabilities, "euid": euid,
	}
}

// Main runs the verbs in the arguments and returns the exit code. The first verb that ends with another
// code than zero is the last. The verb "args", which must be the first, prints the whole vector, whatever follows.
func Main(s System) int {
	args := s.Args()
	if len(args) > 1 && args[1] == "args" {
		return printArgs(s)
	}
	return sequence(s, args[min(1, len(args)):])
}

func sequence(s System, args []string) int {
	for len(args) > 0 {
		n := 0
		for n < len(args) && args[n] != Separator {
			n++
		}
		if code := one(s, args[:n]); code != 0 {
			return code
		}
		args = args[min(n+1, len(args)):]
	}
	return 0
}

func one(s System, args []string) int {
	if len(args) == 0 {
		return 0
	}
	v, ok := verbs[args[0]]
	if !ok {
		fmt.Fprintf(s.Stderr(), "testprog: unknown verb %q\n", args[0])
		return Failed
	}
	code, err := v(s, args[1:])
	if err != nil {
		fmt.Fprintf(s.Stderr(), "testprog: %s: %v\n", args[0], err)
		return Failed
	}
	return code
}

// refused runs a verb that must fail, and fails if it does not: "refused write /etc/x 1 1".
func refused(s System, args []string) (int, error) {
	if len(args) == 0 {
		return 0, fmt.Errorf("what?")
	}
	v, ok := verbs[args[0]]
	if !ok {
		return 0, fmt.Errorf("unknown verb %q", args[0])
	}
	code, err := v(s, args[1:])
	if err == nil && code == 0 {
		return 0, fmt.Errorf("%q was not refused", args)
	}
	fmt.Fprintf(s.Stdout(), "refused: %v\n", err)
	return 0, nil
}

// numbers parses want decimal numbers, or numbers with a prefix such as 0o644.
func numbers(args []string, want int) ([]int64, error) {
	if len(args) < want {
		return nil, fmt.Errorf("needs %d numbers, got %q", want, args)
	}
	nums := make([]int64, want)
	for i := range nums {
		n, err := strconv.ParseInt(args[i], 0, 64)
		if err != nil {
			return nil, err
		}
		nums[i] = n
	}
	return nums, nil
}

func exit(s System, args []string) (int, error) {
	n, err := numbers(args, 1)
	if err != nil {
		return 0, err
	}
	return int(n[0]), nil
}
