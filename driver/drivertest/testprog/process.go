package testprog

import (
	"fmt"
)

// trapTerm prints "ready", waits for TERM, prints "got TERM" and ends with CODE. With N, it prints N lines of
// output, as the verb "lines" does, before it ends.
func trapTerm(s System, args []string) (int, error) {
	if len(args) == 1 {
		args = append(args, "0")
	}
	n, err := numbers(args, 2)
	if err != nil {
		return 0, err
	}
	sigs := s.Signals()
	fmt.Fprintln(s.Stdout(), "ready")
	for sig := range sigs {
		if sig == 15 {
			break
		}
	}
	fmt.Fprintln(s.Stdout(), "got TERM")
	if _, err := lines(s, []string{args[1], "20"}); err != nil {
		return 0, err
	}
	return int(n[0]), nil
}

// ignoreTerm prints "ready", and "ignored TERM" for each TERM. It ends by KILL only.
func ignoreTerm(s System, _ []string) (int, error) {
	sigs := s.Signals()
	fmt.Fprintln(s.Stdout(), "ready")
	for sig := range sigs {
		if sig == 15 {
			fmt.Fprintln(s.Stdout(), "ignored TERM")
		}
	}
	return 0, nil
}

func pause(s System, _ []string) (int, error) {
	s.Pause()
	return 0, nil
}

func killSelf(s System, _ []string) (int, error) {
	s.Kill()
	return 0, fmt.Errorf("survived")
}

// oom uses memory until it is killed, or until there is clearly no limit: that must not use
// up the machine.
func oom(s System, _ []string) (int, error) {
	const piece, most = 4 << 20, 1 << 30
	for eaten := 0; eaten < most; eaten += piece {
		s.Eat(piece)
	}
	return 0, fmt.Errorf("used 1 GiB and was not killed")
}

// oomChild lets a child use up the memory, and ends with 1 when the child was killed.
func oomChild(s System, _ []string) (int, error) {
	wait, err := s.Spawn("oom")
	if err != nil {
		return 0, err
	}
	if code := wait(); code != 137 {
		return 0, fmt.Errorf("the child ended with code %d", code)
	}
	return 1, nil
}

// spawnHolder starts a child that holds the standard streams open, and does not wait for it.
func spawnHolder(s System, _ []string) (int, error) {
	_, err := s.Spawn("pause")
	return 0, err
}

// eat uses N bytes of memory until the process ends.
func eat(s System, args []string) (int, error) {
	n, err := numbers(args, 1)
	if err == nil {
		s.Eat(n[0])
	}
	return 0, err
}
