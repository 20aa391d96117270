package main

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
)

// The cluster's network: one bridge that the control plane and the nodes are at, and behind each node its pods.
// There is no way out of it.
const (
	controlPlaneAddress = "10.99.0.1"
	serviceAddresses    = "10.96.0.0/16"
	firstServiceAddress = "10.96.0.1"
	nameServerAddress   = "10.96.0.10"
	podAddresses        = "10.244.0.0/16"
)

func nodeName(index int) string     { return fmt.Sprintf("node-%d", index) }
func nodeAddress(index int) string  { return fmt.Sprintf("10.99.0.%d", 10+index) }
func podsAddresses(node int) string { return fmt.Sprintf("10.244.%d.0/24", node) }

// privateMounts makes the mounts of this namespace its own, and mounts what belongs to the namespaces: /proc, and a
// /run in which the names of the nodes' networks are.
func privateMounts() error {
	return errors.Join(
		mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE),
		mount("proc", "/proc", "proc", 0),
		mount("tmpfs", "/run", "tmpfs", 0),
	)
}

func mount(source, target, kind string, flags uintptr) error {
	if err := syscall.Mount(source, target, kind, flags, ""); err != nil {
		return fmt.Errorf("mount %s: %w", target, err)
	}

	return nil
}

// bind lays a directory, or a file, over another one.
func bind(source, target string) error { return mount(source, target, "", syscall.MS_BIND) }

// network makes the bridge and the nodes' networks.
func (p *programs) network(ctx context.Context) error {
	lines := []string{
		"link set lo up",
		"link add lan type bridge",
		"address add " + controlPlaneAddress + "/24 dev lan",
		"link set lan up",
	}
	for index := 1; index <= p.nodes; index++ {
		name := nodeName(index)
		lines = append(lines,
			"netns add "+name,
			"link add "+name+" type veth peer name eth0 netns "+name,
			"link set "+name+" master lan up",
			"-n "+name+" link set lo up",
			"-n "+name+" address add "+nodeAddress(index)+"/24 dev eth0",
			"-n "+name+" link set eth0 up",
			"-n "+name+" route add default via "+controlPlaneAddress,
			"route add "+podsAddresses(index)+" via "+nodeAddress(index),
		)
		for other := 1; other <= p.nodes; other++ {
			if other != index {
				lines = append(lines, "-n "+name+" route add "+podsAddresses(other)+" via "+nodeAddress(other))
			}
		}
	}
	// As from any machine in a cluster's network that has been given a route to its Services.
	lines = append(lines, "route add "+serviceAddresses+" via "+nodeAddress(1))
	for _, line := range lines {
		output, err := exec.CommandContext(ctx, "ip", strings.Fields(line)...).CombinedOutput()
		if err != nil {
			return fmt.Errorf("ip %s: %w\n%s", line, err, output)
		}
	}

	return nil
}
