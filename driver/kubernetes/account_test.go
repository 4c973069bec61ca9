package kubernetes_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"
	"testing"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"

	"github.com/wharfci/wharf/driver"
	"github.com/wharfci/wharf/driver/kubernetes"
)

// accountPath is where clients of the API server look for credentials.
const accountPath = "/var/run/secrets/kubernetes.io/serviceaccount"

// The main container of a task with a service account has its credentials, whoever its user is, and no other container has them.
func TestServiceAccount(t *testing.T) {
	s := newSite(t)
	const account = "builder"
	accounts := s.admin.CoreV1().ServiceAccounts(namespace)
	if _, err := accounts.Create(t.Context(), &core.ServiceAccount{ObjectMeta: meta.ObjectMeta{Name: account}}, meta.CreateOptions{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { accounts.Delete(context.Background(), account, meta.DeleteOptions{}) })
	d := s.gate(func(cfg *kubernetes.Config) { cfg.Allow.ServiceAccounts = []string{account} })
	for name, c := range map[string]struct {
		user    string
		nonRoot bool
		secret  int // its owner; -1 is none
	}{
		"image":   {secret: -1},
		"root":    {user: "0"},
		"becomes": {user: "1000"}, // from root, by the helper
		"nonroot": {user: "1000:1000", nonRoot: true, secret: -1},
		"secret":  {user: "1000", nonRoot: true, secret: 1000},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			spec := program(name, "cat", accountPath+"/token", accountPath+"/namespace", accountPath+"/ca.crt")
			spec.Placement.ServiceAccount = account
			if c.secret >= 0 {
				spec.Secrets = []driver.Secret{{Name: "one", Path: "/one", Value: []byte("secret"), UID: c.secret, Mode: 0o444}}
			}
			spec.Container.User, spec.Container.Security.NonRoot = c.user, c.nonRoot
			before := spec.Container
			before.Name, before.Args = "before", []string{"refused", "stat", accountPath, ";", "env"}
			spec.Init = []driver.Container{before}
			said := printed(t, d, spec)
			if before := said["before"]; !strings.Contains(before, "refused: ") || strings.Contains(before, "KUBERNETES_") {
				t.Errorf("the init container printed\n%s", before)
			}
			var token, space, authority string
			if _, err := fmt.Sscanf(said[driver.MainContainer], "%q\n%q\n%q", &token, &space, &authority); err != nil || space != namespace || !strings.HasPrefix(authority, "-----BEGIN CERTIFICATE-----") {
				t.Fatalf("%v: the main container printed\n%s", err, said[driver.MainContainer])
			}
			review, err := s.admin.AuthenticationV1().TokenReviews().Create(t.Context(), &authentication.TokenReview{Spec: authentication.TokenReviewSpec{Token: token}}, meta.CreateOptions{})
			if err != nil || review.Status.User.Username != "system:serviceaccount:"+namespace+":"+account {
				t.Errorf("the token is of %q, %v", review.Status.User.Username, err)
			}
		})
	}
}

// printed makes and starts a task, which must end well, and returns what each of its containers has printed.
func printed(t *testing.T, d driver.Driver, spec driver.TaskSpec) map[string]string {
	t.Helper()
	id, err := d.Create(t.Context(), spec)
	if err != nil {
		t.Fatal(err)
	}
	if err := d.Start(t.Context(), id); err != nil {
		t.Fatal(err)
	}
	if res, err := d.Wait(t.Context(), id); err != nil || res.Outcome != driver.Exited || res.Code != 0 {
		t.Errorf("Wait: %v, %v; want code 0", res, err)
	}
	log, err := d.Logs(t.Context(), id, driver.LogOptions{})
	if err != nil {
		t.Fatal(err)
	}
	defer log.Close()
	said := map[string]string{}
	for {
		e, err := log.Next()
		if errors.Is(err, io.EOF) {
			return said
		}
		if err != nil {
			t.Fatal(err)
		}
		said[e.Container] += string(e.Line) + "\n"
	}
}
