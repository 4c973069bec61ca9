package giturl_test

import (
	"fmt"

	"github.com/wharfci/wharf/provisioner/giturl"
)

func ExampleParse() {
	for _, s := range []string{"git@github.com:wharfci/wharf.git", "https://github.com:443/wharfci/wharf", "ext::sh"} {
		u, err := giturl.Parse(s)
		if err != nil {
			fmt.Println(err)
			continue
		}
		fmt.Println(u, u.Origin(), u.Repository())
	}
	// Output:
	// git@github.com:wharfci/wharf.git ssh://github.com wharfci/wharf
	// https://github.com/wharfci/wharf https://github.com wharfci/wharf
	// the URL of the repository names a program for Git to run (name::address); allowed are https://host/path, http://host/path, ssh://user@host/path and user@host:path
}

func ExamplePolicy_Check() {
	policy := giturl.Policy{Allow: []string{"github.com", "https://git.example.com/group/*"}}
	for _, s := range []string{"git@github.com:wharfci/wharf.git", "https://git.example.com/group/sub/name", "https://git.example.com/other/name"} {
		u, err := giturl.Parse(s)
		if err == nil {
			err = policy.Check(u)
		}
		fmt.Println(err)
	}
	// Output:
	// <nil>
	// <nil>
	// https://git.example.com/other/name is not allowed: this installation clones only from github.com, https://git.example.com/group/*
}

func ExampleValidBranch() {
	fmt.Println(giturl.ValidBranch("feature/50%-faster"))
	fmt.Println(giturl.ValidBranch("--upload-pack=touch"))
	// Output:
	// <nil>
	// "--upload-pack=touch" is no name of a branch: it begins with a hyphen, as an option does
}
