package clone

import (
	"fmt"
	"os"
	"strings"
	"time"
)

// sshCommand is what Git starts for SSH URLs: the one that is cloned, and those of submodules. Its words are plain, since a shell reads them.
// Without known hosts it connects to nobody.
func (c *cloner) sshCommand() (string, error) {
	hosts := os.DevNull
	if c.o.KnownHostsFile != "" {
		known, err := os.ReadFile(c.o.KnownHostsFile)
		if err != nil {
			return "", invalid(fmt.Errorf("the file with known hosts: %w", err))
		}
		if hosts, err = c.keep("known_hosts", known); err != nil {
			return "", err
		}
	}
	words := []string{"ssh", "-F", os.DevNull}
	options := []string{
		"BatchMode=yes", "StrictHostKeyChecking=yes", "UserKnownHostsFile=" + hosts, "GlobalKnownHostsFile=" + os.DevNull, "UpdateHostKeys=no",
		"IdentitiesOnly=yes", "IdentityAgent=none", "PreferredAuthentications=publickey", "ForwardAgent=no", "ClearAllForwardings=yes",
		fmt.Sprintf("ConnectTimeout=%d", max(1, int(c.o.limits.connect/time.Second))), "ServerAliveInterval=15", "ServerAliveCountMax=4",
	}
	if len(c.secret.key) > 0 {
		// A copy, since ssh refuses a file that others may read, as mounted secrets are.
		path, err := c.keep("key", c.secret.key)
		if err != nil {
			return "", err
		}
		options = append(options, "IdentityFile="+path)
	} else {
		options = append(options, "IdentityFile=none")
	}
	for _, o := range options {
		words = append(words, "-o", o)
	}
	return strings.Join(words, " "), nil
}
