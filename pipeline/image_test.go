package pipeline

import (
	"errors"
	"strings"
	"testing"
)

func TestCheckImage(t *testing.T) {
	digest := "sha256:" + strings.Repeat("0123456789abcdef", 4)
	for _, s := range []string{
		"alpine", "alpine:3", "i", "group/app", "registry.example.com/group/app:v1.2_3-rc.1", "localhost/wharf/busybox:1", "localhost:5000/app",
		"registry.example.com:5000/a/b/c", "[::1]:5000/app:1", "REGISTRY.example.com/app:Latest", "app@" + digest, "app:1@" + digest,
		"app@sha512:" + strings.Repeat("0123456789abcdef", 8), digest, strings.TrimPrefix(digest, "sha256:"), "golang:${version}", "${image}", "x__y--z:_",
	} {
		if err := checkImage(s); err != nil {
			t.Errorf("%s is refused: %v", s, err)
		}
	}
	for s, hint := range map[string]string{
		"alpine:$VERSION":               "written ${VERSION}",
		"alpine:{{ .Values.tag }}":      "written ${Values.tag}",
		"Foo Bar":                       "looks like",
		"Alpine:3":                      `"alpine:3"`,
		"example.com/Group/App:V1":      `"example.com/group/app:V1"`,
		"alpine:":                       `"alpine:latest"`,
		"alpine@":                       `"alpine"`,
		"group/":                        `"group"`,
		" alpine:3":                     `"alpine:3"`,
		"http://alpine":                 `no "http://" in front: did you mean "alpine"?`,
		"docker://registry.test/app:1":  `"registry.test/app:1"`,
		"http://":                       "looks like",
		"alpine:3:4":                    "looks like",
		"alpine:-1":                     "looks like",
		"alpine@sha256:12":              "looks like",
		"-alpine":                       "looks like",
		"äöü":                           "looks like",
		"a//b":                          "looks like",
		strings.Repeat("a", maxImage+1): "looks like",
		"a/" + strings.Repeat("b", 300): "looks like",
	} {
		err := checkImage(s)
		h, ok := errors.AsType[*hinted](err)
		if !ok || !strings.Contains(h.hint, hint) {
			t.Errorf("%q: %#v, want a hint with %s", s, err, hint)
		}
	}
}

func TestCheckShell(t *testing.T) {
	for _, s := range []string{
		"", "bash", "/bin/sh", "powershell.exe", `C:\Program Files\PowerShell\7\pwsh.exe`, "/opt/my tools/bin/sh", "${shell}",
	} {
		if err := checkShell(s); err != nil {
			t.Errorf("%s is refused: %v", s, err)
		}
	}
	for s, hint := range map[string]string{
		"bash -e":                    `write "bash" alone`,
		"/bin/bash -euo pipefail":    `write "/bin/bash" alone`,
		"/usr/bin/env bash":          "alone",
		"sh /x/script":               "alone",
		"/bin/sh /x/script":          "alone",
		"bash ":                      "alone",
		" ":                          "alone",
		`C:\bin\pwsh.exe -NoProfile`: "alone",
		"cmd.exe /c":                 "alone",
	} {
		err := checkShell(s)
		h, ok := errors.AsType[*hinted](err)
		if !ok || !strings.Contains(h.hint, hint) {
			t.Errorf("%q: %#v, want a hint with %s", s, err, hint)
		}
	}
}

// What variables bring is checked once they are known. A name that nobody defines is warned of, as elsewhere.
func TestPlan_images(t *testing.T) {
	src := "s:\n  a:\n    container:\n      image: ${image}\n      cmds: [c]\n      services: {db: {image: \"${image}\"}}\n      shell: ${shell}\n"
	vars := map[string]string{"image": "Foo", "shell": "sh -e"}
	d := mustParse(t, src)
	_, err := d.Plan(Options{Vars: vars})
	errs, _ := errors.AsType[Errors](err)
	if len(errs) != 3 || errs[0].Line != 4 || errs[0].Column != 14 || errs[0].Hint == "" || errs[1].Line != 6 || errs[2].Line != 7 {
		t.Errorf("the problems are %v", err)
	}
	p, err := d.Plan(Options{Vars: map[string]string{"shell": "sh"}})
	if err != nil || len(p.Warnings) == 0 {
		t.Errorf("an unknown name: %v, %v", p, err)
	}
}

func TestPlan_secretImage(t *testing.T) {
	src := "inputs: [{name: p, type: password}]\ns:\n  a:\n    container:\n      image: ${p}\n      cmds: [c]\n"
	_, err := mustParse(t, src).Plan(Options{Inputs: map[string]string{"p": "Hush:1"}})
	if err == nil || strings.Contains(strings.ToLower(err.Error()), "hush") {
		t.Errorf("the error is %v", err)
	}
}
