package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"
)

// startNode starts a node as a process in namespaces of its own.
func (p *programs) startNode(index int) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find this program: %w", err)
	}
	name := nodeName(index)
	if err := makeGroup(name, 0); err != nil {
		return err
	}

	return p.start(name, "nsenter", "--net=/run/netns/"+name, "unshare", "--mount", "--propagation=private",
		self, roleNode, "--dir="+p.dir, "--assets="+p.assets, "--images="+p.images, fmt.Sprint(index))
}

// node runs containerd, kubelet, kube-proxy and kube-router, which enforces network policies, in a node's namespaces.
func (o options) node(index int) error {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	name := nodeName(index)
	dir := o.in(name)
	if err := ownFiles(dir, o.in("log", name+"-var")); err != nil {
		return err
	}
	for _, name := range []string{"ipv4/ip_forward", "bridge/bridge-nf-call-iptables"} {
		if err := os.WriteFile(filepath.Join("/proc/sys/net", name), []byte("1"), 0o600); err != nil {
			return fmt.Errorf("let the node pass packets on: %w", err)
		}
	}
	for file, content := range o.nodeFiles(index) {
		if err := os.WriteFile(filepath.Join(dir, file), []byte(content), 0o600); err != nil {
			return fmt.Errorf("write the node's configuration: %w", err)
		}
	}
	p := &programs{options: o, failed: cancel}
	if err := p.start(name+"-containerd", "containerd", "--config="+filepath.Join(dir, "containerd.toml")); err != nil {
		return err
	}
	if err := p.importImages(ctx); err != nil {
		return errors.Join(err, context.Cause(ctx))
	}
	if err := errors.Join(
		p.start(name+"-kubelet", filepath.Join(o.assets, "kubelet"), "--config="+filepath.Join(dir, "kubelet.yaml"),
			"--kubeconfig="+o.kubeconfig(name), "--hostname-override="+name, "--node-ip="+nodeAddress(index)),
		p.start(name+"-kube-proxy", filepath.Join(o.assets, "kube-proxy"), "--config="+filepath.Join(dir, "kube-proxy.yaml")),
		p.start(name+"-kube-router", filepath.Join(o.assets, "kube-router"), "--kubeconfig="+o.kubeconfig("kube-router"),
			"--hostname-override="+name, "--service-cluster-ip-range="+serviceAddresses),
	); err != nil {
		return err
	}
	<-ctx.Done()

	return context.Cause(ctx)
}

// ownFiles lays the node's own files over those of the machine: what runs on the node finds everything where it is
// usual and shares nothing with other nodes. The logs, those of pods among them, are kept with all others.
func ownFiles(dir, logs string) error {
	for own, target := range map[string]string{
		filepath.Join(dir, "run"): "/run", filepath.Join(dir, "lib"): "/var/lib", logs: "/var/log",
	} {
		if err := os.MkdirAll(own, 0o755); err != nil {
			return fmt.Errorf("make the node's directories: %w", err)
		}
		if err := bind(own, target); err != nil {
			return err
		}
	}
	if err := os.MkdirAll(filepath.Join(dir, "cni"), 0o755); err != nil {
		return fmt.Errorf("make the node's directories: %w", err)
	}
	// kubelet sets these, and they are the machine's: it is given files that look like them.
	for _, name := range []string{
		"vm/overcommit_memory", "vm/panic_on_oom", "kernel/panic", "kernel/panic_on_oops",
		"kernel/keys/root_maxkeys", "kernel/keys/root_maxbytes",
	} {
		value, err := os.ReadFile("/proc/sys/" + name)
		if err != nil {
			return fmt.Errorf("read what kubelet sets: %w", err)
		}
		own := filepath.Join(dir, strings.ReplaceAll(name, "/", "-"))
		if err := os.WriteFile(own, value, 0o600); err != nil {
			return fmt.Errorf("write what kubelet sets: %w", err)
		}
		if err := bind(own, "/proc/sys/"+name); err != nil {
			return err
		}
	}

	return nil
}

// nodeFiles are the configurations of what runs on a node, by their names in its directory.
func (o options) nodeFiles(index int) map[string]string {
	name := nodeName(index)
	dir := o.in(name)

	return map[string]string{
		// The machine may keep CAP_SYS_RESOURCE from root: then nothing may ask to be spared when memory ends.
		"containerd.toml": fmt.Sprintf(`version = 2
oom_score = 0
[plugins."io.containerd.grpc.v1.cri"]
  sandbox_image = "localhost/pause:dev"
  restrict_oom_score_adj = true
[plugins."io.containerd.grpc.v1.cri".cni]
  bin_dir = "/usr/lib/cni"
  conf_dir = %q
`, filepath.Join(dir, "cni")),
		"cni/10-cluster.conflist": fmt.Sprintf(`{
  "cniVersion": "0.4.0", "name": "cluster",
  "plugins": [
    {"type": "bridge", "bridge": "cni0", "isGateway": true, "hairpinMode": true,
     "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}},
    {"type": "portmap", "capabilities": {"portMappings": true}}
  ]
}
`, podsAddresses(index)),
		"kubelet.yaml": fmt.Sprintf(`apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
authentication: {anonymous: {enabled: false}, webhook: {enabled: true}, x509: {clientCAFile: %[1]q}}
authorization: {mode: Webhook}
tlsCertFile: %[2]q
tlsPrivateKeyFile: %[3]q
containerRuntimeEndpoint: unix:///run/containerd/containerd.sock
cgroupDriver: cgroupfs
cgroupRoot: /%[4]s/%[5]s
failCgroupV1: false
failSwapOn: false
oomScoreAdj: 0
clusterDNS: [%[6]s]
clusterDomain: cluster.local
resolvConf: ""
# The machine's disk is not the cluster's.
evictionHard: {nodefs.available: 1Mi, imagefs.available: 1Mi, memory.available: 50Mi}
imageGCHighThresholdPercent: 100
`, filepath.Join(o.certificates(), "ca.crt"), filepath.Join(o.certificates(), name+"-serving.crt"),
			filepath.Join(o.certificates(), name+"-serving.key"), group, name, nameServerAddress),
		// Whoever wants to look into the node: nsenter --mount --net --target="$(cat pid)".
		"pid": fmt.Sprint(os.Getpid()),
		"kube-proxy.yaml": fmt.Sprintf(`apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: nftables
hostnameOverride: %q
clusterCIDR: %s
clientConnection: {kubeconfig: %q}
conntrack: {maxPerCore: 0}
oomScoreAdj: 0
`, name, podAddresses, o.kubeconfig("kube-proxy")),
	}
}

// importImages gives the node all images, since there is no registry to pull them from.
func (p *programs) importImages(ctx context.Context) error {
	archives, err := filepath.Glob(filepath.Join(p.images, "*.tar"))
	if err != nil || len(archives) == 0 {
		return fmt.Errorf("no image archives in %q: %w", p.images, err)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for exec.CommandContext(ctx, "ctr", "version").Run() != nil {
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return fmt.Errorf("containerd does not answer: %w", context.Cause(ctx))
		}
	}
	for _, archive := range archives {
		output, err := exec.CommandContext(ctx, "ctr", "--namespace=k8s.io", "images", "import", archive).CombinedOutput()
		if err != nil {
			return fmt.Errorf("import %s: %w\n%s", archive, err, output)
		}
	}

	return nil
}
