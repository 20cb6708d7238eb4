package check

import (
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	keda "github.com/kedacore/keda/v2/apis/keda/v1alpha1"
	monitoring "github.com/prometheus-operator/prometheus-operator/pkg/apis/monitoring/v1"
	apps "k8s.io/api/apps/v1"
	core "k8s.io/api/core/v1"
	networking "k8s.io/api/networking/v1"
	policy "k8s.io/api/policy/v1"
	"k8s.io/apimachinery/pkg/util/intstr"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const k8s = "../k8s"

// overlays are the folders that users apply.
var overlays = []string{"overlays/dev", "overlays/prod"}

// TestKubernetesFiles: each file is what its kind wants, and some kustomization uses it.
func TestKubernetesFiles(t *testing.T) {
	t.Parallel()
	err := filepath.WalkDir(k8s, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		if entry.Name() != "kustomization.yaml" {
			uses, err := os.ReadFile(filepath.Join(filepath.Dir(path), "kustomization.yaml"))
			if err != nil {
				return err
			}
			if !strings.Contains(string(uses), "- "+entry.Name()+"\n") {
				t.Errorf("%s: no kustomization uses it", path)
			}
		}
		if entry.Name() == "connector.yaml" { // the connector's own; its tests read it
			return nil
		}
		data, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if _, err := decode(data); err != nil {
			t.Errorf("%s: %v", path, err)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

// deployed is what an overlay gives to the cluster. What it does not have is nil.
type deployed struct {
	all         []string // kind/name
	configMap   *core.ConfigMap
	secret      *core.Secret
	service     *core.Service
	statefulSet *apps.StatefulSet
	budget      *policy.PodDisruptionBudget
	network     *networking.NetworkPolicy
	monitor     *monitoring.ServiceMonitor
	scaler      *keda.ScaledObject
}

// render does what kubectl kustomize does.
func render(t *testing.T, folder string) *deployed {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(filesys.MakeFsOnDisk(), filepath.Join(k8s, folder))
	if err != nil {
		t.Fatalf("%s: %v", filepath.Join(k8s, folder), err)
	}
	var d deployed
	for _, resource := range resources.Resources() {
		name := fmt.Sprintf("%s: %s/%s", folder, resource.GetKind(), resource.GetName())
		manifest, err := resource.AsYAML()
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		object, err := decode(manifest)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		d.all = append(d.all, resource.GetKind()+"/"+resource.GetNamespace())
		switch object := object.(type) {
		case *core.ConfigMap:
			d.configMap = object
		case *core.Secret:
			d.secret = object
		case *core.Service:
			d.service = object
		case *apps.StatefulSet:
			d.statefulSet = object
		case *policy.PodDisruptionBudget:
			d.budget = object
		case *networking.NetworkPolicy:
			d.network = object
		case *monitoring.ServiceMonitor:
			d.monitor = object
		case *keda.ScaledObject:
			d.scaler = object
		}
	}
	if d.configMap == nil || d.service == nil || d.statefulSet == nil || d.budget == nil || d.network == nil {
		t.Fatalf("%s: a part is missing; there are %v", folder, d.all)
	}
	return &d
}

// TestOverlays: what goes to the cluster hangs together, and is as careful as the docs say.
func TestOverlays(t *testing.T) {
	t.Parallel()
	for _, folder := range overlays {
		t.Run(folder, func(t *testing.T) {
			t.Parallel()
			d := render(t, folder)
			namespace := "tickconnect"
			if folder == "overlays/dev" {
				namespace = "tickconnect-dev"
			}
			for _, object := range d.all {
				if !strings.HasSuffix(object, "/"+namespace) {
					t.Errorf("%s/kustomization.yaml: %s is not in the namespace %s", folder, object, namespace)
				}
			}
			checkSelectors(t, d)
			checkPod(t, d)
			checkNetwork(t, d)
		})
	}
}

func checkSelectors(t *testing.T, d *deployed) {
	t.Helper()
	set := d.statefulSet
	labels := set.Spec.Template.Labels
	if len(labels) == 0 {
		t.Fatal("statefulset.yaml: the pods have no labels")
	}
	for what, selector := range map[string]map[string]string{
		"statefulset.yaml":         set.Spec.Selector.MatchLabels,
		"service.yaml":             d.service.Spec.Selector,
		"poddisruptionbudget.yaml": d.budget.Spec.Selector.MatchLabels,
		"networkpolicy.yaml":       d.network.Spec.PodSelector.MatchLabels,
	} {
		if !maps.Equal(selector, labels) {
			t.Errorf("%s: it selects %v, the pods are %v", what, selector, labels)
		}
	}
	if set.Spec.ServiceName != d.service.Name {
		t.Errorf("statefulset.yaml: serviceName is %q, the Service is %q", set.Spec.ServiceName, d.service.Name)
	}
	if d.service.Spec.ClusterIP != core.ClusterIPNone {
		t.Error("service.yaml: a StatefulSet's is headless")
	}
	if !slices.ContainsFunc(d.service.Spec.Ports, func(p core.ServicePort) bool {
		return p.Name == "metrics" && p.TargetPort == intstr.FromString("metrics")
	}) {
		t.Errorf("service.yaml: no port leads to the pods' metrics: %v", d.service.Spec.Ports)
	}
	if d.budget.Spec.MaxUnavailable == nil || d.budget.Spec.MaxUnavailable.IntValue() != 1 {
		t.Error("poddisruptionbudget.yaml: maxUnavailable is not 1")
	}
	spread := map[string]bool{}
	for _, constraint := range set.Spec.Template.Spec.TopologySpreadConstraints {
		spread[constraint.TopologyKey] = true
		if constraint.LabelSelector == nil || !maps.Equal(constraint.LabelSelector.MatchLabels, labels) {
			t.Errorf("statefulset.yaml: the spread over %s selects other pods", constraint.TopologyKey)
		}
	}
	if !spread[core.LabelTopologyZone] || !spread[core.LabelHostname] {
		t.Errorf("statefulset.yaml: the pods are spread over %v", spread)
	}
}

func checkPod(t *testing.T, d *deployed) {
	t.Helper()
	pod := d.statefulSet.Spec.Template.Spec
	if len(d.statefulSet.Spec.VolumeClaimTemplates) != 0 {
		t.Error("statefulset.yaml: it claims a volume, and nothing is kept on disk")
	}
	if p := pod.SecurityContext; p == nil || p.RunAsNonRoot == nil || !*p.RunAsNonRoot || p.SeccompProfile == nil {
		t.Error("statefulset.yaml: the pod may run as root, or without a seccomp profile")
	}
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Error("statefulset.yaml: the pod gets a token of the cluster's API, which it does not need")
	}
	if len(pod.Containers) != 1 {
		t.Fatalf("statefulset.yaml: there are %d containers", len(pod.Containers))
	}
	c := pod.Containers[0]
	if s := c.SecurityContext; s == nil || s.ReadOnlyRootFilesystem == nil || !*s.ReadOnlyRootFilesystem ||
		s.AllowPrivilegeEscalation == nil || *s.AllowPrivilegeEscalation ||
		s.Capabilities == nil || !slices.Equal(s.Capabilities.Drop, []core.Capability{"ALL"}) {
		t.Errorf("statefulset.yaml: securityContext is %+v", c.SecurityContext)
	}
	if !regexp.MustCompile(`(:[^:]+|@sha256:[0-9a-f]{64})$`).MatchString(c.Image) || strings.HasSuffix(c.Image, ":latest") {
		t.Errorf("statefulset.yaml: the image %q names no version", c.Image)
	}
	ports := map[string]int32{}
	for _, p := range c.Ports {
		ports[p.Name] = p.ContainerPort
	}
	if c.ReadinessProbe == nil || c.ReadinessProbe.HTTPGet == nil || c.ReadinessProbe.HTTPGet.Path != "/health" || ports[c.ReadinessProbe.HTTPGet.Port.StrVal] == 0 {
		t.Errorf("statefulset.yaml: readinessProbe is %+v, ports are %v", c.ReadinessProbe, ports)
	}
	// A liveness probe of /health would restart all replicas in an outage of the database.
	if c.LivenessProbe == nil || c.LivenessProbe.TCPSocket == nil || ports[c.LivenessProbe.TCPSocket.Port.StrVal] == 0 {
		t.Errorf("statefulset.yaml: livenessProbe is %+v, ports are %v", c.LivenessProbe, ports)
	}
	if c.Resources.Requests.Cpu().IsZero() || c.Resources.Requests.Memory().IsZero() || c.Resources.Limits.Memory().IsZero() {
		t.Errorf("statefulset.yaml: resources are %+v", c.Resources)
	}
	if !slices.ContainsFunc(c.Env, func(e core.EnvVar) bool {
		return e.Name == "POD_NAME" && e.ValueFrom != nil && e.ValueFrom.FieldRef != nil && e.ValueFrom.FieldRef.FieldPath == "metadata.name"
	}) {
		t.Error("statefulset.yaml: POD_NAME is not the pod's name")
	}
	mounts := map[string]string{}
	for _, m := range c.VolumeMounts {
		mounts[m.Name] = m.MountPath
		if !m.ReadOnly {
			t.Errorf("statefulset.yaml: the mount of %s can be written to", m.Name)
		}
	}
	secret := "tickconnect"
	if d.secret != nil { // a hash is at the end of its name
		secret = d.secret.Name
	}
	sources := map[string]string{}
	for _, v := range pod.Volumes {
		if mounts[v.Name] == "" {
			t.Errorf("statefulset.yaml: the volume %s is not mounted", v.Name)
		}
		switch {
		case v.ConfigMap != nil:
			sources[mounts[v.Name]] = v.ConfigMap.Name
		case v.Secret != nil:
			sources[mounts[v.Name]] = v.Secret.SecretName
		}
		delete(mounts, v.Name)
	}
	if len(mounts) != 0 {
		t.Errorf("statefulset.yaml: mounts without a volume: %v", mounts)
	}
	if want := map[string]string{"/etc/tickconnect": d.configMap.Name, "/run/secrets/tickconnect": secret}; !maps.Equal(sources, want) {
		t.Errorf("statefulset.yaml: mounted are %v, not %v", sources, want)
	}
	text := d.configMap.Data["connector.yaml"]
	for _, line := range []string{
		fmt.Sprintf("metrics.listeners: http://:%d\n", ports["metrics"]),
		"group.instance.id: ${env:POD_NAME}\n",
		"connection.url: ${dir:/run/secrets/tickconnect:DATABASE_URL}\n",
	} {
		if !strings.Contains(text, line) {
			t.Errorf("connector.yaml: it does not say %s", line)
		}
	}
}

func checkNetwork(t *testing.T, d *deployed) {
	t.Helper()
	n := d.network.Spec
	if !slices.Equal(n.PolicyTypes, []networking.PolicyType{"Ingress", "Egress"}) {
		t.Errorf("networkpolicy.yaml: policyTypes are %v", n.PolicyTypes)
	}
	if len(n.Ingress) != 1 || len(n.Ingress[0].From) == 0 || len(n.Ingress[0].Ports) != 1 || n.Ingress[0].Ports[0].Port == nil || n.Ingress[0].Ports[0].Port.StrVal != "metrics" {
		t.Errorf("networkpolicy.yaml: more than Prometheus and metrics come in: %+v", n.Ingress)
	}
	open := map[int]bool{}
	for _, rule := range n.Egress {
		for _, p := range rule.Ports {
			if p.Port != nil {
				open[p.Port.IntValue()] = true
			}
		}
	}
	needed := []string{"53", "5432"}
	if m := regexp.MustCompile(`(?m)^bootstrap\.servers: [^:\n]+:(\d+)$`).FindStringSubmatch(d.configMap.Data["connector.yaml"]); m != nil {
		needed = append(needed, m[1])
	} else {
		t.Error("connector.yaml: bootstrap.servers is not one host:port")
	}
	for _, port := range needed {
		if n, _ := strconv.Atoi(port); !open[n] {
			t.Errorf("networkpolicy.yaml: port %s is not open to the outside", port)
		}
	}
}

// TestProduction: prod holds no secret, and KEDA scales what Prometheus sees.
func TestProduction(t *testing.T) {
	t.Parallel()
	d := render(t, "overlays/prod")
	if d.secret != nil {
		t.Error("prod has a Secret: it would be in git")
	}
	if d.statefulSet.Spec.Replicas != nil {
		t.Error("statefulset.yaml: replicas are set, so each apply undoes what KEDA did")
	}
	if d.monitor == nil || d.scaler == nil {
		t.Fatalf("a part is missing; there are %v", d.all)
	}
	m := d.monitor.Spec
	for name, value := range m.Selector.MatchLabels {
		if d.service.Labels[name] != value {
			t.Errorf("servicemonitor.yaml: it selects %s=%s, the Service has %v", name, value, d.service.Labels)
		}
	}
	if len(m.Endpoints) != 1 || m.Endpoints[0].Port != d.service.Spec.Ports[0].Name {
		t.Errorf("servicemonitor.yaml: endpoints are %+v, the Service's ports %+v", m.Endpoints, d.service.Spec.Ports)
	}
	s := d.scaler.Spec
	if s.ScaleTargetRef == nil || s.ScaleTargetRef.Kind != "StatefulSet" || s.ScaleTargetRef.APIVersion != "apps/v1" || s.ScaleTargetRef.Name != d.statefulSet.Name {
		t.Errorf("scaledobject.yaml: it scales %+v", s.ScaleTargetRef)
	}
	if err := keda.CheckReplicaCountBoundsAreValid(d.scaler); err != nil {
		t.Errorf("scaledobject.yaml: %v", err)
	}
	if err := keda.CheckFallbackValid(d.scaler); err != nil {
		t.Errorf("scaledobject.yaml: %v", err)
	}
	if s.MinReplicaCount == nil || *s.MinReplicaCount < 2 || s.MaxReplicaCount == nil || s.IdleReplicaCount != nil {
		t.Errorf("scaledobject.yaml: replicas are %v to %v, idle %v", s.MinReplicaCount, s.MaxReplicaCount, s.IdleReplicaCount)
	}
	if len(s.Triggers) != 1 || s.Triggers[0].Type != "prometheus" || s.Triggers[0].MetricType != "AverageValue" ||
		s.Triggers[0].Metadata["query"] != fmt.Sprintf("sum(tickconnect_useful_replicas{namespace=%q})", d.statefulSet.Namespace) ||
		s.Triggers[0].Metadata["threshold"] != "0.7" || s.Triggers[0].Metadata["ignoreNullValues"] != "false" {
		t.Errorf("scaledobject.yaml: triggers are %+v", s.Triggers)
	}
	known := []string{"serverAddress", "query", "threshold", "ignoreNullValues"}
	for key := range s.Triggers[0].Metadata {
		if !slices.Contains(known, key) {
			t.Errorf("scaledobject.yaml: the trigger's %s is not one of %v", key, known)
		}
	}
}
