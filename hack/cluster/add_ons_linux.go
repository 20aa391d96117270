package main

import (
	"context"
	_ "embed"
	"fmt"
	"strings"
)

//go:embed coredns.yaml
var coreDNS string

//go:embed node.yaml
var nodeRights string

// The name server, as kubectl calls it.
const nameServer = "deployment/coredns"

// addOns installs CoreDNS, and the rights of what runs on the nodes themselves.
func (p *programs) addOns(ctx context.Context) error {
	apply := p.kubectl(ctx, "apply", "--server-side", "--filename=-")
	apply.Stdin = strings.NewReader(nodeRights + "---\n" +
		strings.ReplaceAll(coreDNS, "NAME_SERVER_ADDRESS", nameServerAddress))
	if output, err := apply.CombinedOutput(); err != nil {
		return fmt.Errorf("install CoreDNS: %w\n%s", err, output)
	}

	return nil
}
