package main

import (
	"regexp"
	"slices"
	"strings"
)

// most is how many failures a second run may excuse: more are no accident.
const most = 8

// retry is what is run again of one package: some tests, or all if it has failed without one.
type retry struct {
	pkg   string
	tests []string
}

// again returns what to run once more, in the order in which it failed. What does not compile is not worth it.
func (r *reporter) again() []retry {
	var all []retry
	number := 0
	for _, k := range r.failed {
		if slices.Contains(r.unbuilt, k.pkg) {
			continue
		}
		i := slices.IndexFunc(all, func(a retry) bool { return a.pkg == k.pkg })
		if i < 0 {
			all = append(all, retry{pkg: k.pkg})
			i = len(all) - 1
		}
		if k.test != "" && !r.failedBelow(k) {
			all[i].tests = append(all[i].tests, k.test)
			number++
		}
	}
	if number > most {
		return nil
	}
	for i := range all {
		if slices.Contains(r.broken, all[i].pkg) {
			all[i].tests = nil
		}
	}
	return all
}

// failedBelow tells whether a subtest of k failed too, which is why k did.
func (r *reporter) failedBelow(k key) bool {
	return slices.ContainsFunc(r.failed, func(o key) bool { return o.pkg == k.pkg && strings.HasPrefix(o.test, k.test+"/") })
}

// excuse takes what has passed the second time for flaky.
func (r *reporter) excuse(a retry) {
	r.failed = slices.DeleteFunc(r.failed, func(k key) bool { return k.pkg == a.pkg })
	for _, test := range a.tests {
		r.flaky = append(r.flaky, key{a.pkg, test})
	}
	if len(a.tests) == 0 {
		r.flaky = append(r.flaky, key{pkg: a.pkg})
	}
}

// flags returns those of the first run with the choice of these tests. Of a flag that is given twice the last one counts.
func (a retry) flags(first []string) []string {
	if len(a.tests) == 0 {
		return first
	}
	return append(slices.Clone(first), "-run="+pattern(a.tests))
}

// pattern returns what -run takes for exactly these tests.
func pattern(tests []string) string {
	var all []string
	for _, test := range tests {
		var parts []string
		for part := range strings.SplitSeq(test, "/") {
			parts = append(parts, "^"+regexp.QuoteMeta(part)+"$")
		}
		all = append(all, strings.Join(parts, "/"))
	}
	return strings.Join(all, "|")
}
