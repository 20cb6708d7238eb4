package check

import (
	"errors"
	"fmt"
	"os"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"sigs.k8s.io/json"
	"sigs.k8s.io/kustomize/api/types"
	"sigs.k8s.io/yaml"
)

// kinds are what may lie in deploy/k8s; another one is an error until it is here.
var kinds = map[string]func() any{
	"v1 ConfigMap":                                  func() any { return new(core.ConfigMap) },
	"v1 Secret":                                     func() any { return new(core.Secret) },
	"v1 Service":                                    func() any { return new(core.Service) },
	"apps/v1 StatefulSet":                           func() any { return new(apps.StatefulSet) },
	"policy/v1 PodDisruptionBudget":                 func() any { return new(policy.PodDisruptionBudget) },
	"networking.k8s.io/v1 NetworkPolicy":            func() any { return new(networking.NetworkPolicy) },
	"monitoring.coreos.com/v1 ServiceMonitor":       func() any { return new(monitoring.ServiceMonitor) },
	"monitoring.coreos.com/v1 PrometheusRule":       func() any { return new(monitoring.PrometheusRule) },
	"keda.sh/v1alpha1 ScaledObject":                 func() any { return new(keda.ScaledObject) },
	"kustomize.config.k8s.io/v1beta1 Kustomization": func() any { return new(types.Kustomization) },
}

// decode reads one manifest into the type of its kind: an unknown or doubled field, and
// a value of another type, is an error.
func decode(manifest []byte) (any, error) {
	var meta struct {
		APIVersion string `json:"apiVersion"`
		Kind       string `json:"kind"`
	}
	if err := yaml.Unmarshal(manifest, &meta); err != nil {
		return nil, err
	}
	if meta.Kind == "" {
		return nil, errors.New("it has no kind")
	}
	typed, ok := kinds[meta.APIVersion+" "+meta.Kind]
	if !ok {
		return nil, fmt.Errorf("%s %s: no such kind is known here", meta.APIVersion, meta.Kind)
	}
	object := typed()
	if err := unmarshal(manifest, object); err != nil {
		return nil, fmt.Errorf("%s: %w", meta.Kind, err)
	}
	return object, nil
}

// unmarshal is as strict as a server of Kubernetes can be asked to be: unlike the YAML
// package's own way it takes no field in another case, such as clusterIp.
func unmarshal(data []byte, into any) error {
	text, err := yaml.YAMLToJSONStrict(data)
	if err != nil {
		return err
	}
	wrong, err := json.UnmarshalStrict(text, into)
	return errors.Join(append(wrong, err)...)
}

// strict reads a YAML file into what has a field for each key that may be in it.
func strict(t *testing.T, path string, into any) {
	t.Helper()
	data, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := unmarshal(data, into); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
}
