//go:build linux

package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
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
	// namespace is the tenant; aside is one that no manager watches.
	namespace, aside = "default", "aside"
)

// system is etcd, kube-apiserver, a manager and a shim, each a process of its own.
type system struct {
	programs *plane.Programs

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
	ctx, cancel := context.WithTimeoutCause(ctx, startLimit, fmt.Errorf("not within %s", startLimit))
	defer cancel()
	programs, err := plane.Start(ctx, root, plane.Command)
	if err != nil {
		return nil, fmt.Errorf("start the system: %w", err)
	}
	s := &system{programs: programs, http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 64}}}
	if err := s.connect(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("start the system: %w", err), s.stop(ctx))
	}

	return s, nil
}

func (s *system) connect(ctx context.Context) error {
	scheme := runtime.NewScheme()
	if err := errors.Join(v1alpha1.AddToScheme(scheme), corev1.AddToScheme(scheme)); err != nil {
		return fmt.Errorf("register the API types: %w", err)
	}
	config, err := clientcmd.BuildConfigFromFlags("", s.programs.Kubeconfig)
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
	c, err := s.programs.Program(ctx, "manager", "--kubeconfig="+s.programs.Kubeconfig, "--listen="+listen,
		"--metrics-listen="+metrics)
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
	if s.grpc, err = grpc.NewClient(s.managerAddress,
		grpc.WithTransportCredentials(insecure.NewCredentials())); err != nil {
		return fmt.Errorf("make a client of the manager: %w", err)
	}
	s.view = forwardingv1.NewViewClient(s.grpc)

	return nil
}

// startOther starts another manager beside the first. Only what concerns it is set in
// the result; whoever asked ends it.
func (s *system) startOther(ctx context.Context) (*system, error) {
	c, err := s.programs.Program(ctx, "manager", "--kubeconfig="+s.programs.Kubeconfig, "--listen=127.0.0.1:0",
		"--metrics-listen=127.0.0.1:0")
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
	c, err := s.programs.Program(ctx, "shim", "--kubeconfig="+s.programs.Kubeconfig, "--managers="+s.managerAddress,
		"--listen=127.0.0.1:0", "--metrics-listen=127.0.0.1:0")
	if err != nil {
		return err
	}
	address, err := c.Address(ctx, "http")
	s.shimURL = "http://" + address + "/"

	return err
}

// stop ends everything.
func (s *system) stop(ctx context.Context) error {
	s.http.CloseIdleConnections()
	var problem error
	if s.grpc != nil {
		problem = s.grpc.Close()
	}

	return errors.Join(problem, s.programs.Stop(ctx, func() {
		if s.apiHTTP != nil {
			s.apiHTTP.CloseIdleConnections()
		}
	}))
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
