package gitvars

import (
	"net/url"
	"path"
	"strings"
)

// splitURL returns the group and the name of a repository from its remote's URL: the path's last element without ".git",
// and what stands before it. It takes URLs, the short form host:path of SSH, and local paths.
func splitURL(remote string) (group, name string) {
	p := remote
	if u, err := url.Parse(remote); err == nil && u.Scheme != "" && strings.Contains(remote, "://") {
		p = u.Path
	} else if host, rest, ok := strings.Cut(remote, ":"); ok && !strings.Contains(host, "/") {
		p = rest
	}
	var elements []string
	for e := range strings.SplitSeq(path.Clean("/"+p), "/") {
		if e != "" && e != "_git" { // "_git" stands between project and repository on Azure DevOps
			elements = append(elements, e)
		}
	}
	if len(elements) == 0 {
		return "", ""
	}
	last := len(elements) - 1
	name = strings.TrimSuffix(elements[last], ".git")
	if name == "" { // a local clone's own ".git" directory
		elements = elements[:last]
		if last--; last < 0 {
			return "", ""
		}
		name = elements[last]
	}
	return strings.Join(elements[:last], "/"), name
}
