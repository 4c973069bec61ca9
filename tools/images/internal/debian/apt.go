package debian

import (
	"cmp"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
)

// settings are read by apt after those of the machine. They give it directories of its own, and take away what the machine has it do besides.
const settings = `#clear APT::Update::Pre-Invoke;
#clear APT::Update::Post-Invoke;
#clear APT::Update::Post-Invoke-Success;
#clear DPkg::Pre-Invoke;
#clear DPkg::Post-Invoke;
#clear DPkg::Pre-Install-Pkgs;
#clear APT::Architectures;
APT::Architecture "%[1]s";
APT::Architectures:: "%[1]s";
APT::Install-Recommends "false";
APT::Install-Suggests "false";
APT::Sandbox::User "root";
APT::Keep-Downloaded-Packages "true";
Acquire::Languages "none";
Acquire::IndexTargets::deb::DEP-11::DefaultEnabled "false";
Acquire::Retries "2";
Dir::State "%[2]s/state";
Dir::State::status "%[2]s/status";
Dir::Cache "%[2]s/cache";
Dir::Log "%[2]s/log";
`

func (s *Set) archives() string { return filepath.Join(s.dir, "cache", "archives") }

// fetch has apt find out what is needed where nothing is installed, and download that. Files of older versions go.
func (s *Set) fetch() error {
	if err := s.prepare(); err != nil {
		return err
	}
	if _, err := s.apt("update"); err != nil {
		return err
	}
	install := append([]string{"--no-remove", "install"}, s.Wanted...)
	plan, err := s.apt(append([]string{"--simulate"}, install...)...)
	if err != nil {
		return err
	}
	if s.Packages, err = planned(plan); err != nil {
		return err
	}
	if _, err := s.apt(append([]string{"--download-only"}, install...)...); err != nil {
		return err
	}
	there, err := filepath.Glob(filepath.Join(s.archives(), "*.deb"))
	for _, file := range there {
		if !slices.ContainsFunc(s.Packages, func(p Package) bool { return p.file() == filepath.Base(file) }) {
			err = errors.Join(err, os.Remove(file))
		}
	}
	return err
}

func (s *Set) prepare() error {
	for _, d := range []string{"state/lists/partial", "cache/archives/partial", "log"} {
		if err := os.MkdirAll(filepath.Join(s.dir, d), 0o755); err != nil {
			return err
		}
	}
	if err := os.WriteFile(filepath.Join(s.dir, "status"), nil, 0o644); err != nil {
		return err
	}
	return os.WriteFile(s.conf(), fmt.Appendf(nil, settings, s.Arch, s.dir), 0o644)
}

func (s *Set) conf() string { return filepath.Join(s.dir, "apt.conf") }

func (s *Set) apt(args ...string) (string, error) {
	cmd := exec.Command("apt-get", append([]string{"-q", "-y", "-o", "APT::Update::Error-Mode=any", "-c", s.conf()}, args...)...)
	cmd.Env = append(os.Environ(), "LC_ALL=C", "DEBIAN_FRONTEND=noninteractive")
	var complaint strings.Builder
	cmd.Stderr = &complaint
	out, err := cmd.Output()
	if err != nil {
		return "", fmt.Errorf("apt-get %s: %w\n%s", strings.Join(args, " "), err, strings.TrimSpace(complaint.String()))
	}
	return string(out), nil
}

// installs is a line of "apt-get --simulate install", such as "Inst git (1:2.39.5-0+deb12u3 Debian:12.12/stable [amd64])".
var installs = regexp.MustCompile(`(?m)^Inst ([^ :]+)(?::\S+)? (?:\[[^]]*\] )?\(([^ ]+) .*\[([a-z0-9-]+)\]\)`)

// planned returns the packages that apt would install, by name.
func planned(plan string) ([]Package, error) {
	var found []Package
	for _, m := range installs.FindAllStringSubmatch(plan, -1) {
		found = append(found, Package{Name: m[1], Version: m[2], Arch: m[3]})
	}
	if len(found) == 0 || len(found) != strings.Count("\n"+plan, "\nInst ") {
		return nil, fmt.Errorf("apt-get --simulate: what it says is not understood:\n%s", plan)
	}
	slices.SortFunc(found, func(a, b Package) int { return cmp.Compare(a.Name, b.Name) })
	return found, nil
}
