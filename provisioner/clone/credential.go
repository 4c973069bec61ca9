package clone

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strings"
)

// answer is what the credential helper knows: where the token is, and whom to show it.
type answer struct {
	Origin, User, TokenFile string
}

// helper writes down what the helper has to know, and returns the command in the form that Git takes, which its shell reads.
func (c *cloner) helper() (string, error) {
	program := c.o.Helper
	if len(program) == 0 {
		self, err := os.Executable()
		if err != nil {
			return "", err
		}
		program = []string{self, "git-credential"}
	}
	known, err := json.Marshal(answer{c.url.Origin(), c.secret.user, c.o.TokenFile})
	if err != nil {
		return "", err
	}
	path, err := c.keep("credential.json", known)
	if err != nil {
		return "", err
	}
	words := "!"
	for _, w := range append(program[:len(program):len(program)], path) {
		words += "'" + strings.ReplaceAll(w, "'", `'\''`) + "' "
	}
	return strings.TrimSuffix(words, " "), nil
}

// Credential is a credential helper of Git (gitcredentials(7)): args are what Clone has Git call it with, a file and then an operation. It
// answers a question for the server that is cloned from, and no other question; there is nothing that it would store or erase.
func Credential(args []string, in io.Reader, out io.Writer) error {
	if len(args) != 2 {
		return fmt.Errorf("a credential helper takes a file and an operation, and is called by Git")
	}
	if args[1] != "get" {
		return nil
	}
	text, err := os.ReadFile(args[0])
	if err != nil {
		return err
	}
	var known answer
	if err := json.Unmarshal(text, &known); err != nil {
		return fmt.Errorf("%s: %w", args[0], err)
	}
	asked := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(in, largest))
	for lines.Scan() && lines.Text() != "" {
		key, value, _ := strings.Cut(lines.Text(), "=")
		asked[key] = value
	}
	if lines.Err() != nil || strings.ToLower(asked["protocol"]+"://"+asked["host"]) != known.Origin {
		return lines.Err()
	}
	token, err := readSmall(known.TokenFile)
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(out, "username=%s\npassword=%s\n", known.User, strings.TrimSpace(string(token)))
	return err
}
