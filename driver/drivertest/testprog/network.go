package testprog

import (
	"fmt"
	"io"
	"net"
	"strings"
)

// serve listens on ADDRESS, makes FILE, if it is given, prints "ready", and sends whatever arrives on a connection back on it.
// When the other side has ended what it sends, it adds "end". It ends by a signal only.
func serve(s System, args []string) (int, error) {
	if len(args) != 1 && len(args) != 2 {
		return 0, fmt.Errorf("needs ADDRESS [FILE]")
	}
	l, err := s.Listen(args[0])
	if err != nil {
		return 0, err
	}
	if len(args) == 2 {
		if code, err := put(s, []string{args[1], "listening"}); code != 0 || err != nil {
			return code, err
		}
	}
	if _, err := fmt.Fprintln(s.Stdout(), "ready"); err != nil {
		return 0, err
	}
	for {
		c, err := l.Accept()
		if err != nil {
			return 0, err
		}
		go echo(c)
	}
}

func echo(c net.Conn) {
	defer c.Close()
	if _, err := io.Copy(c, struct{ io.Reader }{c}); err == nil {
		io.WriteString(c, "end")
	}
}

// connect sends TEXT to ADDRESS, ends what it sends, and prints what comes back as a quoted Go string.
func connect(s System, args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs ADDRESS TEXT")
	}
	c, err := s.Dial(args[0])
	if err != nil {
		return 0, err
	}
	defer c.Close()
	if _, err := io.WriteString(c, args[1]); err != nil {
		return 0, err
	}
	if err := c.(interface{ CloseWrite() error }).CloseWrite(); err != nil {
		return 0, err
	}
	back, err := io.ReadAll(c)
	if err == nil {
		_, err = fmt.Fprintf(s.Stdout(), "%q\n", back)
	}
	return 0, err
}

// addresses prints the addresses by which others may reach the machine, in one line.
func addresses(s System, _ []string) (int, error) {
	all, err := s.Addresses()
	if err == nil {
		_, err = fmt.Fprintln(s.Stdout(), strings.Join(all, " "))
	}
	return 0, err
}

// lookup prints the addresses of each HOST, a line each.
func lookup(s System, args []string) (int, error) {
	for _, host := range args {
		found, err := s.Lookup(host)
		if err != nil {
			return 0, err
		}
		fmt.Fprintln(s.Stdout(), strings.Join(found, " "))
	}
	return 0, nil
}

// names is a name server at localhost that knows one NAME and its ADDRESS. It prints "ready", and ends by a signal only.
func names(s System, args []string) (int, error) {
	if len(args) != 2 {
		return 0, fmt.Errorf("needs NAME ADDRESS")
	}
	return 0, s.ServeNames(args[0], args[1], func() { fmt.Fprintln(s.Stdout(), "ready") })
}
