//go:build linux

package rootfs

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math"
	"os"
	"slices"
	"strconv"
	"strings"
)

// User is whom a command runs as.
type User struct {
	UID, GID int
	// Groups are the further ones, of a user that was given without a group.
	Groups []uint32
	// Home is empty for who is not in /etc/passwd.
	Home string
}

// LookUser finds "name", "uid", "name:group" or "uid:gid" in /etc/passwd and /etc/group; the empty name is root. An error is why the command
// cannot be started.
func LookUser(s string) (User, error) {
	name, group, _ := strings.Cut(s, ":")
	if name == "" {
		name = "0"
	}
	number, numeric := id(name)
	user, account, err := findAccount(name, number, numeric)
	if err != nil {
		return user, err
	}
	if account == "" && !numeric {
		return user, fmt.Errorf("unable to find user %s: no matching entries in passwd file", name)
	}
	if account == "" {
		user = User{UID: number}
	}
	if group != "" {
		user.GID, err = findGroup(group)
	} else if account != "" {
		user.Groups, err = groupsOf(account, user.GID)
	}
	return user, err
}

func id(s string) (int, bool) {
	n, err := strconv.Atoi(s)
	return n, err == nil && n >= 0 && n < math.MaxUint32
}

// maxAccounts is how much of an image's /etc/passwd or /etc/group is read, in bytes.
const maxAccounts = 4 << 20

// entries calls f with the fields of each line, until it returns false. A file that is not there has none.
func entries(file string, fields int, f func([]string) bool) error {
	info, err := os.Stat(file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err == nil && !info.Mode().IsRegular() {
		err = fmt.Errorf("%s is no regular file", file)
	}
	if err != nil {
		return err
	}
	in, err := os.Open(file)
	if err != nil {
		return err
	}
	defer in.Close()
	for lines := bufio.NewScanner(io.LimitReader(in, maxAccounts)); lines.Scan(); {
		if parts := strings.Split(lines.Text(), ":"); len(parts) >= fields && !f(parts) {
			break
		}
	}
	return nil
}

func findAccount(name string, number int, numeric bool) (user User, account string, err error) {
	err = entries("/etc/passwd", 4, func(f []string) bool {
		uid, okUID := id(f[2])
		gid, okGID := id(f[3])
		if okUID && okGID && (f[0] == name || numeric && uid == number) {
			user, account = User{UID: uid, GID: gid}, f[0]
			if len(f) > 5 {
				user.Home = f[5]
			}
		}
		return account == ""
	})
	return user, account, err
}

func findGroup(name string) (gid int, err error) {
	if n, ok := id(name); ok {
		return n, nil
	}
	found := false
	err = entries("/etc/group", 3, func(f []string) bool {
		if n, valid := id(f[2]); valid && f[0] == name {
			gid, found = n, true
		}
		return !found
	})
	if err == nil && !found {
		err = fmt.Errorf("unable to find group %s: no matching entries in group file", name)
	}
	return gid, err
}

// groupsOf are the further groups of an account.
func groupsOf(account string, primary int) (gids []uint32, err error) {
	err = entries("/etc/group", 4, func(f []string) bool {
		if gid, ok := id(f[2]); ok && gid != primary && slices.Contains(strings.Split(f[3], ","), account) {
			gids = append(gids, uint32(gid))
		}
		return true
	})
	return gids, err
}
