package pipeline

import (
	"regexp"
	"slices"
	"strings"
)

// Names are the names that a definition defines, in the order of the file.
type Names struct {
	Stages       []string
	Environments []string
	Inputs       []string
}

// Outline returns the names in a definition for completion. It never fails: of a file that cannot be read as YAML, since
// someone is typing in it, it finds the names that stand at the start of lines with the usual indentation.
func Outline(src []byte) Names {
	if len(src) > MaxSize {
		return Names{}
	}
	r := &report{}
	s := prepare("", src, r)
	if s == nil {
		return Names{}
	}
	root := load(s, r)
	if root == nil || root.form != mapping {
		return scan(s.text)
	}
	var names Names
	for _, e := range root.entries {
		switch {
		case e.key == keyInputs:
			for _, item := range e.value.items {
				names.Inputs = append(names.Inputs, item.at("name").str())
			}
		case e.key == keyEnvironments:
			for _, env := range e.value.entries {
				names.Environments = append(names.Environments, env.key)
			}
		case e.value.form == mapping || e.value.form == nothing:
			names.Stages = append(names.Stages, e.key)
		}
	}
	return names.tidy()
}

var (
	topKey   = regexp.MustCompile(`^["']?([^\s"'#\-{\[][^"':]*?)["']?\s*:(\s|$)`)
	subKey   = regexp.MustCompile(`^(\s+)["']?([^\s"'#\-{\[][^"':]*?)["']?\s*:(\s|$)`)
	nameItem = regexp.MustCompile(`^\s*-?.*?\bname\s*:\s*["']?([^\s"',}]+)`)
)

// scan finds names line by line.
func scan(text string) Names {
	var names Names
	section, indent := "", ""
	for line := range strings.Lines(text) {
		line = strings.TrimRight(line, "\r\n")
		if m := topKey.FindStringSubmatch(line); m != nil {
			section, indent = m[1], ""
			if !slices.Contains([]string{keyInputs, keyEnvironments, keyTimeout, keyConcurrency}, section) {
				names.Stages = append(names.Stages, section)
			}
			continue
		}
		switch section {
		case keyInputs:
			if m := nameItem.FindStringSubmatch(line); m != nil {
				names.Inputs = append(names.Inputs, m[1])
			}
		case keyEnvironments:
			if m := subKey.FindStringSubmatch(line); m != nil && (indent == "" || m[1] == indent) {
				indent = m[1]
				names.Environments = append(names.Environments, m[2])
			}
		}
	}
	return names.tidy()
}

// tidy removes empty names and repetitions.
func (n Names) tidy() Names {
	for _, list := range []*[]string{&n.Stages, &n.Environments, &n.Inputs} {
		seen := map[string]bool{"": true}
		*list = slices.DeleteFunc(*list, func(name string) bool {
			dup := seen[name]
			seen[name] = true
			return dup
		})
	}
	return n
}
