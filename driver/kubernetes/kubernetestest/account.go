package kubernetestest

import (
	"context"
	"fmt"
	"os"
	"time"

	authentication "k8s.io/api/authentication/v1"
	core "k8s.io/api/core/v1"
	rbac "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	meta "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// tokenLife is longer than any run of the suite.
const tokenLife = 6 * time.Hour

// account makes a service account that has the role and nothing else, and returns the path of a kubeconfig that acts as it.
func account(ctx context.Context, api kubernetes.Interface, rc *rest.Config, namespace string, manifest []byte) (path string, err error) {
	object, _, err := scheme.Codecs.UniversalDeserializer().Decode(manifest, nil, nil)
	if err != nil {
		return "", err
	}
	role, ok := object.(*rbac.Role)
	if !ok {
		return "", fmt.Errorf("the manifest is of a %T; want a Role", object)
	}
	if err := grant(ctx, api, namespace, role); err != nil {
		return "", err
	}
	seconds := int64(tokenLife / time.Second)
	token, err := api.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, role.Name,
		&authentication.TokenRequest{Spec: authentication.TokenRequestSpec{ExpirationSeconds: &seconds}}, meta.CreateOptions{})
	if err != nil {
		return "", err
	}
	return writeKubeconfig(rc, namespace, token.Status.Token)
}

// grant makes the role as it is in the manifest, an account of the same name, and what binds the one to the other.
func grant(ctx context.Context, api kubernetes.Interface, namespace string, role *rbac.Role) error {
	roles := api.RbacV1().Roles(namespace)
	_, err := roles.Create(ctx, role, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		_, err = roles.Update(ctx, role, meta.UpdateOptions{})
	}
	if err != nil {
		return err
	}
	name := meta.ObjectMeta{Name: role.Name}
	_, err = api.CoreV1().ServiceAccounts(namespace).Create(ctx, &core.ServiceAccount{ObjectMeta: name}, meta.CreateOptions{})
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	_, err = api.RbacV1().RoleBindings(namespace).Create(ctx, &rbac.RoleBinding{
		ObjectMeta: name,
		Subjects:   []rbac.Subject{{Kind: rbac.ServiceAccountKind, Name: role.Name, Namespace: namespace}},
		RoleRef:    rbac.RoleRef{APIGroup: rbac.GroupName, Kind: "Role", Name: role.Name},
	}, meta.CreateOptions{})
	if apierrors.IsAlreadyExists(err) {
		return nil
	}
	return err
}

// writeKubeconfig writes a file that leads to the cluster of rc, with the token in the place of its credentials.
func writeKubeconfig(rc *rest.Config, namespace, token string) (string, error) {
	const name = "suite"
	c := clientcmdapi.NewConfig()
	c.Clusters[name] = &clientcmdapi.Cluster{
		Server: rc.Host, CertificateAuthority: rc.CAFile, CertificateAuthorityData: rc.CAData, TLSServerName: rc.ServerName, InsecureSkipTLSVerify: rc.Insecure,
	}
	c.AuthInfos[name] = &clientcmdapi.AuthInfo{Token: token}
	c.Contexts[name] = &clientcmdapi.Context{Cluster: name, AuthInfo: name, Namespace: namespace}
	c.CurrentContext = name
	text, err := clientcmd.Write(*c)
	if err != nil {
		return "", err
	}
	f, err := os.CreateTemp("", "wharf-kubeconfig-") // readable by this user only
	if err != nil {
		return "", err
	}
	defer f.Close()
	if _, err := f.Write(text); err != nil {
		os.Remove(f.Name())
		return "", err
	}
	return f.Name(), nil
}
