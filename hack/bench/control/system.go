//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	corev1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"sigs.k8s.io/controller-runtime/pkg/client"

	forwardingv1 "github.com/nagi-rtc/nagi/api/forwarding/v1"
	"github.com/nagi-rtc/nagi/api/v1alpha1"
	"github.com/nagi-rtc/nagi/cmd/nagi/child"
	"github.com/nagi-rtc/nagi/hack/bench/plane"
)

const (
	startLimit = 2 * time.Minute
	stopLimit  = 30 * time.Second
	// namespace is the tenant; aside is one that no manager watches.
	namespace, aside = "default", "aside"
)

// system is etcd, kube-apiserver, a manager and a shim, each a process of its own.
type system struct {
	root, work string
	children   []*child.Child // In the order of their start.
	logs       []io.Closer
	kubeconfig string
	etcd       string

	manager        *child.Child
	managerAddress string // Of gRPC; the same after a restart.
	managerMetrics string
	shimURL        string

	http    *http.Client // Of the shim and of metrics.
	api     client.WithWatch
	apiHTTP *http.Client
	grpc    *grpc.ClientConn
	view    forwardingv1.ViewClient
}

func startSystem(ctx context.Context, root string) (*system, error) {
	work, err := plane.Directory(root)
	if err != nil {
		return nil, err
	}
	s := &system{root: root, work: work, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not within %s", startLimit))
	defer cancel()
	if err := s.start(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the system: %w", err), s.stop(ctx))
	}
	return s, nil
}

func (s *system) start(ctx context.Context) error {
	self, err := os.Executable()
	if err != nil {
		return fmt.Errorf("find the own program: %w", err)
	}
	kubernetes, err := s.spawn(plane.Command, self, plane.Command, s.work)
	if err != nil {
		return err
	}
	facts, err := kubernetes.Announced(ctx, "kubernetes")
	if err != nil {
		return err
	}
	s.kubeconfig, s.etcd = facts["kubeconfig"], facts["etcd"]
	return s.connect(ctx)
}

func (s *system) connect(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("register the API types: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.kubeconfig)
	if err != nil {
		return fmt.Errorf("read the kubeconfig: %w", err)
	}
	config.QPS = -1 // No limit of the client's own.
	if s.apiHTTP, err = rest.HTTPClientFor(config); err != nil {
		return fmt.Errorf("make an HTTP client: %w", err)
	}
	if s.api, err = client.NewWithWatch(config, client.Options{Scheme: scheme, HTTPClient: s.apiHTTP}); err != nil {
		return fmt.Errorf("make an API client: %w", err)
	}
	other := &corev1.Namespace{}
	other.Name = aside
	if err := s.api.Create(ctx, other); err != nil {
		return fmt.Errorf("create the namespace %s: %w", aside, err)
	}
	return nil
}

// startManager starts the manager, again at the address that it had before.
func (s *system) startManager(ctx context.Context) error {
	listen, metrics := "127.0.0.1:0", "127.0.0.1:0"
	if s.managerAddress != "" {
		listen, metrics = s.managerAddress, s.managerMetrics
	}
	c, err := s.program(ctx, "manager", "--kubeconfig="+s.kubeconfig, "--listen="+listen, "--metrics-listen="+metrics)
	if err != nil {
		return err
	}
	s.manager = c
	if s.managerAddress, err = c.Address(ctx, "grpc"); err != nil {
		return err
	}
	if s.managerMetrics, err = c.Address(ctx, "metrics"); err != nil {
		return err
	}
	if s.grpc != nil {
		return nil
	}
	if s.grpc, err = grpc.NewClient(s.managerAddress, grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return fmt.Errorf("make a client of the manager: %w", err)
	}
	s.view = forwardingv1.NewViewClient(s.grpc)
	return nil
}

// startOther starts another manager beside the first. Only what concerns it is set in
// the result; whoever asked ends it.
func (s *system) startOther(ctx context.Context) (*system, error) {
	c, err := s.program(ctx, "manager", "--kubeconfig="+s.kubeconfig, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	other := &system{manager: c, http: s.http}
	other.managerAddress, err = c.Address(ctx, "grpc")
	if err != nil {
		return nil, err
	}
	other.managerMetrics, err = c.Address(ctx, "metrics")
	return other, err
}

func (s *system) startShim(ctx context.Context) error {
	c, err := s.program(ctx, "shim", "--kubeconfig="+s.kubeconfig, "--managers="+s.managerAddress, "--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")
	if err != nil {
		return err
	}
	address, err := c.Address(ctx, "http")
	s.shimURL = "http://" + address + "/"
	return err
}

// program starts one of our programs and waits until it is ready.
func (s *system) program(ctx context.Context, name string, arguments ...string) (*child.Child, error) {
	c, err := s.spawn(name, filepath.Join(s.root, "bin", name), arguments...)
	if err != nil {
		return nil, err
	}
	return c, c.Ready(ctx)
}

// spawn starts a program that keeps all that it writes in the working directory.
func (s *system) spawn(name, path string, arguments ...string) (*child.Child, error) {
	log, err := os.OpenFile(filepath.Join(s.work, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return nil, fmt.Errorf("make the log of %s: %w", name, err)
	}
	s.logs = append(s.logs, log)
	c, err := child.Start(child.Spec{Name: name, Path: path, Args: arguments, Output: log, Env: append(os.Environ(), "TMPDIR="+s.work)})
	if err != nil {
		return nil, err
	}
	s.children = append(s.children, c)
	return c, nil
}

// end stops one program now.
func (s *system) end(ctx context.Context, c *child.Child) error {
	for i, other := range s.children {
		if other == c {
			s.children = append(s.children[:i:i], s.children[i+1:]...)
		}
	}
	ctx, cancel := context.WithTimeout(ctx, stopLimit)
	defer cancel()
	return c.Stop(ctx)
}

// stop ends everything, in the reverse order of its start, and removes what it
// wrote.
func (s *system) stop(ctx context.Context) error {
	var problems []error
	s.http.CloseIdleConnections()
	if s.grpc != nil {
		problems = append(problems, s.grpc.Close())
	}
	for i := len(s.children) - 1; i >= 0; i-- {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopLimit)
		problems = append(problems, s.children[i].Stop(ctx))
		cancel()
		if s.children[i].Name() != plane.Command && s.apiHTTP != nil {
			s.apiHTTP.CloseIdleConnections()
		}
	}
	for _, log := range s.logs {
		problems = append(problems, log.Close())
	}
	return errors.Join(append(problems, os.RemoveAll(s.work))...)
}

// managerFigures are the manager's own metrics, by name; of a metric with labels, the
// sum.
func (s *system) managerFigures(ctx context.Context) (map[string]float64, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.managerMetrics+"/metrics", nil)
	if err != nil {
		return nil, fmt.Errorf("ask the manager for its metrics: %w", err)
	}
	response, err := s.http.Do(request)
	if err != nil {
		return nil, fmt.Errorf("ask the manager for its metrics: %w", err)
	}
	defer func() { _ = response.Body.Close() }()
	figures := map[string]float64{}
	lines := bufio.NewScanner(response.Body)
	for lines.Scan() {
		name, text, _ := strings.Cut(lines.Text(), " ")
		if value, err := strconv.ParseFloat(text, 64); err == nil {
			name, _, _ = strings.Cut(name, "{")
			figures[name] += value
		}
	}
	return figures, lines.Err()
}

// cpu is the processor time that the process has used.
func cpu(c *child.Child) (time.Duration, error) {
	// MAKE_PROCESS_CPUCLOCK(pid, CPUCLOCK_SCHED) of linux/posix-timers.h.
	clock := int32(^c.PID())<<3 | 2 //nolint:gosec // A pid has 22 bits at most.
	var used unix.Timespec
	if err := unix.ClockGettime(clock, &used); err != nil {
		return 0, fmt.Errorf("read the processor time of %s: %w", c.Name(), err)
	}
	return time.Duration(used.Nano()), nil
}

// resident is the process's resident memory in MB, now and at its highest.
func resident(c *child.Child) (now, highest float64, err error) {
	data, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", c.PID()))
	if err != nil {
		return 0, 0, fmt.Errorf("read the memory of %s: %w", c.Name(), err)
	}
	for line := range strings.Lines(string(data)) {
		for prefix, into := range map[string]*float64{"VmRSS:": &now, "VmHWM:": &highest} {
			if rest, ok := strings.CutPrefix(line, prefix); ok {
				kilobytes, err := strconv.ParseFloat(strings.Fields(rest)[0], 64)
				if err != nil {
					return 0, 0, fmt.Errorf("read the memory of %s: %w", c.Name(), err)
				}
				*into = kilobytes / 1024
			}
		}
	}
	return now, highest, nil
}
