package clone

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"os"
	"path/filepath"
)

// finished is the name of a file in .git that says what was cloned, for Options.Again. No repository can bring it.
const finished = "wharf-cloned"

// record is what the file holds: what came of what was asked for.
type record struct {
	Asked  string
	Result Result
}

// asked is a sum of what was asked for: the URL may have a secret in it.
func asked(o *Options) string {
	sum := sha256.Sum256([]byte(o.URL + "\n" + o.Branch + "\n" + o.Commit))
	return hex.EncodeToString(sum[:])
}

// note writes the file, if somebody may look for it.
func (c *cloner) note(r Result) error {
	if !c.o.Again {
		return nil
	}
	text, err := json.Marshal(record{c.asked, r})
	if err == nil {
		err = os.WriteFile(filepath.Join(c.o.Dir, ".git", finished), text, 0o666)
	}
	return err
}

// doneBefore returns what an earlier clone with the same options has made, if it got to its end. Should it have been killed as it removed the token, the rest is done.
func doneBefore(o Options) (Result, bool) {
	if !o.Again {
		return Result{}, false
	}
	text, err := os.ReadFile(filepath.Join(o.Dir, ".git", finished))
	if err != nil {
		return Result{}, false
	}
	var was record
	if json.Unmarshal(text, &was) != nil || was.Asked != asked(&o) {
		return Result{}, false
	}
	c := &cloner{o: o, out: &progress{w: o.Progress}}
	c.dropTokens()
	_ = os.Remove(filepath.Join(o.Dir, ".git", unfinished))
	c.out.say("commit %s was cloned before", was.Result.Commit)
	return was.Result, true
}
