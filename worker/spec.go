package worker

import (
	"strconv"
	"time"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/pipeline"
)

// spec describes the task of an attempt, and makes the volumes that it refers to.
func (e *engine) spec(p *prep) (driver.TaskSpec, error) {
	s := p.step
	c := s.Container
	spec := driver.TaskSpec{
		Name:   taskName(e.cfg.ID, s.ID, p.attempt),
		Labels: e.with(map[string]string{LabelStep: s.ID, LabelAttempt: strconv.Itoa(p.attempt)}),
		Container: driver.Container{
			Image: c.Image,
			Pull:  e.pulls.policy(),
			Dir:   Workspace,
			User:  c.User,
			Resources: driver.Resources{
				CPU: s.Resources.CPULimit, Memory: s.Resources.MemoryLimit,
				CPURequest: s.Resources.CPU, MemoryRequest: s.Resources.Memory,
			},
		},
	}
	e.command(s, &spec)
	if e.caps.Placement {
		spec.Placement.ServiceAccount = c.ServiceAccount
	}
	e.services(s, &spec)
	mounts, err := e.mounts(s)
	spec.Container.Mounts = mounts
	return spec, err
}

// services adds the step's services. They are reached on localhost, and by name through the hosts file.
func (e *engine) services(s *pipeline.Step, spec *driver.TaskSpec) {
	for i := range s.Services {
		svc := &s.Services[i]
		c := driver.Container{Name: svc.Name, Image: svc.Image, Pull: e.pulls.policy(), Env: svc.Env}
		if args := svc.Args(); args != nil {
			args = append([]string{args[0], "-c", launchService}, args...)
			c.Entrypoint, c.Args = args[:1], args[1:]
		}
		spec.Services = append(spec.Services, driver.Service{
			Container: c,
			Ready:     driver.Ready{TCP: svc.Ready.TCP, Exec: svc.Ready.Exec, Timeout: time.Duration(svc.Timeout)},
		})
		if e.caps.Hosts {
			if spec.Network.Hosts == nil {
				spec.Network.Hosts = map[string]string{}
			}
			spec.Network.Hosts[svc.Name] = "127.0.0.1"
		}
	}
}

// mounts returns the workspace, the caches and the certificates.
func (e *engine) mounts(s *pipeline.Step) ([]driver.Mount, error) {
	volume, err := e.space.volume()
	if err != nil {
		return nil, err
	}
	mounts := []driver.Mount{{Volume: volume, Path: Workspace}}
	for _, c := range s.Cache {
		volume, err := e.caches.volume(c.Key)
		if err != nil {
			return nil, err
		}
		mounts = append(mounts, driver.Mount{Volume: volume, Path: cachePath(c)})
	}
	if at := s.Container.CertificatesMountPath; at != "" {
		volume, err := e.certificates()
		if err != nil {
			return nil, err
		}
		if volume != "" {
			mounts = append(mounts, driver.Mount{Volume: volume, Path: at, ReadOnly: true})
		} else {
			e.warn(s.ID, "certificatesMountPath %s: no certificates are configured here, so nothing is mounted", at)
		}
	}
	return mounts, nil
}
