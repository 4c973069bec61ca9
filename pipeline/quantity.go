package pipeline

import (
	"errors"
	"fmt"
	"math"
	"net"
	"path"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// The functions here read the notations of single values. Their errors end a sentence that starts with the place.

func parseDuration(s string) (Duration, error) {
	d, err := time.ParseDuration(s)
	switch {
	case err != nil && isDigits(s):
		return 0, fmt.Errorf(`must have a unit: did you mean "%ss"?`, s)
	case err != nil:
		return 0, fmt.Errorf(`must be a duration such as "90s" or "1h30m", but this is %s`, quote(s))
	case d <= 0:
		return 0, fmt.Errorf("must be more than 0, but this is %s", quote(s))
	}
	return Duration(d), nil
}

func isDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

var decimalText = regexp.MustCompile(`^([0-9]+(?:\.[0-9]*)?|\.[0-9]+)([a-zA-Z]*)$`)

// parseQuantity reads a number with a unit, in units, rounded up.
func parseQuantity(s string, units map[string]float64, example string) (int64, error) {
	m := decimalText.FindStringSubmatch(s)
	if m == nil {
		return 0, fmt.Errorf("must be an amount such as %s, but this is %s", example, quote(s))
	}
	factor, ok := units[m[2]]
	if !ok {
		return 0, fmt.Errorf("must be an amount such as %s, but %s is no unit", example, quote(m[2]))
	}
	f, err := strconv.ParseFloat(m[1], 64)
	v := math.Ceil(f * factor)
	if err != nil || v <= 0 || v >= 1<<53 {
		return 0, fmt.Errorf("must be more than 0 and not beyond all bounds, but this is %s", quote(s))
	}
	return int64(v), nil
}

// parseCPU reads cores and returns thousandths of a core.
func parseCPU(s string) (int64, error) {
	return parseQuantity(s, map[string]float64{"": 1000, "m": 1}, `0.5, 2 or "500m"`)
}

// parseMemory reads an amount of memory and returns bytes.
func parseMemory(s string) (int64, error) {
	return parseQuantity(s, map[string]float64{
		"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9, "T": 1e12,
		"Ki": 1 << 10, "Mi": 1 << 20, "Gi": 1 << 30, "Ti": 1 << 40,
	}, `"512Mi" or "2Gi"`)
}

// checkRepoPath takes the path of something in the repository.
func checkRepoPath(s string) error {
	switch p := path.Clean(strings.ReplaceAll(s, `\`, "/")); {
	case path.IsAbs(p) || driveLetter.MatchString(s):
		return fmt.Errorf("must be relative to the repository, but %s is absolute", quote(s))
	case p == ".." || strings.HasPrefix(p, "../"):
		return fmt.Errorf("must be inside of the repository, but %s leads out of it", quote(s))
	}
	return nil
}

var driveLetter = regexp.MustCompile(`^[A-Za-z]:`)

// checkCachePath takes a directory in the repository, or an absolute one.
func checkCachePath(s string) error {
	switch p := path.Clean(strings.ReplaceAll(s, `\`, "/")); {
	case p == "~" || strings.HasPrefix(p, "~/") || p == "$HOME" || strings.HasPrefix(p, "$HOME/"):
		err := fmt.Errorf("must not begin with the home directory, which is not known here, but this is %s", quote(s))
		return &hinted{err, "write the directory in full, such as /root/.cache"}
	case p == "/" || p == ".":
		return fmt.Errorf("must be a directory for the cache alone, but this is %s", quote(s))
	case path.IsAbs(p) || driveLetter.MatchString(s):
		return nil
	}
	return checkRepoPath(s)
}

// checkFileRef takes a path in the repository, or a URL.
func checkFileRef(s string) error {
	if isURL(s) {
		return nil
	}
	return checkRepoPath(s)
}

func isURL(s string) bool { return strings.Contains(s, "://") }

// checkGlob takes a pattern of artifacts.
func checkGlob(s string) error {
	if err := checkRepoPath(s); err != nil {
		return err
	}
	if _, err := path.Match(s, ""); err != nil {
		return fmt.Errorf("must be a pattern such as %s, but %s is malformed", quote("out/**/*.zip"), quote(s))
	}
	return nil
}

func checkEnvName(s string) error {
	if s == "" || strings.ContainsAny(s, "=\x00") {
		return errors.New(`must be the name of an environment variable, without "="`)
	}
	return nil
}

const varNamePattern = `^[^}\s]([^}]*[^}\s])?$`

func checkVarName(s string) error {
	if strings.TrimSpace(s) != s || s == "" || strings.Contains(s, "}") {
		return errors.New(`must be the name of a variable, without "}" or white space around it`)
	}
	return nil
}

const dnsLabel = `^[a-z0-9]([-a-z0-9]{0,61}[a-z0-9])?$`

var dnsLabelRegex = regexp.MustCompile(dnsLabel)

func checkServiceName(s string) error {
	if !dnsLabelRegex.MatchString(s) || net.ParseIP(s) != nil {
		return errors.New("must be a host name: at most 63 of a-z, 0-9 and -, with a letter or digit at both ends")
	}
	if s == "localhost" {
		return errors.New("is the step itself")
	}
	return nil
}

// checkPair takes "NAME=value".
func checkPair(s string) error {
	if i := strings.IndexByte(s, '='); i < 1 {
		return fmt.Errorf(`must have the form "NAME=value", but this is %s`, quote(s))
	}
	return nil
}

// checkTags takes a comma-separated list of image tags. Empty ones do not count, since ${GIT_TAG} often is empty.
func checkTags(s string) error {
	if len(splitTags(s)) == 0 {
		return fmt.Errorf("must have a tag, but this is %s", quote(s))
	}
	return nil
}

func splitTags(s string) []string {
	var tags []string
	for t := range strings.SplitSeq(s, ",") {
		if t = strings.TrimSpace(t); t != "" {
			tags = append(tags, t)
		}
	}
	return tags
}
