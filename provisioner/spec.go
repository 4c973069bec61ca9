package provisioner

import (
	"encoding/json"
	"path"
	"strconv"
	"strings"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/provisioner/giturl"
)

// Where things are in a worker's containers.
const (
	program  = "/usr/local/bin/wharf"
	work     = "/work" // the volume
	checkout = work + "/repository"
	results  = work + "/" + Results
	secrets  = "/run/wharf"
	cloner   = "clone" // the init container
)

// restarts is how often in a row a worker goes on whose process was killed: for want of memory, say.
const restarts = 10

// Results is the directory in a worker's volume with what its build leaves: see [github.com/wharfci/wharf/worker/journal].
const Results = "results"

// Port is where a worker's API listens, on localhost of its task: see [driver.Dial].
const Port = 7500

// Order is what a worker is told of its build, in a file that nobody else sees: inputs and variables may be secrets.
type Order struct {
	// Worker is put as a label on what the build makes.
	Worker string `json:"worker"`
	// Project is whose caches the build uses.
	Project string `json:"project"`
	// Stage and Environment are empty for all and none.
	Stage       string            `json:"stage,omitempty"`
	Environment string            `json:"environment,omitempty"`
	Inputs      map[string]string `json:"inputs,omitempty"`
	// Variables are those of the trigger, the well-known ones included.
	Variables map[string]string `json:"variables,omitempty"`
}

// order is what the worker of a trigger is told.
func (t *Trigger) order() Order {
	vars := map[string]string{}
	for name, value := range t.Variables {
		vars[name] = value
	}
	known := map[string]string{
		"BUILD_REF": strconv.FormatUint(t.Build, 10), "WHARF_INSTANCE": t.Instance, "REPO_GROUP": t.Group, "REPO_NAME": t.Name,
		"REPO_BRANCH": t.Branch, "GIT_BRANCH": t.Branch,
	}
	if t.ProjectID != 0 {
		known["WHARF_PROJECT_ID"] = strconv.FormatUint(t.ProjectID, 10)
	}
	for name, value := range known {
		if value != "" {
			vars[name] = value
		}
	}
	project := []string{"provisioner", t.Instance, known["WHARF_PROJECT_ID"], t.Group, t.Name}
	if t.ProjectID == 0 && t.Name == "" {
		project = append(project, t.URL.String())
	}
	return Order{Worker: workerID(t.Instance, t.Build), Project: strings.Join(project, "\n"), Stage: t.Stage, Environment: t.Environment, Inputs: t.Inputs, Variables: vars}
}

// remote is the URL as the arguments of a clone have it, which everybody on the machine sees: without the user of an HTTP URL.
func (t *Trigger) remote() string {
	if t.URL.Scheme == giturl.SSH {
		return t.URL.Remote()
	}
	return t.URL.String()
}

// task is the worker's task: a container that clones, and the one that builds.
func (p *Provisioner) task(t *Trigger, volume driver.VolumeID) (driver.TaskSpec, error) {
	order, err := json.Marshal(t.order())
	if err != nil {
		return driver.TaskSpec{}, err
	}
	id := workerID(t.Instance, t.Build)
	mounts := []driver.Mount{{Volume: volume, Path: work}}
	container := func(name string, args ...string) driver.Container {
		return driver.Container{
			Name: name, Image: p.cfg.Image, Pull: p.cfg.Pull, Credentials: p.cfg.Registry, Entrypoint: []string{program}, Args: args,
			Mounts: mounts, Dir: "/", User: p.cfg.Access.User,
		}
	}
	spec := driver.TaskSpec{
		Name: id, Labels: t.describe(), Placement: driver.Placement{ServiceAccount: p.cfg.Access.ServiceAccount},
		Secrets: []driver.Secret{
			{Name: "order", Path: secrets + "/order.json", Value: order, Containers: []string{driver.MainContainer}},
			{Name: "worker token", Path: secrets + "/token", Value: []byte(Token(p.cfg.WorkerKey, id)), Containers: []string{driver.MainContainer}},
		},
	}
	args := []string{"clone", "--report", "--again", "--branch=" + t.Branch, "--depth=" + strconv.Itoa(p.cfg.Clone.Depth), "--timeout=" + p.cfg.Clone.Timeout.String()}
	for _, pattern := range p.cfg.Policy.Allow {
		args = append(args, "--allow="+pattern)
	}
	flag := func(name, value string) {
		if value != "" {
			args = append(args, "--"+name+"="+value)
		}
	}
	if p.cfg.Policy.HTTP {
		args = append(args, "--allow-http")
	}
	flag("commit", t.Commit)
	if t.Submodules {
		args = append(args, "--submodules")
	}
	if t.LFS {
		args = append(args, "--lfs")
	}
	for _, dir := range t.Sparse {
		flag("sparse", dir)
	}
	file := func(option, name string, value []byte) {
		if len(value) > 0 {
			at := path.Join(secrets, name)
			spec.Secrets = append(spec.Secrets, driver.Secret{Name: name, Path: at, Value: value, Containers: []string{cloner}})
			flag(option, at)
		}
	}
	credential := strings.TrimSpace(t.Credential)
	switch {
	case t.URL.Scheme != giturl.SSH:
		file("token-file", "git-token", []byte(credential))
		if file("user-file", "git-user", []byte(t.URL.User)); t.URL.User == "" { // people put tokens there
			flag("user", p.cfg.Clone.User)
		}
	case strings.HasPrefix(credential, "-----BEGIN "):
		file("token-file", "ssh-key", []byte(credential+"\n")) // ssh insists on the end of the line
	default: // a token says nothing to SSH
		file("ssh-key", "ssh-key", p.cfg.Clone.SSHKey)
	}
	file("known-hosts", "known-hosts", p.cfg.Clone.KnownHosts)
	file("ca", "ca.pem", p.cfg.Clone.CA)
	spec.Init = []driver.Container{container(cloner, append(args, "--", t.remote(), checkout)...)}

	args = []string{"worker", "--report", "--results=" + results, "--order=" + secrets + "/order.json", "--token-file=" + secrets + "/token",
		"--listen=127.0.0.1:" + strconv.Itoa(Port), "--http=", "--linger=" + p.cfg.Keep.String(), "--restarts=" + strconv.Itoa(restarts)}
	flag("driver", p.cfg.Access.Driver)
	if of := p.projectSecrets(t); len(of) > 0 {
		spec.Secrets = append(spec.Secrets, of...)
		flag("secrets", store)
	}
	args = append(args, p.cfg.Options...)
	spec.Container = container("", append(args, "--", path.Join(checkout, t.Directory))...)
	spec.Container.Resources = p.cfg.Resources
	spec.Container.Security = p.cfg.Access.Security
	spec.Container.Security.HostPaths = p.cfg.Access.HostPaths
	return spec, nil
}
